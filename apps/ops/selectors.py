"""What the worker processes report of themselves."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import redis
from django.conf import settings

from apps.campaigns.services.sending.connections import FORGOTTEN_AFTER_SECONDS, REGISTRY
from apps.tracking import stream


@dataclass(frozen=True, slots=True)
class RelayConnections:
    """A process's connections to one relay; `open` counts the idle ones too."""

    relay: str
    open: int
    idle: int
    sent: int


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process (host and process id); `age` is its report's, in seconds."""

    name: str
    age: float
    relays: tuple[RelayConnections, ...]

    @property
    def open(self) -> int:
        return sum(relay.open for relay in self.relays)


def smtp_processes() -> list[Process]:
    """The processes that reported lately, by name. Raises redis.RedisError."""
    with redis.Redis.from_url(
        settings.REDIS_URL, decode_responses=True, socket_timeout=2, socket_connect_timeout=2
    ) as store:
        reports = store.hgetall(REGISTRY)
    now = time.time()
    found = []
    for name, raw in reports.items():
        report = json.loads(raw)
        age = max(0.0, now - report["at"])
        if age <= FORGOTTEN_AFTER_SECONDS:
            relays = [
                RelayConnections(relay, kept["open"], kept["idle"], kept["sent"])
                for relay, kept in sorted(report["open"].items())
            ]
            found.append(Process(str(name), age, tuple(relays)))
    return sorted(found, key=lambda process: process.name)


def waiting_events() -> int:
    """Opens and clicks that are not in the database yet. Raises redis.RedisError."""
    return stream.waiting()
