"""Email addresses: reading what people typed, writing what a header needs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import idna

from mailkit.rfc2047 import CONTROL, encode_words

FaultCode = Literal[
    "empty",  # nothing but white space
    "control_character",  # a control character anywhere inside
    "no_at",
    "many_at",
    "local_empty",
    "local_too_long",  # more than 64 octets (RFC 5321 section 4.5.3.1.1)
    "bad_local",  # neither a dot-atom nor a quoted string (RFC 5321 section 4.1.2)
    "domain_empty",
    "bad_domain",  # not a fully qualified host name, or not a valid IDN
    "ip_literal",  # user@[192.0.2.1]: legal, never a marketing contact
    "too_long",  # more than 254 octets in all (RFC 5321 section 4.5.3.1.3, erratum 1690)
]

MAX_LOCAL = 64
MAX_ADDRESS = 254

# What spreadsheets, web pages and chat programs leave around a pasted address.
_EDGES = " \t\r\n\v\f\u00a0\u00ad\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
_EDGES += "\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060"
_EDGES += "\u3000\ufeff"

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_ATOM = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_PLAIN_PHRASE = re.compile(rf"[{_ATEXT}]+(?: [{_ATEXT}]+)*")
_UTF8_DOT_ATOM = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A top-level domain is never all digits (RFC 3696 section 2), so 1.2.3.4 is no host name.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_QUOTED_LOCAL = re.compile(rf"({_QUOTED})@(.*)")
_NAME_AND_ADDRESS = re.compile(rf'(?:[^<>"]|{_QUOTED})*<((?:[^<>"]|{_QUOTED})*)>')

# Nothing but ASCII letters, digits and what most addresses have, so that all of `parse_address`
# comes down to lower case. 64 characters in all keep within every limit on a part.
_PLAIN = re.compile(
    r"[a-z0-9_+-]++(?:\.[a-z0-9_+-]++)*+@(?:[a-z0-9]++(?:-++[a-z0-9]++)*+\.)++[a-z]{2,}+"
)
_PLAIN_LINES = re.compile(rf"(?:{_PLAIN.pattern}\n)*+{_PLAIN.pattern}")
_PLAIN_LENGTH = 64

_LONGEST_WORD_IN_NAME = 60  # leaves room for `Reply-To: ` on a line of 76 columns


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox in the one form we compare and store: lower case, domain in A-labels."""

    local: str
    domain: str

    @property
    def email(self) -> str:
        return f"{self.local}@{self.domain}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text is no address."""

    code: FaultCode


def plain_email(raw: str) -> str | None:
    """What `parse_address(raw).email` is, found fast, or None where that has to be asked."""
    if len(raw) > _PLAIN_LENGTH or not raw.isascii():
        return None
    email = raw.lower()
    return email if _PLAIN.fullmatch(email) else None


def plain_emails(raw: Sequence[str]) -> Sequence[str | None]:
    """`plain_email` of each; where all are plain, that is seen in one step."""
    text = "\n".join(raw)
    if text.isascii() and _PLAIN_LINES.fullmatch(text.lower()):
        emails = text.lower().split("\n")
        if len(emails) == len(raw) and max(map(len, raw)) <= _PLAIN_LENGTH:
            return emails
    return list(map(plain_email, raw))


def parse_address(raw: str) -> Address | Fault:
    """Read one address, as typed by a person or found in a spreadsheet cell.

    White space, byte order marks and invisible characters at the ends are dropped;
    `Name <a@b>` and `mailto:a@b` are understood. The domain is mapped by UTS 46 and
    encoded by IDNA 2008; a local part beyond ASCII (RFC 6531) is put in NFC.
    Whether the domain exists is not looked at.
    """
    if plain := plain_email(raw):
        local, _at, domain = plain.partition("@")
        return Address(local, domain)
    return _parse(raw)


def _parse(raw: str) -> Address | Fault:
    text = raw.strip(_EDGES)
    if not text:
        return Fault("empty")
    if CONTROL.search(text):
        return Fault("control_character")
    bare = _bare_address(text)
    if CONTROL.search(bare):  # mailto:a%0Ab
        return Fault("control_character")
    if not bare:
        return Fault("empty")
    parts = _split(bare)
    if isinstance(parts, Fault):
        return parts
    local = _local(parts[0])
    if isinstance(local, Fault):
        return local
    domain = _domain(parts[1])
    if isinstance(domain, Fault):
        return domain
    address = Address(local, domain)
    if _octets(address.email) > MAX_ADDRESS:
        return Fault("too_long")
    return address


def format_mailbox(name: str, address: str) -> str:
    """Return `Name <a@b>` for a From, To or Reply-To header (RFC 5322 section 3.4).

    A name beyond ASCII, or a long one, becomes RFC 2047 encoded words; an address with a
    non-ASCII local part stays as it is and needs SMTPUTF8.
    Raises ValueError for a control character or an address that does not parse.
    """
    if CONTROL.search(name) or CONTROL.search(address):
        raise ValueError("control character in a mailbox")
    parsed = parse_address(address)
    if isinstance(parsed, Fault):
        raise ValueError(f"not an address: {parsed.code}")
    name = name.strip()
    if not name:
        return parsed.email
    return f"{_phrase(name)} <{parsed.email}>"


def _phrase(name: str) -> str:
    # A literal "=?" would be taken for an encoded word even inside quotes by many clients.
    if not name.isascii() or "=?" in name or len(name) > _LONGEST_WORD_IN_NAME:
        return encode_words(name, longest=_LONGEST_WORD_IN_NAME)
    if _PLAIN_PHRASE.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _bare_address(text: str) -> str:
    if found := _NAME_AND_ADDRESS.fullmatch(text):
        text = found[1].strip(_EDGES)
    if text[:7].lower() == "mailto:":
        text = unquote(text[7:].partition("?")[0], errors="replace").strip(_EDGES)
    return text


def _split(text: str) -> tuple[str, str] | Fault:
    if text.startswith('"') and (quoted := _QUOTED_LOCAL.fullmatch(text)):
        return (quoted[1], quoted[2]) if "@" not in quoted[2] else Fault("many_at")
    ats = text.count("@")
    if ats != 1:
        return Fault("many_at" if ats else "no_at")
    local, _, domain = text.partition("@")
    return local, domain


def _local(text: str) -> str | Fault:
    if not text or text == '""':
        return Fault("local_empty")
    local = unicodedata.normalize("NFC", text.lower())
    if local.startswith('"'):
        if not re.fullmatch(_QUOTED, local):
            return Fault("bad_local")
        local = _requoted(local)
    if not local.startswith('"') and not _UTF8_DOT_ATOM.fullmatch(local):
        return Fault("bad_local")
    if not local.isascii() and any(unicodedata.category(ch)[0] in "ZC" for ch in local):
        return Fault("bad_local")  # an invisible character or a lone surrogate
    return Fault("local_too_long") if _octets(local) > MAX_LOCAL else local


def _requoted(local: str) -> str:
    """Undo needless quotes and escapes: `"john"` and `"jo\\hn"` are john's mailbox too."""
    content = re.sub(r"\\(.)", r"\1", local[1:-1])
    if _DOT_ATOM.fullmatch(content):
        return content
    return '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'


def _domain(text: str) -> str | Fault:
    if not text:
        return Fault("domain_empty")
    if text.startswith("["):
        return Fault("ip_literal")
    if len(text) > MAX_ADDRESS:
        return Fault("too_long")
    domain = text.lower()
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode()
        except idna.IDNAError:
            return Fault("bad_domain")
    return domain if _HOST_NAME.fullmatch(domain) else Fault("bad_domain")


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
