"""The sandbox's real SMTP and DNS servers, run in a thread beside the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import pytest
from django.conf import LazySettings

from apps.sandbox.dns_server import DnsServer
from apps.sandbox.management.commands.sandbox import inbox_of
from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.store import MemoryStore, StoredMessage

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, for servers that synchronous code talks to."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.run(self._cancel_the_rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _cancel_the_rest(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`messages` has what the SMTP server accepted, in the order of its replies."""

    messages: list[StoredMessage]
    smtp: SmtpServer
    dns: DnsServer

    def to(self, email: str) -> list[StoredMessage]:
        return [message for message in self.messages if message.recipient == email]


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@pytest.fixture
def sandbox(loop_thread: LoopThread, settings: LazySettings) -> Iterator[Sandbox]:
    """Both servers on free ports, which the settings then name; no name is asked elsewhere."""
    store = MemoryStore()
    smtp = SmtpServer(store, authenticate=inbox_of)
    dns = DnsServer(upstreams=[])
    loop_thread.run(smtp.start())
    loop_thread.run(dns.start())
    settings.SANDBOX_SMTP_PORT, settings.SANDBOX_DNS_PORT = smtp.port, dns.port
    yield Sandbox(store.messages, smtp, dns)
    loop_thread.run(smtp.stop())
    loop_thread.run(dns.stop())
