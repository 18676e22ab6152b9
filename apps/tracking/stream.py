"""Opens and clicks on their way from the requests to the process that writes them down.

A stream in Valkey, from its beginning: what has been written is deleted, so what is in it waits.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import redis

from core import valkey

logger = logging.getLogger(__name__)

KEY = "tracking:events"
LONGEST_AGENT = 300
# Of those that a process keeps while Valkey is away.
MOST_KEPT = 10_000
AGAIN_SECONDS = 1.0


class Beacon(NamedTuple):
    """A request for a pixel or a link. `at` is in milliseconds since 1970.

    With the number it is the event's key, so that it may come twice and yet is one.
    """

    at: int
    number: int
    kind: str
    campaign_id: int
    contact_id: int
    link: int
    agent: str
    address: str


def beacon(
    kind: str, campaign_id: int, contact_id: int, link: int, agent: str, address: str
) -> Beacon:
    """One of now."""
    return Beacon(
        time.time_ns() // 1_000_000,
        random.getrandbits(48),
        kind,
        campaign_id,
        contact_id,
        link,
        agent[:LONGEST_AGENT],
        address[:64],
    )


class _Kept:
    """What could not be appended yet, sent after it by a thread of its own."""

    def __init__(self) -> None:
        self.waiting: deque[Beacon] = deque()
        self.lost = 0
        self._lock = threading.Lock()
        self._sending = False

    def add(self, one: Beacon) -> None:
        with self._lock:
            if len(self.waiting) < MOST_KEPT:
                self.waiting.append(one)
            else:
                self.lost += 1
                if self.lost % 1000 == 1:
                    logger.error("Valkey is away: %s opens and clicks are lost", self.lost)
            if not self._sending:
                self._sending = True
                threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        while True:
            time.sleep(AGAIN_SECONDS)
            try:
                while self.waiting:
                    _add(self.waiting[0])
                    self.waiting.popleft()
            except redis.RedisError as error:
                logger.warning("%s opens and clicks wait for Valkey: %s", len(self.waiting), error)
            with self._lock:
                if not self.waiting:
                    self._sending = False
                    return


kept = _Kept()


def append(one: Beacon) -> None:
    """Never fails: while Valkey is away this process keeps some, and tries again."""
    if not kept.waiting:  # otherwise it is away: nobody else waits for it
        try:
            _add(one)
            return
        except redis.RedisError:
            pass
    kept.add(one)


_own = threading.local()


def _add(one: Beacon) -> None:
    """Raises redis.RedisError. After a lost connection it is tried again: see Beacon."""
    connection = _connection()
    for last in (False, True):
        try:
            connection.send_command(  # type: ignore[no-untyped-call]
                "XADD", KEY, "*", "event", json.dumps(one)
            )
            connection.read_response()
            return
        except (redis.ConnectionError, redis.TimeoutError):
            connection.disconnect()  # type: ignore[no-untyped-call]
            if last:
                raise


def _connection() -> redis.Connection:
    """This thread's own: to borrow one of a pool costs twice as much as to send the command."""
    pool = valkey.client().connection_pool
    if getattr(_own, "pool", None) is not pool:
        _own.pool, _own.connection = pool, pool.make_connection()
    connection: redis.Connection = _own.connection
    return connection


def waiting() -> int:
    """How many wait to be written. Raises redis.RedisError."""
    return int(valkey.client().xlen(KEY))


def read(count: int) -> list[tuple[bytes, Beacon | None]]:
    """The oldest entries: (id, beacon), None for what is none. Raises redis.RedisError."""
    entries: Any = valkey.client().xrange(KEY, count=count)
    return [(entry_id, _decoded(fields.get(b"event", b""))) for entry_id, fields in entries]


def delete(entry_ids: list[bytes]) -> None:
    """Raises redis.RedisError."""
    valkey.client().xdel(KEY, *entry_ids)


def _decoded(raw: bytes) -> Beacon | None:
    try:
        found = Beacon(*json.loads(raw))
    except (ValueError, TypeError) as error:
        logger.error("no open or click: %r: %s", raw[:200], error)
        return None
    return found
