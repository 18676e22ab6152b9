"""Conversations with the sandbox's SMTP server."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.store import (
    MemoryStore,
    Store,
    StoredMessage,
)

MESSAGE = b"Message-ID: <1@x>\r\nSubject: Hello\r\n\r\nHi\r\n"


class Client:
    """Sends bytes as they are and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        lines = []
        while True:
            line = await self.reader.readline()
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def send(self, *commands: str | bytes) -> list[str]:
        """Pipeline the commands; the replies to them."""
        for command in commands:
            self.write((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return [await self.reply() for _ in commands]

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def code(self, command: str | bytes) -> str:
        """The code and the enhanced code of the reply."""
        (reply,) = await self.send(command)
        return " ".join(reply.split()[:2])

    async def begin(self, *recipients: str, sender: str = "me@example.org") -> list[str]:
        """MAIL and RCPT in one group; the codes of the replies to RCPT."""
        replies = await self.send(
            f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)
        )
        assert replies[0].startswith("250")
        return [reply[:3] for reply in replies[1:]]

    async def data(self, message: bytes = MESSAGE) -> str:
        assert (await self.code("DATA")).startswith("354")
        self.write(message + b".\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """What comes until the server closes or breaks the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


class World:
    def __init__(self, store: Store, **options: Any) -> None:
        self.server = SmtpServer(store, **options)
        self.clients: list[Client] = []

    async def raw(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def client(self) -> Client:
        client = await self.raw()
        assert (await client.reply()).startswith("220")
        assert (await client.send("EHLO me.example.org"))[0].startswith("250")
        return client


@asynccontextmanager
async def running(store: Store, **options: Any) -> AsyncIterator[World]:
    world = World(store, **options)
    await world.server.start()
    try:
        yield world
    finally:
        for client in world.clients:
            client.writer.close()
        await world.server.stop()


def run(
    scenario: Callable[[World], Coroutine[Any, Any, None]],
    store: Store | None = None,
    **options: Any,
) -> list[StoredMessage]:
    """Play the scenario against a server; what it stored, where the store is a MemoryStore."""
    used = MemoryStore() if store is None else store

    async def main() -> None:
        async with running(used, **options) as world:
            await scenario(world)

    asyncio.run(main())
    return used.messages if isinstance(used, MemoryStore) else []


def login(user: str, password: str) -> str | None:
    return f"inbox-{user}" if password == "pä ss" else None


def with_smtplib(work: Callable[[smtplib.SMTP], None], **options: Any) -> list[StoredMessage]:
    async def scenario(world: World) -> None:
        def talk() -> None:
            with smtplib.SMTP("127.0.0.1", world.server.port, "me.example.org", 10) as client:
                work(client)

        await asyncio.to_thread(talk)

    return run(scenario, **options)
