"""DKIM signatures (RFC 6376) with RSA and Ed25519 (RFC 8463), canonicalised relaxed/relaxed.

For bulk mail the caller canonicalises static headers and lines once and joins them with those of
a recipient: `Signer.sign` takes the joined canonical headers and the hash of the body.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]
Seen = Literal["found", "other", "missing", "unknown"]
ALGORITHMS: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519-sha256")

# Listed once more than they occur (RFC 6376 section 8.15): a second one, added on the way to change
# what the reader sees, breaks the signature. To the signer an absent header is no octets.
OVERSIGNED = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"content-type")

_FOLD_AT = 78  # RFC 5322 section 2.1.1, without the CRLF
_WSP = re.compile(rb"[ \t]+")
_HEADER_NAME = re.compile(rb"[!-9<-@[-~]{1,70}")  # lower-case; ":" and ";" would end the list
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
_PKCS1 = PKCS1v15()
_SHA256 = hashes.SHA256()
_RSA_BITS = 2048
_RSA_EXPONENT = 65537


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key and where its public part is published: `selector`._domainkey.`domain`.

    Both names are lower-case ASCII; `private_key` is PEM (PKCS #8) without a password.
    Raises ValueError for a name or an algorithm that is none.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    private_key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (_DOMAIN.fullmatch(self.domain) and _DOMAIN.fullmatch(self.selector)):
            raise ValueError("the domain or the selector is not a lower-case host name")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"not an algorithm: {self.algorithm!r}")


def generate_key(algorithm: Algorithm) -> tuple[str, str]:
    """A new private key (PEM) and the text of the DNS record that publishes its public part."""
    private: RSAPrivateKey | Ed25519PrivateKey
    if algorithm == "rsa-sha256":
        private = generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    elif algorithm == "ed25519-sha256":
        private = Ed25519PrivateKey.generate()
    else:
        raise ValueError(f"not an algorithm: {algorithm!r}")
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, dns_record(pem)


def dns_record(private_pem: str) -> str:
    """The TXT record for a private key; an Ed25519 key stands there bare (RFC 8463 section 4)."""
    private = _load(private_pem)
    public = private.public_key()
    if isinstance(private, RSAPrivateKey):
        kind = "rsa"
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind = "ed25519"
        data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k={kind}; p={b2a_base64(data, newline=False).decode()}"


def same_key(published: str, record: str) -> bool:
    """Whether a TXT record found in the DNS publishes the key of `record`."""
    return _public_part(published) == _public_part(record)


def seen_of(texts: Sequence[str] | None, record: str) -> Seen:
    """What the TXT records at a key's name (None: no server answered) say of its `record`."""
    if texts is None:
        return "unknown"
    if not texts:
        return "missing"
    # Several records leave it to the receiver which one it takes (section 3.6.2.2).
    return "found" if all(same_key(text, record) for text in texts) else "other"


def _public_part(record: str) -> tuple[str, str]:
    tags = {}
    for tag in record.split(";"):
        name, _, value = tag.partition("=")
        tags[name.strip()] = "".join(value.split())  # RFC 6376 section 3.2: blanks do not count
    return tags.get("k", "rsa"), tags.get("p", "")


# Canonical form (RFC 6376 section 3.4).


def relaxed_header(field: bytes) -> bytes:
    """The canonical form, with its CRLF, of a header field: "Name: value", folded or not, without
    its final CRLF. Raises ValueError where there is no colon."""
    name, colon, value = field.partition(b":")
    if not colon:
        raise ValueError("a header field has no colon")
    if b"\r\n" in value:
        value = value.replace(b"\r\n", b"")
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), _single_spaces(value).strip(b" \t"))


def relaxed_lines(chunk: bytes) -> bytes:
    """The canonical form of complete lines, each with its CRLF; joined chunks make a body."""
    if b" " not in chunk and b"\t" not in chunk:  # base64: these searches are many times faster
        return chunk
    chunk = _single_spaces(chunk)
    return chunk.replace(b" \r\n", b"\r\n") if b" \r\n" in chunk else chunk


def body_hash(canonical_body: bytes, tail: bytes = b"") -> bytes:
    """What bh= holds. Empty lines at the end do not count; a last line without CRLF gets one.

    `tail`: canonical octets behind the body that end in a line that is not empty. They may be
    long, and are not copied.
    """
    if tail:
        digest = sha256(canonical_body)
        digest.update(tail)
        return b2a_base64(digest.digest(), newline=False)
    body = canonical_body
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    end = len(body)
    while body.endswith(b"\r\n\r\n", 0, end):
        end -= 2
    if end == 2:  # nothing but empty lines
        end = 0
    return b2a_base64(sha256(memoryview(body)[:end]).digest(), newline=False)


def _single_spaces(data: bytes) -> bytes:
    return _WSP.sub(b" ", data) if b"\t" in data or b"  " in data else data


# Signing.


class Signer:
    """Signs with each of `keys`; what is the same in all letters is built once.

    `names`: the header fields to sign, in lower case and in order; one that occurs twice is listed
    twice, the last in the message first (RFC 6376 section 5.4.2). Those of OVERSIGNED are listed
    once more. Raises ValueError where From is missing, for a name that is none, and for a private
    key that cannot be read or is of another algorithm.
    """

    def __init__(self, keys: Sequence[DkimKey], names: Sequence[bytes]) -> None:
        if b"from" not in names:
            raise ValueError("the From header must be signed (RFC 6376 section 5.4)")
        if not all(_HEADER_NAME.fullmatch(name) for name in names):
            raise ValueError("not a lower-case header name")
        self._signings = [
            (opening, relaxed_header(opening).removesuffix(b"\r\n"), _signing(key))
            for key in keys
            for opening in [_opening(key, (*names, *OVERSIGNED))]
        ]

    def sign(self, canonical_headers: bytes, body_hash: bytes, at: int) -> bytes:
        """The DKIM-Signature header fields, a key each, to stand in front of the message.

        `canonical_headers`: what `relaxed_header` gives for the signed fields, joined in the
        order of `names`; `body_hash` comes from the function of that name; `at` is seconds
        since 1970.
        """
        end = b"%d; bh=%b;" % (at, body_hash)
        fields = []
        for opening, canonical, signing in self._signings:
            # Section 3.7: the signature's own header comes last, without b='s value and a CRLF.
            signature = signing(b"%b%b%b b=" % (canonical_headers, canonical, end))
            fields.append(b"%b%b\r\n b=%b\r\n" % (opening, end, _folded(signature)))
        return b"".join(fields)


def _opening(key: DkimKey, names: Sequence[bytes]) -> bytes:
    """The header field up to the value of t=, folded where tags and names may be."""
    tags = ("v=1;", f"a={key.algorithm};", "c=relaxed/relaxed;")
    words = [tag.encode() for tag in (*tags, f"d={key.domain};", f"s={key.selector};")]
    lines: list[bytes] = []
    line = b"DKIM-Signature:"
    for word in words:
        line = _append(lines, line, b" " + word)
    line = _append(lines, line, b" h=" + names[0])
    for name in names[1:]:
        # The colon stays in front of the fold, where the next name begins with a space.
        line = _append(lines, line + b":", name)
    return b"\r\n".join((*lines, line + b";", b" t="))


def _append(lines: list[bytes], line: bytes, word: bytes) -> bytes:
    if len(line) + len(word) < _FOLD_AT:  # leaves room for a colon or a semicolon
        return line + word
    lines.append(line)
    return b" " + word.lstrip(b" ")


def _signing(key: DkimKey) -> Callable[[bytes], bytes]:
    private = _load(key.private_key)
    if key.algorithm == "rsa-sha256" and isinstance(private, RSAPrivateKey):
        return lambda data: private.sign(data, _PKCS1, _SHA256)
    if key.algorithm == "ed25519-sha256" and isinstance(private, Ed25519PrivateKey):
        # RFC 8463 section 3: PureEdDSA of the hash, not of the data.
        return lambda data: private.sign(sha256(data).digest())
    raise ValueError("the private key is of another algorithm")


def _load(private_pem: str) -> RSAPrivateKey | Ed25519PrivateKey:
    # These keys are our own (see generate_key); their check takes as long as 50 signatures.
    private = load_pem_private_key(
        private_pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
    )
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("neither an RSA nor an Ed25519 key")
    return private


def _folded(signature: bytes) -> bytes:
    """Base64 in lines that fit behind " b=" and behind a space."""
    text = b2a_base64(signature, newline=False)
    starts = range(_FOLD_AT - 3, len(text), _FOLD_AT - 1)
    rest = [text[start : start + _FOLD_AT - 1] for start in starts]
    return b"\r\n ".join((text[: _FOLD_AT - 3], *rest))
