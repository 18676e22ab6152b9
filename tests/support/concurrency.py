"""A second database connection, for tests of what happens at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from django.db import connection
from psycopg.conninfo import make_conninfo


def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """Run `function` in a thread with a database connection of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the caller of result() gets it
            future.set_exception(error)
        finally:
            connection.close()

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_until_blocked() -> None:
    """Until another connection of this database waits for a lock. Times out after a minute."""
    deadline = time.monotonic() + 60
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            # Within a transaction the activity is read once and kept.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE NOT granted AND datname = current_database()"
            )
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


def connections() -> set[int]:
    """The processes that serve clients of this database; its own upkeep is not among them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return {pid for (pid,) in cursor.fetchall()}


def wait_until_gone(known: set[int]) -> None:
    """Until none but the `known` are connected: a server ends a connection after its client.

    Times out after a minute.
    """
    deadline = time.monotonic() + 60
    while left := connections() - known:
        assert time.monotonic() < deadline, f"still connected: {left}"
        time.sleep(0.01)


def own_database_url() -> str:
    """How to connect to this test process's database from outside Django."""
    parameters = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    return make_conninfo(**{name: parameters[name] for name in names})
