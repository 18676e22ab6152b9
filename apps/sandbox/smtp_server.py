"""The sandbox's SMTP server: strict, fast, on loopback only, and nothing leaves it.

It is both the mail server of every recipient (no AUTH) and a relay (AUTH). A message gets its
250 only after the store has committed it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from apps.sandbox import returns
from apps.sandbox.smtp_session import Session, Transaction
from apps.sandbox.store import Store, StoredMessage
from apps.sandbox.world import Smtp

Authenticate = Callable[[str, str], str | None]
"""(user, password) to the inbox key, None when they are wrong. Called in a thread: may block."""

_REMEMBERED = 100_000  # pairs of the greylist, deliveries that were dropped


class SmtpServer:
    """Serves until stopped. Refuses to bind to anything but a loopback address.

    `greylist_delay` and `idle_timeout` are seconds. The latter ends a session in which the
    client says nothing, and one in which the server never answers. `clock` gives seconds.
    `latency`: seconds that each group of replies is on its way. `returns_port`: where on loopback
    reports and complaints go; 0 is nowhere.
    """

    def __init__(
        self,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        authenticate: Authenticate | None = None,
        greylist_delay: float = 60.0,
        idle_timeout: float = 600.0,
        max_connections: int = 2000,
        clock: Callable[[], float] = time.monotonic,
        latency: float = 0.0,
        returns_port: int = 0,
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError("the sandbox serves loopback only")
        self.store = store
        self.host = host
        self.port = port
        self.authenticate = authenticate
        self.idle_timeout = idle_timeout
        self.latency = latency
        self.max_connections = max_connections
        self._returns_port = returns_port
        self.sessions: set[Session] = set()
        self._greylist_delay = greylist_delay
        self._clock = clock
        self._greylist: OrderedDict[Hashable, float] = OrderedDict()
        self._dropped: OrderedDict[Hashable, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; port 0 becomes a free port, then found in `port`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Session(self), self.host, self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections, then wait for what is being saved."""
        if self._server is not None:
            self._server.close()
        for session in list(self.sessions):
            session.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send_back(self, message: StoredMessage, smtp: Smtp) -> None:
        """A report or a complaint to the message's return path, in its own time."""
        if self._returns_port and "@" in message.envelope_from:
            self.run(returns.send(message, smtp, self._returns_port))

    def passes_greylist(self, sender: str, recipient: str) -> bool:
        """Whether this pair first came at least the greylisting delay ago."""
        now = self._clock()
        first = _remember(self._greylist, (sender.lower(), recipient.lower()), now)
        return first is not None and now - first >= self._greylist_delay

    def drops(self, transaction: Transaction, message_id: str) -> bool:
        """Whether to break the connection in the middle of this message."""
        first_time = [
            _remember(self._dropped, (message_id, address.lower()), 0.0) is None
            for address, smtp in transaction.recipients
            if smtp is Smtp.DROP_ONCE
        ]
        return any(first_time) or any(smtp is Smtp.DROP for _, smtp in transaction.recipients)


def _remember(memory: OrderedDict[Hashable, float], key: Hashable, value: float) -> float | None:
    """The value that `key` was first remembered with, None for a new key. Forgets the oldest."""
    if key in memory:
        return memory[key]
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
    return None
