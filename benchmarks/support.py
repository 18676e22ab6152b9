"""What the benches share: a service of their own, the sink, the meter, the last line.

Imports no Django: its settings are read only once the service's folder and ports are chosen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from core.local.runtime import BASE_DIR, free_ports
from core.local.servers import ServerError, die_with_parent
from core.local.stack import Stack, StackError, end_leftovers

# What would lead to servers or a sandbox other than the bench's own.
_OF_ANOTHER_SERVICE = (
    "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SANDBOX_SMTP_PORT", "SANDBOX_DNS_PORT", "BASE_URL",
)  # fmt: skip
_SYSTEM_FOLDERS = "/usr/sbin:/usr/lib/postfix/sbin:/usr/libexec/postfix"

# What has to hold, in words, and whether it does.
Bars = dict[str, bool]
# Judged by `verdict` only after everything is stopped: the line must be the last one.
Result = tuple[str, Bars]


class BenchError(Exception):
    """The figure cannot be taken; the message says why."""


def run(main: Callable[[], int]) -> int:
    """The exit code of a bench: its own, 1 where it cannot be run, 130 after Ctrl-C."""
    # `kill` unwinds as Ctrl-C does, so that nothing is left behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except (BenchError, StackError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def verdict(line: str, bars: Bars) -> int:
    """Say which bars were not reached, print the last line; 0 only where all were."""
    for bar, reached in bars.items():
        if not reached:
            say(f"not reached: {bar}")
    print(line, flush=True)
    return 0 if all(bars.values()) else 1


def number(name: str, default: int, least: int = 1) -> int:
    """A whole number from the environment."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or int(value) < least:
        raise BenchError(f"{name} must be a whole number from {least}, not {value!r}.")
    return int(value)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def check_free_disk(gigabytes: float) -> None:
    free = shutil.disk_usage(BASE_DIR).free / 1e9
    say(f"{free:.0f} GB of disk are free, about {gigabytes:g} GB are needed")
    if free < gigabytes:
        raise BenchError("That is too little disk: ask for fewer rows (see docs/performance.md).")


# The service.


@dataclass(frozen=True, slots=True)
class Service:
    """A running service; `workers` processes send, each with `connections` to the relay."""

    stack: Stack
    workers: int
    connections: int

    @property
    def total_connections(self) -> int:
        return self.workers * self.connections

    @property
    def manager_pid(self) -> int:
        return int((self.stack.folder / "supervisord.pid").read_text())


@contextlib.contextmanager
def running_service(*, only_servers: bool = False) -> Iterator[Service]:
    """Everything that `make up` starts, on ports and in a folder of its own; sets Django up.

    EMAIL_CONCURRENCY (4) and CONNECTIONS (each, 10) change the sending pool. only_servers:
    PostgreSQL and Valkey alone.
    """
    workers = number("EMAIL_CONCURRENCY", 4)
    connections = number("CONNECTIONS", 10)
    parent = BASE_DIR / ".local"
    parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent)).resolve()
    folder.chmod(0o755)  # the database's user must be able to enter it
    for name in _OF_ANOTHER_SERVICE:
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "core.settings",
        "VASHSENDER_LOCAL": str(folder),
        "WEB_PORT": "0",
        "EMAIL_CONCURRENCY": str(workers),
        "PRIVATE_RELAYS": "1",
    }
    try:
        stack = Stack()
        with stack.running(say, only_servers=only_servers):
            _set_django_up()
            yield Service(stack, workers, connections)
    finally:
        end_leftovers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _set_django_up() -> None:
    import django

    django.setup()


# The sink, and what else Postfix and OpenSSL bring along.


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


@dataclass(frozen=True, slots=True)
class Sink:
    """A server that takes mail and throws it away. `process` None: the sandbox's own server."""

    port: int
    process: psutil.Process | None


@contextlib.contextmanager
def running_sink(service: Service) -> Iterator[Sink]:
    """Postfix's smtp-sink; where it is absent the sandbox, which stores what it takes."""
    binary = program("smtp-sink")
    if binary is None:
        say("smtp-sink is not installed (Debian: postfix): mail goes to the sandbox instead")
        yield Sink(service.stack.runtime.smtp_port, None)
        return
    port = free_ports(1)[0]
    as_nobody = ("-u", "nobody") if os.geteuid() == 0 else ()
    command = [binary, *as_nobody, "-m", "1024", f"127.0.0.1:{port}", "1000"]
    with _running(command) as process:
        _wait_for_port(port)
        yield Sink(port, psutil.Process(process.pid))


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, preexec_fn=die_with_parent, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_port(port: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchError(f"nothing answers on port {port}") from error
            time.sleep(0.05)


# What it costs.


@dataclass(slots=True)
class Cost:
    """CPU seconds of all processes of a kind, and the most private memory that one of them had."""

    processes: int = 0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(slots=True)
class Meter:
    """Watches the processes of a service by kind: `with Meter(service, sink) as meter: ...`.

    CPU time is that of the processes and of their children that have ended, so nothing escapes.
    Memory is read `every` so many seconds (anonymous pages: PostgreSQL's shared buffers are none).
    """

    service: Service
    sink: Sink | None = None
    every: float = 0.5
    costs: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    seconds: float = 0.0
    _kinds: dict[psutil.Process, str] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _began: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Meter:
        self._over.clear()
        self._began, self._before = time.monotonic(), self._cpu()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        self.seconds += time.monotonic() - self._began
        for kind, seconds in self._cpu().items():
            self.costs[kind].cpu_seconds += max(seconds - self._before.get(kind, 0.0), 0.0)

    def peak(self, kind: str) -> float:
        return self.costs[kind].peak_mb

    def _watch(self) -> None:
        while True:
            for kind, processes in self._processes().items():
                cost = self.costs[kind]
                cost.processes = max(cost.processes, len(processes))
                cost.peak_mb = max([cost.peak_mb, *map(_private_mb, processes)])
            if self._over.wait(self.every):
                return

    def _processes(self) -> dict[str, list[psutil.Process]]:
        from apps.ops.processes import kind_of

        found: dict[str, list[psutil.Process]] = defaultdict(list)
        manager = psutil.Process(self.service.manager_pid)
        for process in manager.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process not in self._kinds:
                    # It takes maintenance_work_mem, whatever the campaign.
                    vacuum = "autovacuum" in " ".join(process.cmdline())
                    self._kinds[process] = "autovacuum" if vacuum else kind_of(process)
                found[self._kinds[process]].append(process)
        if self.sink and self.sink.process:
            found["smtp-sink"].append(self.sink.process)
        found["bench"].append(psutil.Process())
        return found

    def _cpu(self) -> dict[str, float]:
        spent: dict[str, float] = defaultdict(float)
        for kind, processes in self._processes().items():
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    spent[kind] += sum(process.cpu_times()[:4])
        return spent


def _private_mb(process: psutil.Process) -> float:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        try:
            return float(process.memory_info().rss) / 1e6
        except psutil.Error:
            return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 / 1e6 if found else 0.0


# Words.


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def ratio(ours: float, theirs: float) -> float:
    """0 where there is nothing to compare with."""
    return ours / theirs if theirs else 0.0


def print_costs(title: str, meter: Meter) -> None:
    from core.cli import print_table

    rows: list[tuple[object, ...]] = [
        (kind, cost.processes, f"{cost.cpu_seconds:.1f}", f"{cost.peak_mb:.0f}")
        for kind, cost in sorted(meter.costs.items())
    ]
    total = sum(cost.cpu_seconds for cost in meter.costs.values())
    cores = os.cpu_count() or 1
    rows.append(("all", "", f"{total:.1f}", ""))
    print_table(
        f"{title}: {meter.seconds:.1f} s, {cores} cores",
        ("process", "number", "CPU s", "largest private memory, MB"),
        rows,
    )
