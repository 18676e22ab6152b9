"""Opens and clicks on their way from the requests to the process that writes them down.

A stream in Valkey, from its beginning: what has been written is deleted, so what is in it waits.
"""

from __future__ import annotations

import atexit
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
# A process that is killed outright loses what it gathered in this time.
GATHER_SECONDS = 0.01
MOST_TOGETHER = 500
# For what a process still has when it ends.
EXIT_SECONDS = 2.0
# One command and one reply for many entries.
_APPEND = """
for _, event in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'event', event) end
"""
_encode = json.JSONEncoder(separators=(",", ":")).encode


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


class Outbox:
    """What this process has noted, on its way into the stream.

    A thread sends what gathers: a command for each request would cost more than all the rest of
    it, and requests do not wait for Valkey. While Valkey is away some is kept, and sent later.
    """

    def __init__(self) -> None:
        self.waiting: deque[Beacon] = deque()
        self.lost = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, one: Beacon) -> None:
        if len(self.waiting) >= MOST_KEPT:
            self._lose()
            return
        self.waiting.append(one)
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def flush(self, seconds: float) -> bool:
        """Wait until all is sent; whether it is."""
        deadline = time.monotonic() + seconds
        while self.waiting and time.monotonic() < deadline:
            time.sleep(GATHER_SECONDS / 10)
        return not self.waiting

    def _lose(self) -> None:
        with self._lock:
            self.lost += 1
            if self.lost % 1000 == 1:
                logger.error("Valkey is away: %s opens and clicks are lost", self.lost)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                pause = GATHER_SECONDS
                while self._send() == MOST_TOGETHER:
                    pass
            except redis.RedisError as error:
                logger.warning("%s opens and clicks wait for Valkey: %s", len(self.waiting), error)
                self._wake.set()
                pause = AGAIN_SECONDS
            time.sleep(pause)

    def _send(self) -> int:
        """How many went. Raises redis.RedisError; what went in vain, perhaps, is sent again."""
        # Others append meanwhile, but nobody else takes away.
        number = min(len(self.waiting), MOST_TOGETHER)
        events = [_encode(self.waiting[place]) for place in range(number)]
        if events:
            valkey.patient_client().eval(_APPEND, 1, KEY, *events)
        for _sent in events:
            self.waiting.popleft()
        return number


outbox = Outbox()


def append(one: Beacon) -> None:
    """Never fails, never waits: it is in the stream about GATHER_SECONDS later."""
    outbox.add(one)


@atexit.register
def _send_the_rest() -> None:
    if not outbox.flush(EXIT_SECONDS):
        logger.error("Valkey is away: %s opens and clicks are lost", len(outbox.waiting))


def waiting() -> int:
    """How many wait to be written. Raises redis.RedisError."""
    return int(valkey.client().xlen(KEY))


def read(count: int) -> list[tuple[bytes, Beacon | None]]:
    """The oldest entries: (id, beacon), None for what is none. Raises redis.RedisError."""
    entries: Any = valkey.patient_client().xrange(KEY, count=count)
    return [(entry_id, _decoded(fields.get(b"event", b""))) for entry_id, fields in entries]


def delete(entry_ids: list[bytes]) -> None:
    """Raises redis.RedisError."""
    valkey.patient_client().xdel(KEY, *entry_ids)


def _decoded(raw: bytes) -> Beacon | None:
    try:
        found = Beacon(*json.loads(raw))
    except (ValueError, TypeError) as error:
        logger.error("no open or click: %r: %s", raw[:200], error)
        return None
    return found
