"""An SMTP server on loopback that takes nothing but what the standards allow, and says what it
got: used to find out whether something could be smuggled through a letter."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from mailkit.smtp.endpoint import Endpoint

_COMMANDS = re.compile(
    rb"EHLO client\.example"
    rb"|MAIL FROM:<s@s\.example>(?: SIZE=[0-9]+| BODY=8BITMIME| SMTPUTF8)*"
    rb"|RCPT TO:<([^<>\s\x00-\x1f\x7f]+)>|DATA|RSET|QUIT"
)
_END = b"\r\n.\r\n"


@dataclass
class StrictSink:
    """`letters`: recipient and content of each message. `faults`: what no client may send."""

    letters: list[tuple[bytes, bytes]] = field(default_factory=list)
    verbs: Counter[bytes] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def start(self) -> Endpoint:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint("127.0.0.1", port, "none", "client.example")

    def stop(self) -> None:
        self._server.close()


class _Session(asyncio.Protocol):
    def __init__(self, sink: StrictSink) -> None:
        self.sink = sink
        self.buffer = b""
        self.expected = {b"EHLO"}
        self.recipient = b""
        self.in_letter = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        replies = []
        while self.buffer and (reply := self.letter() if self.in_letter else self.command()):
            replies.append(reply)
        self.transport.write(b"".join(replies))

    def command(self) -> bytes:
        """The reply to the next command; empty where none is complete."""
        end = self.buffer.find(b"\n")
        if end < 0:
            return b""
        line, self.buffer = self.buffer[: end + 1], self.buffer[end + 1 :]
        found = _COMMANDS.fullmatch(line.removesuffix(b"\r\n"))
        verb = line[:4]
        if not found or verb not in self.expected:
            self.sink.faults.append(f"the command {line!r}")
            return b"500 what?\r\n"
        self.sink.verbs[verb] += 1
        self.recipient = found[1] or self.recipient
        self.in_letter = verb == b"DATA"
        following = {b"MAIL": b"RCPT", b"RCPT": b"DATA"}
        self.expected = {following.get(verb, b"MAIL"), b"RSET", b"QUIT"}
        if verb == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
        return b"354 go on\r\n" if self.in_letter else b"250 ok\r\n"

    def letter(self) -> bytes:
        end = self.buffer.find(_END)
        if end < 0:
            return b""
        stuffed, self.buffer = self.buffer[: end + 2], self.buffer[end + len(_END) :]
        self.in_letter = False
        if fault := _fault_of(stuffed):
            self.sink.faults.append(f"{fault}: {stuffed!r}")
        self.sink.letters.append((self.recipient, stuffed.replace(b"\r\n..", b"\r\n.")))
        return b"250 taken\r\n"


def _fault_of(stuffed: bytes) -> str:
    line_ends = stuffed.count(b"\r\n")
    if stuffed.count(b"\r") != line_ends or stuffed.count(b"\n") != line_ends:
        return "a bare CR or LF"
    if b"\0" in stuffed:
        return "a NUL"
    if stuffed.startswith(b".") or stuffed.count(b"\n.") != stuffed.count(b"\n.."):
        return "a dot that is not doubled"
    if max(map(len, stuffed.split(b"\r\n"))) > 999:  # with a doubled dot
        return "a line that is too long"
    return ""
