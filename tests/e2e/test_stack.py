"""`make up` as a process: it stops everything it started, keeps the data, never runs twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import psutil
import pytest

from core.local.runtime import BASE_DIR
from tests.support.stack import RunningStack, running_stack

# In the group of the shared stack, so that no more than two run at a time.
pytestmark = [pytest.mark.timeout(280), pytest.mark.xdist_group("stack")]


def left_of(processes: list[psutil.Process], seconds: float) -> list[str]:
    """The command lines of those that are still there after `seconds`."""
    _gone, alive = psutil.wait_procs(processes, timeout=seconds)
    left = []
    for process in alive:
        # A dead process may wait for its new parent, the system's first one, to notice.
        with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            left.append(" ".join(process.cmdline()))
    return left


def second_up(stack: RunningStack) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core.local", "up"],
        cwd=BASE_DIR, env=stack.environment, capture_output=True, text=True,
    )  # fmt: skip


def test_stop_and_start_again() -> None:
    with running_stack() as stack:
        assert len(stack.workers("email")) >= 2
        stack.manage("create_account", "vera@example.com", "--workspace", "Vera shop")
        second = second_up(stack)
        assert second.returncode == 1
        assert f"already running here: {stack.address}" in second.stderr

        processes = stack.processes()
        stack.stop()
        assert left_of(processes, 5) == []

        stack.start()
        assert stack.sql("SELECT slug FROM accounts_workspace") == [("vera-shop",)]


@pytest.mark.skipif(sys.platform != "linux", reason="a killed parent cannot tell its children")
def test_start_again_after_a_kill() -> None:
    with running_stack() as stack:
        stack.manage("create_account", "vera@example.com", "--workspace", "Vera shop")
        processes = stack.processes()
        assert stack.process is not None
        stack.process.kill()
        stack.process.wait()
        assert left_of(processes, 60) == []

        # Killed outright, the process manager cannot stop anything: the next start does.
        stack.start()
        processes = stack.processes()
        [manager] = [one for one in processes if "supervisord" in " ".join(one.cmdline())]
        manager.kill()
        stack.process.kill()
        stack.process.wait()
        assert left_of(processes, 1) != []
        stack.start()
        assert left_of(processes, 5) == []
        assert stack.sql("SELECT slug FROM accounts_workspace") == [("vera-shop",)]
