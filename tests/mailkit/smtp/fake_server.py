"""A scriptable SMTP server on loopback that misbehaves on demand."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from mailkit.smtp.endpoint import Endpoint, Timeouts

DROP = "drop"  # close the connection instead of answering
HANG = "hang"  # never answer

# What can be scripted beside the verbs: BANNER, BODY (acts once the body begins to arrive),
# FIRST (DROP once a body begins to arrive; anything else goes on), DOT (the answer to the whole
# message), PROMPT and ERROR (in the middle of AUTH).
Script = Mapping[str, str | Sequence[str]]

# The one of RFC 2195: <1896.697170952@postoffice.reston.mci.net>.
CHALLENGE = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800")
UNPIPELINED = ("8BITMIME", "SMTPUTF8")

# For a server that hangs; to be connected to may take longer on a busy machine.
HASTY = replace(Timeouts(*[0.1] * 12), connect=5.0)


class _Gone(Exception):
    pass


@dataclass
class Received:
    sender: str
    recipients: list[str]
    message: bytes


@dataclass
class Session:
    commands: list[str] = field(default_factory=list)
    tls: bool = False


class FakeServer:
    """`script` maps a verb to its answer, or to answers used in turn (the last one stays).

    `require_pipelining`: MAIL is answered only once DATA has arrived behind it.
    `await_next`: so many messages are answered only once the next envelope has arrived.
    `dribble`: answers go out one byte at a time.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        extensions: Sequence[str] = EXTENSIONS,
        require_pipelining: bool = False,
        await_next: int = 0,
        dribble: bool = False,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
    ) -> None:
        self.script = dict(script or {})
        self.extensions = list(extensions)
        self.require_pipelining = require_pipelining
        self.await_next = await_next
        self.dribble = dribble
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.sessions: list[Session] = []
        self.received: list[Received] = []  # whole messages, whatever was answered
        self.accepted: list[Received] = []
        self.unpipelined_violations = 0
        self.hang_up = asyncio.Event()  # set to end all hanging sessions
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        # asyncio switches Nagle's algorithm off only where the protocol is named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if "BODY" in self.script:
            # Small, so that a test finds the client in the middle of a large body.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self._server = await asyncio.start_server(
            self._serve, sock=listener, ssl=self.tls if self.implicit_tls else None
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up.set()
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def endpoint(self, **changes: Any) -> Endpoint:
        settings = {"security": "none", "local_hostname": "client.example"} | changes
        return Endpoint(host="127.0.0.1", port=self.port, **settings)

    @property
    def commands(self) -> list[str]:
        return [command for session in self.sessions for command in session.commands]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await _Conversation(self, reader, writer).run()
        except (_Gone, ConnectionError, ssl.SSLError):
            pass  # the script or the client ended it
        finally:
            writer.transport.abort()

    def answer(self, verb: str, default: str) -> str:
        scripted = self.script.get(verb, default)
        if isinstance(scripted, str):
            return scripted
        first, *rest = scripted
        if rest:
            self.script[verb] = rest
        return first


class _Conversation:
    def __init__(
        self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.buffer = b""
        self.session = Session(tls=server.implicit_tls)
        server.sessions.append(self.session)
        self.sender: str | None = None
        self.recipients: list[str] = []

    async def run(self) -> None:
        await self.say("BANNER", "220 fake.example ESMTP")
        while True:
            line = (await self.read_until(b"\r\n")).decode("utf-8", "surrogateescape")
            self.session.commands.append(line)
            verb = line.partition(" ")[0].upper()
            handler = getattr(self, f"on_{verb.lower()}", None)
            if handler:
                await handler(line)
            else:
                await self.say(verb, "500 5.5.1 what?")
            if verb == "QUIT":
                return

    async def on_ehlo(self, _line: str) -> None:
        self.sender = None
        offered = list(self.server.extensions)
        if self.server.tls and not self.session.tls:
            offered.append("STARTTLS")
        lines = ["fake.example", *offered]
        marks = ["-"] * (len(lines) - 1) + [" "]
        text = "\r\n".join(f"250{mark}{line}" for mark, line in zip(marks, lines, strict=True))
        await self.say("EHLO", text)

    async def on_helo(self, _line: str) -> None:
        await self.say("HELO", "250 fake.example")

    async def on_starttls(self, _line: str) -> None:
        code = await self.say("STARTTLS", "220 2.0.0 go ahead")
        if code == "220":
            await self.writer.start_tls(self.server.tls)  # type: ignore[arg-type]
            self.session.tls = True

    async def on_auth(self, line: str) -> None:
        prompts = {
            "LOGIN": ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"],
            "CRAM-MD5": ["334 " + CHALLENGE],
        }.get(line.split(" ")[1], [])
        if "ERROR" in self.server.script:  # XOAUTH2 says what is wrong before it refuses
            prompts = ["334 " + self.server.answer("ERROR", "")]
        for prompt in prompts:
            if await self.say("PROMPT", prompt) != "334":
                return
            self.session.commands.append((await self.read_until(b"\r\n")).decode())
        await self.say("AUTH", "235 2.7.0 welcome")

    async def on_mail(self, line: str) -> None:
        if self.server.require_pipelining:
            while b"DATA\r\n" not in self.buffer:
                await self.fill()
        if self.sender is not None:
            await self.say("NESTED", "503 5.5.1 nested MAIL")
        elif await self.say("MAIL", "250 2.1.0 ok") == "250":
            self.sender = line.partition("<")[2].rpartition(">")[0]

    async def on_rcpt(self, line: str) -> None:
        if self.sender is None:
            await self.say("EARLY RCPT", "503 5.5.1 MAIL first")
        elif await self.say("RCPT", "250 2.1.5 ok") == "250":
            self.recipients.append(line.partition("<")[2].rpartition(">")[0])

    async def on_data(self, _line: str) -> None:
        default = "354 go ahead" if self.recipients else "503 5.5.1 no valid recipients"
        if await self.say("DATA", default) != "354":
            return
        if "BODY" in self.server.script:
            await self.fill()
            await self.say("BODY", "")
            if self.server.answer("BODY", "") != DROP:
                await self.server.hang_up.wait()  # reads no further
                raise _Gone
        if not self.buffer:
            await self.fill()
        if self.server.answer("FIRST", "") == DROP:
            raise _Gone
        message = await self.read_message()
        if not self.recipients:
            await self.say("EMPTY", "554 5.5.1 no valid recipients")
            self.sender = None
            return
        received = Received(self.sender or "", self.recipients, message)
        self.server.received.append(received)
        if len(self.server.received) <= self.server.await_next:
            while b"DATA\r\n" not in self.buffer:
                await self.fill()
        self.sender, self.recipients = None, []
        if (await self.say("DOT", "250 2.0.0 queued"))[0] == "2":
            self.server.accepted.append(received)

    async def on_rset(self, _line: str) -> None:
        self.sender, self.recipients = None, []
        await self.say("RSET", "250 2.0.0 ok")

    async def on_quit(self, _line: str) -> None:
        await self.say("QUIT", "221 2.0.0 bye")

    async def read_message(self) -> bytes:
        lines = []
        while (line := await self.read_until(b"\r\n")) != b".":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(line + b"\r\n" for line in lines)

    async def read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            await self.fill()
        found, _, self.buffer = self.buffer.partition(end)
        return found

    async def fill(self) -> None:
        data = await self.reader.read(65536)
        if not data:
            raise _Gone
        self.buffer += data

    async def say(self, verb: str, default: str) -> str:
        text = self.server.answer(verb, default)
        if self.buffer and "PIPELINING" not in self.server.extensions:
            self.server.unpipelined_violations += 1
        if text == DROP:
            raise _Gone
        if text == HANG:
            await self.server.hang_up.wait()
            raise _Gone
        data = text.encode("latin-1") + b"\r\n"
        for piece in [data[i : i + 1] for i in range(len(data))] if self.server.dribble else [data]:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)
        if text.startswith("421"):
            raise _Gone
        return text[:3]
