"""Where the sandbox keeps the messages that it accepted."""

from __future__ import annotations

import asyncio
import binascii
import logging
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header
from types import TracebackType
from typing import Protocol, Self

import psycopg

logger = logging.getLogger(__name__)

_COPY = (
    "COPY sandbox_message (inbox, envelope_from, recipient, message_id, subject, data, received_at)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ("text", "text", "text", "text", "text", "bytea", "timestamptz")
_BATCH_MESSAGES = 500
_BATCH_BYTES = 32 * 1024 * 1024
_CONNECT_SECONDS = 5
_FIRST_BACKOFF = 0.1  # seconds
_LONGEST_BACKOFF = 5.0
_LONGEST_HEADER = 998  # octets; RFC 5322, 2.1.1

_FIELDS = re.compile(
    rb"^(message-id|subject):([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message for one recipient. `inbox` is the key that AUTH gave, None without AUTH."""

    inbox: str | None
    envelope_from: str
    recipient: str
    message_id: str
    subject: str
    data: bytes
    received_at: datetime


class SaveFailed(Exception):
    """The messages are not stored: the client may try again."""


class SaveUnknown(Exception):
    """The connection was lost in the middle of the commit: stored or not, nobody can tell."""


class Store(Protocol):
    async def save(self, *messages: StoredMessage) -> None:
        """Store all the messages or none; return once they are committed.

        Raises SaveFailed or SaveUnknown.
        """


class MemoryStore:
    """Keeps the messages in a list."""

    def __init__(self) -> None:
        self.messages: list[StoredMessage] = []

    async def save(self, *messages: StoredMessage) -> None:
        self.messages += messages


@dataclass(frozen=True, slots=True)
class _Waiting:
    messages: Sequence[StoredMessage]
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return sum(len(message.data) for message in self.messages)


class PostgresStore:
    """Writes to the table `sandbox_message`: what arrives during one commit shares the next one.

    An async context manager. After a lost connection it connects again, with back-off; until
    then every save fails at once.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._connection: psycopg.AsyncConnection | None = None
        self._writer: asyncio.Task[None] | None = None
        self._backoff = 0.0
        self._connect_after = 0.0

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_forever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is queued, then close."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._queue.join()
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
        await self._disconnect()

    async def save(self, *messages: StoredMessage) -> None:
        if self._writer is None:
            raise SaveFailed("the store is closed")
        waiting = _Waiting(messages, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        await waiting.done

    async def _write_forever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            count, size = len(batch[0].messages), batch[0].size
            while count < _BATCH_MESSAGES and size < _BATCH_BYTES and not self._queue.empty():
                batch.append(self._queue.get_nowait())
                count += len(batch[-1].messages)
                size += batch[-1].size
            await self._settle(batch)

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        failure: SaveFailed | SaveUnknown | None = None
        try:
            await self._write([message for waiting in batch for message in waiting.messages])
        except (SaveFailed, SaveUnknown) as error:
            logger.warning("sandbox: %d saves failed: %s", len(batch), error)
            failure = error
        for waiting in batch:
            self._queue.task_done()
            if waiting.done.done():  # its caller was cancelled
                continue
            if failure is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(failure)

    async def _write(self, messages: Sequence[StoredMessage]) -> None:
        try:
            connection = await self._connected()
            async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for message in messages:
                    await copy.write_row(_row(message))
        except Exception as error:  # whatever it was, nothing is committed and others wait
            await self._disconnect()
            raise SaveFailed(repr(error)) from error
        try:
            await connection.commit()
        except (psycopg.Error, OSError) as error:
            await self._disconnect()
            raise SaveUnknown(repr(error)) from error

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is not None:
            return self._connection
        if time.monotonic() < self._connect_after:
            raise ConnectionError("no connection to the database")
        try:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, connect_timeout=_CONNECT_SECONDS
            )
        except (psycopg.Error, OSError):
            self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF), _LONGEST_BACKOFF)
            self._connect_after = time.monotonic() + self._backoff
            raise
        self._backoff = 0.0
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def headers(data: bytes) -> tuple[str, str]:
    """The Message-ID and the decoded Subject of a raw message; "" where it has none.

    The first of each counts. Control characters become spaces, so each
    is a single line, of at most 998 octets.
    """
    block = b"" if data.startswith(b"\r\n") else data.partition(b"\r\n\r\n")[0]
    found: dict[bytes, str] = {}
    for name, value in _FIELDS.findall(block):
        found.setdefault(name.lower(), value.decode("utf-8", "replace"))
    subject = found.get(b"subject", "").replace("\r\n", "")
    return _line(found.get(b"message-id", "")), _line(_decode_words(subject))


def _decode_words(value: str) -> str:
    """Decode RFC 2047 encoded words; what cannot be decoded stays as it came."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            part.decode(charset or "utf-8", "replace") if isinstance(part, bytes) else part
            for part, charset in decode_header(value)
        )
    except (MessageError, binascii.Error, LookupError, ValueError):
        return value


def _line(value: str) -> str:
    printable = _UNPRINTABLE.sub(" ", value).strip()
    return printable.encode("utf-8", "replace")[:_LONGEST_HEADER].decode("utf-8", "ignore")


def _row(message: StoredMessage) -> tuple[object, ...]:
    return (
        _text(message.inbox or ""),
        _text(message.envelope_from),
        _text(message.recipient),
        _text(message.message_id),
        _text(message.subject),
        message.data,
        message.received_at,
    )


def _text(value: str) -> str:
    """A value that a text column takes, with no NUL or lone surrogate: no row may fail others."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()
