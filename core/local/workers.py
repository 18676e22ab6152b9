"""Worker pools, beat, writer and receiver as background processes, without the process manager.

`start_celery_workers.sh` and `start_all_workers.sh` call this: one process group, one pid file
and one log for each, under `.local/workers/`. `python -m core.local.workers run NAME` becomes one
of them in the foreground instead, as containers want it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from core.local import runtime
from core.local.runtime import BASE_DIR
from core.local.stack import POOLS, child_environment, worker_options

BEAT, WRITER, INBOUND = "beat", "writer", "inbound"
# Those that are commands of manage.py.
MANAGED = {WRITER: "write_events", INBOUND: "receive_mail"}
SCRIPTS = {
    "pools": ("start_celery_workers.sh", tuple(POOLS)),
    "all": ("start_all_workers.sh", (*POOLS, BEAT, *MANAGED)),
}
RUNNING, SOME_RUNNING, NOT_RUNNING = 0, 1, 3  # exit codes of `status`, as the LSB has them
READY_SECONDS = 60
STOP_SECONDS = 30
LOG_LINES_SHOWN = 15


class WorkerError(Exception):
    """The pools could not be started or stopped; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["run"]:
        return run(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m core.local.workers")
    parser.add_argument("scope", choices=SCRIPTS)
    script, names = SCRIPTS[parser.parse_args(arguments[:1]).scope]
    parser = argparse.ArgumentParser(prog=script)
    parser.add_argument("action", choices=("start", "stop", "restart", "status"))
    parser.add_argument(
        "--seconds", type=float, default=STOP_SECONDS, help="to end by themselves when stopped"
    )
    options = parser.parse_args(arguments[1:])
    pools = [Pool(name) for name in names]
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts background jobs with SIGINT ignored; a start must end either way.
        signal.signal(number, signal.default_int_handler)
    try:
        if options.action == "status":
            return status(pools)
        with _only_one():
            if options.action in {"stop", "restart"}:
                stop(pools, options.seconds)
            if options.action in {"start", "restart"}:
                start(pools)
    except WorkerError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(arguments: Sequence[str]) -> int:
    """Become the one of that name, in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m core.local.workers run")
    parser.add_argument("name", choices=SCRIPTS["all"][1])
    command = command_of(parser.parse_args(arguments).name)
    os.execve(command[0], command, child_environment())


def command_of(name: str, *interpreter_options: str) -> list[str]:
    """The command of one; what comes from the environment has been checked."""
    if name in MANAGED:
        return [sys.executable, *interpreter_options, "manage.py", MANAGED[name]]
    options = [BEAT, "--loglevel=info", "--pidfile="] if name == BEAT else worker_options(name)
    return [sys.executable, *interpreter_options, "-m", "celery", "-A", "core.celery", "--quiet",
            *options]  # fmt: skip


class Pool:
    """One background process group: a Celery worker with its children, or one of the others."""

    def __init__(self, name: str) -> None:
        folder = workers_dir()
        self.name = name
        self.pid_file = folder / f"{name}.pid"
        self.log = folder / f"{name}.log"
        # Python ignores -X options that it does not know. In the command line this one tells our
        # process, and its forks, from another checkout's and from one that got a recycled pid.
        self.mark = f"vashsender={folder / name}"

    def parent(self) -> psutil.Process | None:
        """The process that the pid file names, if it lives and is really this pool's."""
        try:
            process = psutil.Process(int(self.pid_file.read_text()))
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if self._is_ours(process) else None

    def processes(self) -> list[psutil.Process]:
        """All that belongs to the pool: the marked processes and what else is in their groups."""
        # Whoever lives in a group keeps its number from being given to another.
        groups = {group(process) for process in psutil.process_iter() if self._is_ours(process)}
        groups.discard(None)
        return [process for process in psutil.process_iter() if group(process) in groups]

    def launch(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            # A session of its own: no terminal, so none to be hung up with.
            process = subprocess.Popen(
                command_of(self.name, "-X", self.mark),
                cwd=BASE_DIR, env=child_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.pid_file.write_text(f"{process.pid}\n")
        return process

    def is_ready(self) -> bool:
        """Whether a worker's children are there, or what is no worker listens or is connected.

        By then it has read the settings. Beat may wait for another one before it does anything.
        """
        parent = self.parent()
        if parent is None:
            return False
        try:
            if self.name in MANAGED:
                return bool(parent.net_connections())
            return self.name == BEAT or bool(parent.children())
        except psutil.NoSuchProcess:
            return False

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return self.mark in process.cmdline()
        except psutil.Error:  # gone, a zombie, or another user's
            return False


def group(process: psutil.Process) -> int | None:
    """The process group; None for a process that is gone or waits to be reaped."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return os.getpgid(process.pid)
    except (psutil.Error, ProcessLookupError, PermissionError):
        return None


def workers_dir() -> Path:
    return runtime.local_dir().resolve() / "workers"


def status(pools: Sequence[Pool]) -> int:
    running = 0
    for pool in pools:
        processes = pool.processes()
        parent = pool.parent()
        if parent:
            running += 1
            print(f"{pool.name}: running, pid {parent.pid}, {_count(processes)}")
        elif processes:
            print(f"{pool.name}: its parent died; {_count(processes)} left over, `stop` ends them")
        else:
            print(f"{pool.name}: not running")
    if running == len(pools):
        return RUNNING
    return SOME_RUNNING if running else NOT_RUNNING


def start(pools: Sequence[Pool]) -> None:
    """Start the pools that do not run; WorkerError if all do or one cannot be started."""
    missing = [pool for pool in pools if not pool.parent()]
    if not missing:
        raise WorkerError("already running: `status` shows what, `restart` starts anew.")
    check_sizes(missing)
    check_servers()
    stop([pool for pool in missing if pool.processes()], STOP_SECONDS)
    missing = [pool for pool in missing if not _is_served_elsewhere(pool)]
    try:
        wait_until_ready({pool: pool.launch() for pool in missing})
    except (WorkerError, KeyboardInterrupt):
        stop(missing, STOP_SECONDS)
        raise
    for pool in missing:
        print(f"{pool.name}: started; log in {pool.log}")


def _is_served_elsewhere(pool: Pool) -> bool:
    """Whether another receiver, such as that of `make up`, has the port already."""
    if pool.name != INBOUND or runtime.is_free(port := inbound_port()):
        return False
    print(f"{pool.name}: not started, port {port} is taken; set INBOUND_PORT for a second one")
    return True


def inbound_port() -> int:
    """As core.settings has it."""
    if given := os.environ.get("INBOUND_PORT", ""):
        if not given.isdecimal():
            raise WorkerError(f"INBOUND_PORT must be a whole number, not {given!r}.")
        return int(given)
    own_servers = os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
    return 2525 if own_servers else runtime.load().inbound_port


def wait_until_ready(launched: dict[Pool, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not all(pool.is_ready() for pool in launched):
        for pool, process in launched.items():
            if process.poll() is not None:
                raise WorkerError(f"{pool.name} ended at once. {pool.log} ends with:\n{tail(pool)}")
        if time.monotonic() > deadline:
            waiting = ", ".join(pool.name for pool in launched if not pool.is_ready())
            raise WorkerError(f"not ready after {READY_SECONDS} s: {waiting}. See {workers_dir()}.")
        time.sleep(0.1)


def stop(pools: Sequence[Pool], seconds: float) -> None:
    """TERM, then KILL for the whole group of what still runs after `seconds`."""
    stopped = [pool for pool in pools if pool.processes()]
    for pool in stopped:
        # The parent alone, so that it lets its children end their tasks; without it, the children.
        parent = pool.parent()
        for process in [parent] if parent else pool.processes():
            _signal(os.kill, process.pid, signal.SIGTERM)
    _wait_for_end(stopped, seconds)
    for pool in stopped:
        for number in {group(process) for process in pool.processes()} - {None}:
            print(f"{pool.name}: still there after {seconds:g} s, killed")
            _signal(os.killpg, number, signal.SIGKILL)
    left = _wait_for_end(stopped, 10)
    if left:
        raise WorkerError(f"could not be killed: {', '.join(pool.name for pool in left)}.")
    for pool in pools:
        pool.pid_file.unlink(missing_ok=True)
        if pool in stopped:
            print(f"{pool.name}: stopped")


def check_sizes(pools: Sequence[Pool]) -> None:
    for pool in pools:
        name = f"{pool.name.upper()}_CONCURRENCY"
        size = os.environ.get(name, "")
        if pool.name in POOLS and not re.fullmatch(r"[1-9][0-9]{0,3}|", size):
            raise WorkerError(f"{name} must be a whole number from 1, not {size!r}.")


def check_servers() -> None:
    """WorkerError where PostgreSQL or Redis cannot be reached; never shows a password."""
    import psycopg
    import redis

    database_url = os.environ.get("DATABASE_URL") or runtime.load().database_url
    redis_url = os.environ.get("REDIS_URL") or runtime.load().redis_url
    try:
        psycopg.connect(database_url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        raise _unreachable("PostgreSQL", "DATABASE_URL", str(error)) from error
    except psycopg.Error:
        wanted = "postgresql://user:password@host:5432/name"
        raise WorkerError(f"DATABASE_URL cannot be read: it looks like {wanted}.") from None
    try:
        redis.Redis.from_url(redis_url, socket_connect_timeout=5).ping()
    except ValueError:
        wanted = "redis://:password@host:6379/0"
        raise WorkerError(f"REDIS_URL cannot be read: it looks like {wanted}.") from None
    except redis.RedisError as error:
        raise _unreachable("Redis", "REDIS_URL", str(error)) from error


def tail(pool: Pool) -> str:
    lines = pool.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES_SHOWN:])


def _unreachable(server: str, variable: str, words: str) -> WorkerError:
    if os.environ.get(variable):
        return WorkerError(f"{server} at {variable} does not answer: {words.strip()}")
    return WorkerError(
        f"{server} of this checkout does not run. `make services` starts PostgreSQL and Valkey; "
        f"`make up` starts everything, workers too. Or set {variable} to a server of your own."
    )


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of this folder; the system frees it however we end."""
    folder = workers_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkerError("another start or stop is under way here.") from None
        yield


def _wait_for_end(pools: Sequence[Pool], seconds: float) -> list[Pool]:
    """The pools of which something is left after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := [pool for pool in pools if pool.processes()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _signal(send: Callable[[int, int], None], number: int | None, what: int) -> None:
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            send(number, what)


def _count(processes: Sequence[psutil.Process]) -> str:
    return f"{len(processes)} process{'' if len(processes) == 1 else 'es'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
