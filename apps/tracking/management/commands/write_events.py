"""`manage.py write_events`: opens and clicks out of Valkey into the database, until stopped."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

import redis
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from apps.tracking import stream
from apps.tracking.services import writing

logger = logging.getLogger(__name__)

# Between two looks where few wait, and after something went wrong. What gathers meanwhile is
# written together, which costs less.
IDLE_SECONDS, AGAIN_SECONDS = 1.0, 1.0
WARN_SECONDS = 60
# Those who wait for a page go first; what waits here waits in the stream.
NICE = 10


class Command(BaseCommand):
    help = "Write opens and clicks from the stream in Valkey into the database until stopped."
    requires_system_checks: tuple[str, ...] = ()

    _warned_at = 0.0

    def handle(self, *args: Any, **options: Any) -> None:
        os.nice(NICE)
        over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
        while not over.is_set():
            over.wait(self._pass())

    def _pass(self) -> float:
        """How many seconds to wait for the next one."""
        try:
            close_old_connections()
            written = writing.write_waiting()
            if written == writing.BATCH:
                self._warn_of_many()
                return 0
        except writing.NotTheWriter:
            return AGAIN_SECONDS
        except (redis.RedisError, Error) as error:
            logger.warning("opens and clicks stay in the stream: %s", error)
            return AGAIN_SECONDS
        return IDLE_SECONDS

    def _warn_of_many(self) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARN_SECONDS and (waiting := stream.waiting()) > writing.MANY:
            logger.warning("%s opens and clicks wait in the stream", waiting)
            self._warned_at = now
