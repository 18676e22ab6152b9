"""Peak memory of the processes under the process manager."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

_QUEUE = re.compile(r" -Q (\S+)")


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest resident memory that one process of a kind had, in MB."""

    name: str
    processes: int
    peak_mb: float


def peaks() -> list[Peak]:
    """By kind of process; empty where no process manager of this checkout runs."""
    try:
        manager = psutil.Process(int((settings.LOCAL_DIR / "supervisord.pid").read_text()))
        running = manager.children(recursive=True)
    except (OSError, ValueError, psutil.NoSuchProcess):
        return []
    found: dict[str, list[float]] = defaultdict(list)
    for process in running:
        try:
            found[kind_of(process)].append(_peak_bytes(process) / 1e6)
        except psutil.Error:
            continue
    return [Peak(name, len(sizes), max(sizes)) for name, sizes in sorted(found.items())]


def kind_of(process: psutil.Process) -> str:
    """web, worker-email, postgres, ...; its own name for anything else."""
    command = " ".join(process.cmdline()) or process.name()
    if queue := _QUEUE.search(command):
        return f"worker-{queue[1]}"
    for word, kind in (
        ("celery", "beat"),
        ("gunicorn", "web"),
        ("manage.py sandbox", "sandbox"),
        ("manage.py write_events", "writer"),
        ("manage.py receive_mail", "inbound"),
        ("valkey", "valkey"),
        ("postgres", "postgres"),
    ):
        if word in command:
            return kind
    return process.name()


def _peak_bytes(process: psutil.Process) -> float:
    """The high-water mark where the system keeps one (Linux), else what is resident now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return float(process.memory_info().rss)
    mark = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(mark[1]) * 1024.0 if mark else float(process.memory_info().rss)
