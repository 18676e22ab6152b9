"""This process's SMTP connections: one event loop in a thread, one pool per route."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any, TypeVar

import redis
import redis.asyncio
import uvloop
from django.conf import settings

from apps.senders.selectors import Route
from mailkit.smtp.client import Timeouts
from mailkit.smtp.pool import Pool

logger = logging.getLogger(__name__)

T = TypeVar("T")

REGISTRY = "smtp:connections"
CLEANUP_KEY = "smtp:close-idle-before"
HOUSEKEEPING_SECONDS = 10
FORGOTTEN_AFTER_SECONDS = 60
TIMEOUTS = Timeouts(connect=15, banner=60)


class Sender:
    """Lives as long as the process; made anew after a fork, since threads do not survive one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = uvloop.new_event_loop()
        self._pools: dict[Route, Pool] = {}
        self._name = f"{socket.gethostname()}:{self.pid}"
        threading.Thread(target=self._run_loop, name="smtp", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._keep_house(), self._loop)

    def run(self, work: Coroutine[Any, Any, T], *, while_waiting: Callable[[], None]) -> T:
        """Run a coroutine on the loop, calling `while_waiting` every ten seconds until it ends."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(timeout=10)
            except WaitTimeoutError:
                if future.done():  # done just now, or it ended in a time-out of its own
                    return future.result()
                while_waiting()

    def pool(self, route: Route) -> Pool:
        """The pool of a route; call it from the loop."""
        if route not in self._pools:
            self._pools[route] = Pool(
                route.endpoint, max_connections=route.max_connections, timeouts=TIMEOUTS
            )
        return self._pools[route]

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _keep_house(self) -> None:
        """Close what was idle too long or is to be closed, and report what is open."""
        store = redis.asyncio.Redis.from_url(settings.REDIS_URL)
        last_cleanup = time.time()
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            # Copies: a new route can come in while one pool is being waited for.
            for pool in list(self._pools.values()):
                await pool.expire()
            try:
                asked = float(await store.get(CLEANUP_KEY) or 0)
                if asked > last_cleanup:
                    last_cleanup = asked
                    for pool in list(self._pools.values()):
                        await pool.close_idle()
                await self._report(store)
            except redis.RedisError as error:
                logger.warning("SMTP connections could not be reported: %s", error)

    async def _report(self, store: redis.asyncio.Redis) -> None:
        open_now: Counter[str] = Counter()
        for route, pool in self._pools.items():
            open_now[f"{route.endpoint.host}:{route.endpoint.port}"] += pool.stats().open
        report = json.dumps({"at": time.time(), "open": open_now})
        await store.hset(REGISTRY, self._name, report)


_sender: Sender | None = None
_lock = threading.Lock()


def sender() -> Sender:
    global _sender
    with _lock:
        if _sender is None or _sender.pid != os.getpid():
            _sender = Sender()
        return _sender


def close_idle_everywhere() -> int:
    """Ask every process to close its idle connections and forget the processes that are gone.

    Returns how many connections the living ones reported.
    """
    store = redis.Redis.from_url(settings.REDIS_URL)
    now = time.time()
    store.set(CLEANUP_KEY, now, ex=3600)
    total = 0
    for name, raw in store.hgetall(REGISTRY).items():
        report = json.loads(raw)
        if now - report["at"] > FORGOTTEN_AFTER_SECONDS:
            store.hdel(REGISTRY, name)
        else:
            total += sum(report["open"].values())
    return total
