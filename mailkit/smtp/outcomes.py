"""What came of talking to an SMTP server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mailkit.rfc2047 import CONTROL

Stage = Literal[
    "connect",  # DNS, TCP and, for implicit TLS, the handshake
    "banner",
    "ehlo",
    "starttls",
    "auth",
    "mail",
    "rcpt",
    "data",  # the DATA command
    "body",  # the message itself, up to the reply to the final dot
    "rset",
    "quit",
]

BreakCode = Literal[
    "dns",  # the host name does not resolve
    "refused",  # nobody listens there
    "unreachable",  # any other failure to connect
    "not_public",  # a private address or another port than mail's, where these are not allowed
    "timeout",
    "closed",  # the server went away
    "tls",
    "certificate",
    "bad_reply",  # not SMTP, out of turn, or far too long
    "not_offered",  # STARTTLS or AUTH was asked for and the server does not know it
    "stopped",  # by this side: an address that fits into no command, or a task cancelled
]

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")

SERVICE_CLOSING = 421  # RFC 5321 section 3.8: may answer any command


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: `text` is its lines joined by newlines, free of other control characters.

    `enhanced` is the RFC 3463 status code (`5.1.1`) that opens the text, if there is one.
    """

    code: int
    enhanced: str | None
    text: str

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def negative(self) -> bool:
        return self.code >= 400


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took the message over. It does not mean delivered."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no. Nothing of this message is with it.

    A letter that the server cannot take at all (SMTPUTF8 or 8BITMIME needed and not
    offered) is refused on its behalf with codes 553 5.6.7 and 554 5.6.3 at stage `mail`.
    """

    stage: Stage
    reply: Reply

    @property
    def permanent(self) -> bool:
        return self.reply.code >= 500


@dataclass(frozen=True, slots=True)
class Broken:
    """The conversation ended without an answer.

    `after_dot`: the end of the message may have reached the server, so that nobody knows
    whether it was accepted. Where it is false a new attempt cannot send twice.
    `detail` is for logs: what the system or the server said, in its words.
    """

    stage: Stage
    error: BreakCode
    after_dot: bool = False
    detail: str = ""


def parse_reply(lines: Sequence[bytes]) -> Reply | None:
    """Build a reply from its complete lines (without line ends); None when it is not one.

    Only the last line may have a space, or nothing, after the code, and the code must be
    the same on every line (RFC 5321 section 4.2.1).
    """
    codes = set()
    texts = []
    for line in lines:
        found = _LINE.fullmatch(line)
        if not found:
            return None
        codes.add(found[1])
        texts.append(CONTROL.sub(" ", (found[3] or b"").decode(errors="replace")))
    if len(codes) != 1:
        return None
    code = int(codes.pop())
    enhanced = _ENHANCED.match(texts[0])
    status = enhanced[1] if enhanced and enhanced[1][0] == str(code)[0] else None
    return Reply(code, status, "\n".join(texts))
