"""This process's SMTP connections: one event loop in a thread, one pool per route."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import fields, replace
from typing import Any

import redis
import redis.asyncio
import uvloop
from celery.signals import worker_process_shutdown
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection as database

from apps.campaigns.services.sending.handover import Handover
from apps.senders.selectors import Route
from mailkit.smtp.endpoint import Timeouts
from mailkit.smtp.pool import Pool

logger = logging.getLogger(__name__)

REGISTRY = "smtp:connections"
CLEANUP_KEY = "smtp:close-idle-before"
HOUSEKEEPING_SECONDS = 10
FORGOTTEN_AFTER_SECONDS = 60
RENEW_SECONDS = 10
SEE_OUT_SECONDS = 5


def _timeouts() -> Timeouts:
    """Those of RFC 5321, or SMTP_REPLY_SECONDS where that is less."""
    most = settings.SMTP_REPLY_SECONDS
    standard = Timeouts(connect=15, banner=60)
    if not most:
        return standard
    return replace(
        standard,
        **{one.name: min(getattr(standard, one.name), most) for one in fields(standard)},
    )


class Sender:
    """Lives as long as the process; made anew after a fork, since threads do not survive one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = uvloop.new_event_loop()
        self._pools: dict[Route, Pool] = {}
        self._slow: set[threading.Thread] = set()
        self._name = f"{socket.gethostname()}:{self.pid}"
        threading.Thread(target=self._run_loop, name="smtp", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._keep_house(), self._loop)

    def hand_over(
        self, route: Route, handover: Handover, *, envelope_from: str, connections: int
    ) -> Future[None]:
        """Begin with a group of letters; the future is done when nothing of it is in motion."""
        return asyncio.run_coroutine_threadsafe(
            self._hand_over(route, handover, envelope_from, connections), self._loop
        )

    async def _hand_over(
        self, route: Route, handover: Handover, envelope_from: str, connections: int
    ) -> None:
        await handover.run(self._pool(route), envelope_from, connections)

    def has_room(self, route: Route) -> bool:
        """Whether a connection of the route could begin a letter now."""
        pool = self._pools.get(route)
        return pool is None or pool.free > 0

    def see_out(
        self, future: Future[None], *, renew: Callable[[], None], finish: Callable[[], None]
    ) -> None:
        """Wait in a thread of its own for letters that a slow server has not answered yet, so
        that other campaigns need not wait for it."""
        thread = threading.Thread(
            target=self._see_out, args=(future, renew, finish), name="slow letters", daemon=True
        )
        self._slow.add(thread)
        thread.start()

    def _see_out(
        self, future: Future[None], renew: Callable[[], None], finish: Callable[[], None]
    ) -> None:
        try:
            while not wait([future], timeout=RENEW_SECONDS).done:
                try:
                    renew()
                except DatabaseFault as error:
                    # Should it come back, the answers can be written even without a lease.
                    logger.warning("a lease could not be renewed: %s", error)
                    database.close()
            finish()
        except DatabaseFault:
            logger.exception("answers of a slow server could not be written")
        finally:
            database.close()
            self._slow.discard(threading.current_thread())

    def wait_for_slow(self, seconds: float) -> None:
        """Before the process ends: what is not known by then will be unknown."""
        until = time.monotonic() + seconds
        for thread in list(self._slow):
            thread.join(max(until - time.monotonic(), 0))

    def _pool(self, route: Route) -> Pool:
        if route not in self._pools:
            self._pools[route] = Pool(
                route.endpoint,
                max_connections=route.max_connections,
                max_messages=route.max_messages,
                max_age=route.max_age,
                timeouts=_timeouts(),
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
        open_now: dict[str, dict[str, int]] = {}
        for route, pool in self._pools.items():
            stats = pool.stats()
            name = f"{route.endpoint.host}:{route.endpoint.port}"
            kept = open_now.setdefault(name, {"open": 0, "idle": 0, "sent": 0})
            kept["open"] += stats.open
            kept["idle"] += stats.idle
            kept["sent"] += stats.sent
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


@worker_process_shutdown.connect
def _wait_for_slow(**_signal: Any) -> None:
    if _sender is not None and _sender.pid == os.getpid():
        _sender.wait_for_slow(SEE_OUT_SECONDS)


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
            total += sum(kept["open"] for kept in report["open"].values())
    return total
