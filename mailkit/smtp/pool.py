"""A pool of kept SMTP connections to one endpoint, within one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from mailkit.smtp.connection import Connection
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.letters import Letters, Outgoing
from mailkit.smtp.outcomes import Broken, Refused

L = TypeVar("L", bound=Outgoing)

# A server that has hung up in the middle of a letter may do it again. For so long the end of each
# letter is held back a moment, in which the next such drop shows: that letter can safely be sent
# again. It costs much of the speed, so servers that never do it are spared.
CAREFUL_SECONDS = 600.0
DROP_SHOWS_WITHIN = 0.025


@dataclass(frozen=True, slots=True)
class PoolStats:
    """`open` counts the connections in use too; `sent` counts accepted messages."""

    open: int
    idle: int
    sent: int


class Pool:
    """At most `max_connections` at a time; who asks first is served first.

    A connection is given up after `max_messages` accepted messages, at `max_age` seconds,
    and when it was idle for `max_idle` seconds (noticed on the next use or by `expire`,
    which somebody has to call now and then: there is no background task).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_connections: int = 10,
        max_messages: int = 1000,
        max_age: float = 300.0,
        max_idle: float = 30.0,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_connections < 1 or max_messages < 1:
            raise ValueError("a pool needs room for a connection and a message")
        self._endpoint = endpoint
        self._max_connections = max_connections
        self._max_messages = max_messages
        self._max_age = max_age
        self._max_idle = max_idle
        self._timeouts = timeouts
        self._clock = clock
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[Connection] = []  # the most recently used last
        self._used = 0
        self._sent = 0
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._dropped_at = float("-inf")

    async def send_each(self, envelope_from: str, letters: Letters[L]) -> Refused | Broken | None:
        """Send letters over one connection at a time until there is none left to take.

        Returns why there is no connection, where there is none; see `Connection.send_each`.
        """
        async with self._slot():
            while letters.waiting:
                connection = self._take_idle() or await self._open()
                if not isinstance(connection, Connection):
                    return connection
                sent_before = connection.sent
                try:
                    await connection.send_each(
                        envelope_from,
                        letters,
                        limit=self._max_messages,
                        hold=self._hold,
                    )
                finally:
                    if connection.dropped:
                        self._dropped_at = self._clock()
                    self._give_back(connection, connection.sent - sent_before)
        return None

    async def expire(self) -> None:
        """Close the idle connections that are past `max_idle` or `max_age`, or dead."""
        await self._close_where(lambda kept: not kept.alive or self._expired(kept))

    async def close_idle(self) -> None:
        """Close all connections that are not in use."""
        await self._close_where(lambda _: True)

    def _hold(self) -> float:
        careful = self._clock() - self._dropped_at < CAREFUL_SECONDS
        return DROP_SHOWS_WITHIN if careful else 0.0

    @property
    def free(self) -> int:
        """How many could begin a message now."""
        return self._max_connections - self._used

    def stats(self) -> PoolStats:
        return PoolStats(self._used + len(self._idle), len(self._idle), self._sent)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._slots:
            self._used += 1
            try:
                yield
            finally:
                self._used -= 1

    async def _open(self) -> Connection | Refused | Broken:
        return await Connection.open(self._endpoint, self._timeouts, self._clock)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive and not self._expired(connection):
                return connection
            self._retire(connection)
        return None

    def _give_back(self, connection: Connection, sent: int) -> None:
        self._sent += sent
        if connection.alive and not self._spent(connection):
            self._idle.append(connection)
        else:
            self._retire(connection)

    def _spent(self, connection: Connection) -> bool:
        age = self._clock() - connection.opened_at
        return connection.sent >= self._max_messages or age >= self._max_age

    def _expired(self, connection: Connection) -> bool:
        idle = self._clock() - connection.last_used
        return idle >= self._max_idle or self._spent(connection)

    def _retire(self, connection: Connection) -> None:
        """Say good-bye without making the next message wait for it."""
        if not connection.alive:
            connection.abort()
            return
        task = asyncio.get_running_loop().create_task(connection.close())
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def _close_where(self, chosen: Callable[[Connection], bool]) -> None:
        leaving = [connection for connection in self._idle if chosen(connection)]
        self._idle = [connection for connection in self._idle if connection not in leaving]
        for connection in leaving:
            self._retire(connection)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)
