"""An SMTP server on loopback that answers RCPT from a script and notes what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

DROP = "drop"
SILENCE = "silence"


@dataclass
class SmtpServer:
    """rcpt: from (address, number of the connection, number of RCPT on it, both from 1) to a
    reply (lines parted by a newline), DROP or SILENCE. After a 421 the server hangs up."""

    rcpt: Callable[[str, int, int], str]
    banner: str = "220 mx.example.com"
    mail: str = "250 2.1.0 ok"
    extensions: tuple[str, ...] = ("PIPELINING",)
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def asked(self) -> list[str]:
        return [line[9:-1] for line in self.commands if line.startswith("RCPT TO:<")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        finally:
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        recipients = 0
        reply = self.banner
        while reply != DROP:
            if reply != SILENCE:
                writer.write(_lines(reply))
                if reply.startswith("421") or (reply.startswith("554") and reply == self.banner):
                    return
            line = (await reader.readline()).decode().rstrip("\r\n")
            if not line:
                return
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == "RCPT":
                recipients += 1
                reply = self.rcpt(line[9:-1], connection, recipients)
            elif verb == "QUIT":
                reply = "221 bye"
            else:
                reply = {
                    "EHLO": "250 " + "\n".join(("mx.example.com", *self.extensions)),
                    "MAIL": self.mail,
                    "RSET": "250 ok",
                }.get(verb, "502 not here")


def _lines(reply: str) -> bytes:
    code, _, text = reply.partition(" ")
    lines = text.split("\n")
    marks = ["-"] * (len(lines) - 1) + [" "]
    return "".join(f"{code}{m}{t}\r\n" for m, t in zip(marks, lines, strict=True)).encode()


@asynccontextmanager
async def smtp_server(server: SmtpServer) -> AsyncIterator[SmtpServer]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
