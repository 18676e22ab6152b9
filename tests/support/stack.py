"""The whole service, started as `make up` does, on ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from core.local.runtime import BASE_DIR
from core.local.stack import end_leftovers

PASSWORD = "correct horse battery"  # of the accounts that tests make
_OF_THE_TEST_RUN = (
    "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SANDBOX_SMTP_PORT", "SANDBOX_DNS_PORT",
    "WEB_PORT", "BASE_URL",
)  # fmt: skip


class RunningStack:
    """A stack that runs: commands, SQL, its processes, stopping and starting again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if name not in _OF_THE_TEST_RUN
        } | {
            "VASHSENDER_LOCAL": str(folder),
            "PYTHONUNBUFFERED": "1",
            "WEB_PORT": "0",
            # Servers on loopback may be relays, and what waits for minutes waits for seconds.
            "PRIVATE_RELAYS": "1",
            "SMTP_RETRY_FIRST_SECONDS": "2",
            "SMTP_REPLY_SECONDS": "5",
            "SWEEP_SECONDS": "2",
        }
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "core.local", "up", "--empty"]
        self.process = subprocess.Popen(
            command, cwd=BASE_DIR, env=self.environment, text=True, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        said = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said += line
            if found := re.search(r"running at (\S+);", line):
                self.address = found[1]
                return
        raise RuntimeError(f"the stack did not start:\n{said}")

    def stop(self) -> None:
        """As Ctrl-C does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def manage(self, *arguments: str, check: bool = True) -> str:
        """The standard output of a command of manage.py."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR, env=self.environment | {"ACCOUNT_PASSWORD": PASSWORD},
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{arguments} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        stored = json.loads((self.folder / "runtime.json").read_text())
        with psycopg.connect(
            host="127.0.0.1", port=stored["postgres_port"], user="app", dbname="app",
            password=stored["password"],
        ) as connection:  # fmt: skip
            return connection.execute(query, parameters).fetchall()

    def processes(self) -> list[psutil.Process]:
        """Every process below the one that was started."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self, queue: str) -> list[psutil.Process]:
        """The processes of a pool, parent and children."""
        return [
            process for process in self.processes() if f"-Q {queue} " in " ".join(_command(process))
        ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def running_stack() -> Iterator[RunningStack]:
    # Not under pytest's own folder: the database's user must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="stack-", dir=BASE_DIR / ".local"))
    folder.chmod(0o755)
    stack = RunningStack(folder)
    try:
        stack.start()
        yield stack
    finally:
        if stack.process is not None and stack.process.poll() is None:
            stack.stop()
        end_leftovers(folder)  # of a test that failed with its stack half killed
        shutil.rmtree(folder, ignore_errors=True)
