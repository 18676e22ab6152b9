"""The grammar of SMTP's command lines (RFC 5321, RFC 6531): pure functions.

A refusal is the whole reply to send.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

MAX_SIZE = 25 * 1024 * 1024  # octets of one message

_MAX_LOCAL_PART = 64  # octets, RFC 5321, 4.5.3.1.1
_MAX_DOMAIN = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH = r'<((?P<local>"(?:[^"\\]|\\.)*"|[^\s<>@"]+)@(?P<domain>[^\s<>@"]+)|)>(?: (?P<params>.*))?'
_FROM = re.compile("FROM:" + _PATH, re.IGNORECASE)
_TO = re.compile("TO:" + _PATH, re.IGNORECASE)
_NEEDS_UTF8 = "553 5.6.7 SMTPUTF8 is needed for this address"
_NO_SUCH_PARAMETER = "555 5.5.4 No such parameter"


@dataclass(frozen=True, slots=True)
class Sender:
    """What MAIL said; `address` is "" for the null return path."""

    address: str
    utf8: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    address: str
    local_part: str
    domain: str


@dataclass(frozen=True, slots=True)
class Refusal:
    reply: str


def command_text(line: bytes) -> str | None:
    """The line without its CRLF; None where it has another line end or a control character."""
    try:
        text = line[:-2].decode()
    except UnicodeDecodeError:
        return None
    return None if line[-2:] != b"\r\n" or _CONTROL.search(text) else text


def parse_mail(argument: str) -> Sender | Refusal:
    """The argument of MAIL: `FROM:<address>` and parameters."""
    path = _FROM.fullmatch(argument)
    if path is None or not _fits(path):
        return Refusal("501 5.1.7 Syntax: MAIL FROM:<address>")
    parameters = (path["params"] or "").upper().split()
    for parameter in parameters:
        reply = _parameter_refusal(parameter)
        if reply is not None:
            return Refusal(reply)
    utf8 = "SMTPUTF8" in parameters
    return Sender(path[1], utf8) if utf8 or argument.isascii() else Refusal(_NEEDS_UTF8)


def parse_rcpt(argument: str, *, utf8: bool) -> Recipient | Refusal:
    """The argument of RCPT: `TO:<address>`. `utf8`: MAIL asked for SMTPUTF8."""
    path = _TO.fullmatch(argument)
    if path is None or not path[1] or not _fits(path):
        return Refusal("501 5.1.3 Syntax: RCPT TO:<address>")
    if path["params"]:
        return Refusal(_NO_SUCH_PARAMETER)
    if not utf8 and not argument.isascii():
        return Refusal(_NEEDS_UTF8)
    return Recipient(path[1], path["local"], path["domain"])


def unbase64(line: str) -> str | None:
    """The text of an AUTH line; None for anything else, such as the `*` that gives up."""
    try:
        return base64.b64decode(line, validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
        return None


def _fits(path: re.Match[str]) -> bool:
    local, domain = path["local"] or "", path["domain"] or ""
    return len(local.encode()) <= _MAX_LOCAL_PART and len(domain.encode()) <= _MAX_DOMAIN


def _parameter_refusal(parameter: str) -> str | None:
    """The reply to a parameter of MAIL, None where it is fine."""
    name, _, value = parameter.partition("=")
    if name == "SIZE" and re.fullmatch("[0-9]{1,20}", value):
        return "552 5.3.4 Message too big" if int(value) > MAX_SIZE else None
    if name == "AUTH" or parameter in ("SMTPUTF8", "BODY=7BIT", "BODY=8BITMIME"):
        return None
    return _NO_SUCH_PARAMETER
