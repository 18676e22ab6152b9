"""The commands of a mail transaction (RFC 5321 section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mailkit.smtp.letters import Outgoing
from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import Broken, Refused, Reply, Stage

ENVELOPE: tuple[Stage, ...] = ("mail", "rcpt", "data")

_UNSAFE_IN_PATH = re.compile(r"[\s<>\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(slots=True)
class Commands:
    """Some commands, each a line with its CRLF, and the stages that they are."""

    stages: tuple[Stage, ...]
    lines: bytes


def transaction(
    envelope_from: str, letter: Outgoing, extensions: Mapping[str, str], *, reset: bool
) -> Commands | Refused | Broken:
    """What to say up to DATA; without it, what becomes of a letter that cannot be said so."""
    try:
        sender, recipient = path(letter.sender or envelope_from), path(letter.recipient)
        if not recipient:
            raise ValueError("no recipient")
    except ValueError as error:
        return Broken("mail", "stopped", detail=str(error))
    message = letter.message
    utf8 = message.utf8 or not recipient.isascii() or not sender.isascii()
    if refusal := _unable(extensions, utf8, eight_bit=message.eight_bit):
        return refusal
    parameters = _parameters(extensions, message, utf8)
    lines = b"MAIL FROM:<%b>%b\r\nRCPT TO:<%b>\r\nDATA\r\n" % (sender, parameters, recipient)
    if reset:
        return Commands(("rset", *ENVELOPE), b"RSET\r\n" + lines)
    return Commands(ENVELOPE, lines)


def _unable(extensions: Mapping[str, str], utf8: bool, *, eight_bit: bool) -> Refused | None:
    if utf8 and "SMTPUTF8" not in extensions:
        return Refused("mail", Reply(553, "5.6.7", "5.6.7 SMTPUTF8 is needed, not offered"))
    if eight_bit and "8BITMIME" not in extensions:
        return Refused("mail", Reply(554, "5.6.3", "5.6.3 8BITMIME is needed, not offered"))
    return None


def _parameters(extensions: Mapping[str, str], message: WireMessage, utf8: bool) -> bytes:
    parameters = b""
    if "SIZE" in extensions:
        parameters += b" SIZE=%d" % message.size
    if message.eight_bit:
        parameters += b" BODY=8BITMIME"
    if utf8:
        parameters += b" SMTPUTF8"
    return parameters


@lru_cache(maxsize=64)  # senders come again; recipients pass through
def path(address: str) -> bytes:
    """Raises ValueError for what would end the path or the line."""
    if _UNSAFE_IN_PATH.search(address):
        raise ValueError("a space, angle bracket or control character in an address")
    return address.encode()
