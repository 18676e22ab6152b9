"""Counts while somebody writes rules: one for each editor, and threads are left for pages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event, Thread
from uuid import uuid4

import psycopg
import redis
from django.core.cache import cache
from django.db import OperationalError, connection

from apps.mailer.segments.counting import QueryTooSlow

logger = logging.getLogger(__name__)

# Of the four threads of each web process: pages are answered while counts run.
AT_ONCE = 2
LOOK_SECONDS = 0.2
REMEMBERED_SECONDS = 60
_free = BoundedSemaphore(AT_ONCE)


class Busy(Exception):
    """So many counts run already that another one has to wait."""


class Superseded(Exception):
    """The same editor has asked for another count: nobody waits for this one."""


@contextmanager
def slot() -> Iterator[None]:
    """One of this process's places for counts. Raises Busy at once where none is free."""
    if not _free.acquire(blocking=False):
        raise Busy
    try:
        yield
    finally:
        _free.release()


@contextmanager
def latest_of(editor: str) -> Iterator[None]:
    """End this connection's statements, and raise Superseded, once the editor counts anew.

    The connection's own process cancels them: from another one it could hit the statement of
    whoever has the connection next.
    """
    key, turn = f"segment-count:{editor}", uuid4().hex
    _note(key, turn)
    over, superseded = Event(), Event()
    connection.ensure_connection()
    watch = Thread(
        target=_watch, args=(key, turn, connection.connection, over, superseded), daemon=True
    )
    watch.start()
    try:
        yield
    except (QueryTooSlow, OperationalError):
        if not superseded.is_set():
            raise
    finally:
        over.set()
        watch.join()
    if superseded.is_set():
        raise Superseded


def _watch(
    key: str,
    turn: str,
    running: psycopg.Connection[object],
    over: Event,
    superseded: Event,
) -> None:
    try:
        while not over.wait(LOOK_SECONDS):
            if superseded.is_set() or cache.get(key, turn) != turn:
                superseded.set()
                running.cancel_safe(timeout=2)
    except (redis.RedisError, psycopg.Error):
        logger.warning("A count of a segment goes on until its time is over", exc_info=True)


def _note(key: str, turn: str) -> None:
    try:
        cache.set(key, turn, REMEMBERED_SECONDS)
    except redis.RedisError:
        logger.warning("An earlier count of a segment is not cancelled", exc_info=True)
