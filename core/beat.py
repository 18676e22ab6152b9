"""Celery beat with its schedule in the database, held by one process at a time."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from django.conf import settings
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

logger = logging.getLogger(__name__)

BEAT_LOCK = 0x56534245  # any number that nothing else in the database locks


class GuardedScheduler(DatabaseScheduler):
    """Sends nothing unless this process holds a Postgres advisory lock.

    A second beat waits and takes over once the first one's connection is gone. The schedule
    in code is a default: an entry that exists in the database keeps what an operator set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        known = set(PeriodicTask.objects.values_list("name", flat=True))
        self.update_from_dict(
            {
                name: entry
                for name, entry in self.app.conf.beat_schedule.items()
                if name not in known
            }
        )

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if not self._holds_lock():
            return 5.0
        return float(super().tick(*args, **kwargs))

    def _holds_lock(self) -> bool:
        """Whether this process is the one beat; a lost connection means a lost lock."""
        try:
            if self._connection is not None and not self._connection.closed:
                self._connection.execute("SELECT 1")
                return True
            connection = psycopg.connect(settings.DATABASE_URL, autocommit=True)
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [BEAT_LOCK]).fetchone()
        except psycopg.OperationalError as error:
            logger.warning("beat cannot reach the database: %s", error)
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return False
        if row and row[0]:
            logger.info("this beat holds the lock")
            self._connection = connection
            return True
        connection.close()
        return False

    def close(self) -> None:
        super().close()
        if self._connection is not None:
            self._connection.close()
