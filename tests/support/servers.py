"""A pytest plugin: real PostgreSQL and Valkey for the run, on free ports, in a folder of its own.

Loaded with -p, before the settings are read. The first process starts the servers and hands
their addresses to the xdist workers through the environment; with DATABASE_URL and REDIS_URL
set, those are used and nothing is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from core.local import runtime, servers

_cleanup = contextlib.ExitStack()
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def _start() -> None:
    # Beside the checkout rather than in the system's /tmp: that may be small, or in memory.
    parent = runtime.local_dir() / "tests"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    folder.chmod(0o755)
    (folder / "static").mkdir()  # what collectstatic would fill
    _cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["VASHSENDER_LOCAL"] = str(folder)
    chosen = runtime.load()
    os.environ.setdefault("SECRET_KEY", chosen.secret_key)
    os.environ["SANDBOX_SMTP_PORT"] = str(chosen.smtp_port)
    os.environ["SANDBOX_DNS_PORT"] = str(chosen.dns_port)
    if not os.environ.get("DATABASE_URL"):
        # The cluster is thrown away: it need not survive a power cut.
        command = servers.postgres_command(
            chosen, folder / "postgres", fsync="off", full_page_writes="off"
        )
        _cleanup.enter_context(servers.running(command, folder / "postgres.log"))
        servers.wait_for_postgres(chosen)
        os.environ["DATABASE_URL"] = chosen.database_url
    if not os.environ.get("REDIS_URL"):
        command = servers.valkey_command(chosen, folder / "valkey")
        _cleanup.enter_context(servers.running(command, folder / "valkey.log"))
        servers.wait_for_valkey(chosen)
        os.environ["REDIS_URL"] = chosen.redis_url


def _use_own_redis_database() -> None:
    """Each xdist worker its own database of the one Valkey server, so that runs do not mix."""
    base, _, _ = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{base}/{int(WORKER.removeprefix('gw')) % 15 + 1}"


if WORKER:
    _use_own_redis_database()
else:
    _start()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not WORKER:
        _cleanup.close()
