"""The bytes of an SMTP connection: whole replies in, blocks out, each within a time limit."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from mailkit.smtp.outcomes import BreakCode, Reply, parse_reply

# RFC 5321 section 4.5.3.1.5 has 512 octets for a line; real EHLO replies reach about 1 KB.
# A server that sends more than this is broken or means harm.
MAX_REPLY = 64 * 1024


class WireError(Exception):
    """The connection cannot go on. Stays inside this package."""

    def __init__(self, error: BreakCode, detail: str = "") -> None:
        super().__init__(error, detail)
        self.error: BreakCode = error
        self.detail = detail


class Wire(asyncio.Protocol):
    """One TCP or TLS connection, used by one task at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._lines: list[bytes] = []  # of a reply not yet complete
        self._size = 0  # octets of those lines
        self._lost: WireError | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._writable = True
        self._paused = False
        self._heard: Callable[[], bool] | None = None
        self._heard_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_REPLY:
            self._paused = True
            self._transport_now.pause_reading()
        if self._heard is not None and not self._heard():
            self._heard = None
        if self._heard is None:
            self._wake()
        else:
            self._heard_at = self._loop.time()

    def eof_received(self) -> None:
        self._lose(WireError("closed", "the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(WireError("closed", str(exc or "the connection is closed")))

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    # What the client calls.

    @property
    def lost(self) -> bool:
        return self._lost is not None

    @property
    def has_input(self) -> bool:
        return bool(self._received or self._lines)

    async def read_reply(self, seconds: float) -> Reply:
        """Return the next reply. Raises WireError, also where it is not complete in time."""
        reply = self.take_reply()
        if reply is None:
            deadline = self._loop.time() + seconds
            while reply is None:
                # What arrived before the loss still counts: a 421 is often the last thing a
                # server says.
                if self._lost:
                    raise self._lost
                if not await self._wait(deadline):
                    raise WireError("timeout")
                reply = self.take_reply()
        return reply

    def take_reply(self) -> Reply | None:
        """The next reply if all of it is here. Raises WireError."""
        lines = self._take_lines()
        if lines is None:
            return None
        reply = _parsed(lines)
        if reply is None:
            raise WireError("bad_reply", repr(lines[-1][:200]))
        return reply

    async def write(self, data: bytes | memoryview, seconds: float) -> None:
        """Hand `data` to the connection; wait while its buffer is full, unless the server
        speaks: it may have stopped reading. Raises WireError.

        After an error nobody knows how much of `data` went out, unless `lost` was already
        true before the call: then nothing did.
        """
        if self._lost:
            raise self._lost
        self._transport_now.write(data)
        if self._writable:
            return
        deadline = self._loop.time() + seconds
        while not self._writable and not self._received:
            if self._lost:
                raise self._lost
            if not await self._wait(deadline):
                raise WireError("timeout")

    def write_at_once(self, data: bytes) -> None:
        """Hand `data` to a connection that is not lost, without waiting for anything."""
        self._transport_now.write(data)

    async def converse(self, heard: Callable[[], bool], seconds: float) -> bool:
        """Call `heard` at each arrival until it gives False or the connection is lost; False
        where nothing has come for `seconds`."""
        self._heard, self._heard_at = heard, self._loop.time()
        try:
            while self._heard is not None and not self._lost:
                until = self._heard_at + seconds
                if not await self._wait(until) and self._heard_at + seconds <= until:
                    return False
            return True
        finally:
            self._heard = None

    def take_good(self, pattern: re.Pattern[bytes]) -> Reply | None:
        """The first of the replies that `pattern` matches, all of which are taken; else None."""
        found = pattern.match(self._received)
        if found is None or self._lines:
            return None
        reply = _parsed((found[1],))
        del self._received[: found.end()]
        return reply

    def is_unusual(self, replies: int) -> bool:
        """Whether what is here is no beginning of so many good replies of a line each."""
        here = self._received
        return (
            not b"2".startswith(bytes(here[:1]))
            or here.count(b"\n") >= replies
            or len(here) > MAX_REPLY
        )

    async def listen(self, seconds: float) -> None:
        """Wait until the server speaks or hangs up, but no longer than that."""
        if not (self._received or self._lost):
            await self._wait(self._loop.time() + seconds)

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float) -> None:
        """Raises WireError, OSError, ssl.SSLError or TimeoutError."""
        # Bytes behind the reply to STARTTLS were not protected: whoever put them there
        # wants them taken for replies inside the TLS session (RFC 3207 section 6).
        if self._received:
            raise WireError("bad_reply", "plain text after the reply to STARTTLS")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            transport = await loop.start_tls(
                self._transport_now,
                self,
                context,
                server_hostname=host,
                ssl_handshake_timeout=2 * seconds,  # the limit above comes first
            )
        if transport is None:
            raise WireError("closed", "the server closed the connection")
        self._transport = transport

    async def close(self, seconds: float) -> None:
        """Close, giving a TLS session `seconds` to say good-bye."""
        self._transport_now.close()
        try:
            deadline = self._loop.time() + seconds
            while not self._lost and await self._wait(deadline):
                pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection without a word; what is still buffered is not sent."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(WireError("closed", "dropped by this side"))

    @property
    def _transport_now(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("not connected")
        return self._transport

    def _take_lines(self) -> tuple[bytes, ...] | None:
        """Cut a complete reply off what was received; None when more has to come."""
        while (end := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:end]).removesuffix(b"\r")
            del self._received[: end + 1]
            if line[3:4] != b"-" and not self._lines and end < MAX_REPLY:
                if self._paused:
                    self._resume()
                return (line,)
            self._lines.append(line)
            self._size += end + 1
            if self._size > MAX_REPLY:
                break
            if line[3:4] != b"-":
                lines, self._lines, self._size = self._lines, [], 0
                self._resume()
                return tuple(lines)
        if self._size + len(self._received) > MAX_REPLY:
            raise WireError("bad_reply", "a reply without an end")
        return None

    def _resume(self) -> None:
        self._paused = False
        self._transport_now.resume_reading()

    async def _wait(self, deadline: float) -> bool:
        """Until something happens, or False when the loop's clock reads `deadline`.

        A timer of the loop's own: asyncio.timeout costs several times as much, and there are
        three waits to a letter.
        """
        if self._waiter is not None:
            raise RuntimeError("two tasks use one connection")
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _give_up, waiter)
        try:
            return bool(await waiter)
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def _lose(self, error: WireError) -> None:
        self._lost = self._lost or error
        self._wake()


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


# Servers say the same few things over and over.
_parsed = lru_cache(maxsize=512)(parse_reply)
