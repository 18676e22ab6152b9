"""The worker scripts as an operator uses them: real processes, database and Redis."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from core.celery import QUEUES
from core.local.runtime import BASE_DIR, free_ports
from core.local.stack import worker_options
from core.local.workers import MANAGED, SCRIPTS

pytestmark = pytest.mark.xdist_group("worker-scripts")

POOLS, ALL = (f"./{SCRIPTS[scope][0]}" for scope in ("pools", "all"))
Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A database of our own with all tables: what beat writes must not meet other tests."""
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    name = f"workers_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = f"{base}/{name}"
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=BASE_DIR, env=os.environ | {"DATABASE_URL": url}, check=True,
        )  # fmt: skip
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def environment(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """For the scripts; whatever they left running is ended with the test."""
    for queue in QUEUES:
        monkeypatch.setenv(f"{queue.upper()}_CONCURRENCY", "1")
    monkeypatch.setenv("INBOUND_PORT", str(free_ports(1)[0]))
    yield os.environ | {"VASHSENDER_LOCAL": str(tmp_path), "DATABASE_URL": database_url}
    for process in ours(tmp_path):
        process.kill()


@pytest.fixture
def call(environment: dict[str, str]) -> Callable[..., Run]:
    """Run a script."""

    def run(*command: str, **changes: str) -> Run:
        return subprocess.run(
            command, cwd=BASE_DIR, env=environment | changes, capture_output=True, text=True
        )

    return run


def ours(folder: Path) -> list[psutil.Process]:
    """Every living process that a script started for this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(f"vashsender={folder}/" in word for word in process.cmdline()):
                found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def parent_of(folder: Path, name: str) -> psutil.Process:
    return psutil.Process(int((folder / "workers" / f"{name}.pid").read_text()))


def test_the_life_of_all_workers(call: Callable[..., Run], tmp_path: Path) -> None:
    started = call(ALL, "start")
    assert started.returncode == 0, started.stderr
    assert call(ALL, "status").returncode == 0
    assert call(POOLS, "status").returncode == 0
    alive = call(sys.executable, "manage.py", "pools")
    assert alive.stdout.split("\n")[:4] == [f"{queue}: alive" for queue in QUEUES]
    for name in (*QUEUES, "beat", *MANAGED):
        parent = parent_of(tmp_path, name)
        assert (os.getsid(parent.pid), parent.terminal()) == (parent.pid, None)
        assert (tmp_path / "workers" / f"{name}.log").exists()
        if name in QUEUES:
            assert shlex.join(parent.cmdline()).endswith(shlex.join(worker_options(name)))
        if name in MANAGED:
            assert parent.cmdline()[-2:] == ["manage.py", MANAGED[name]]
    socket.create_connection(("127.0.0.1", int(os.environ["INBOUND_PORT"])), 10).close()

    before = {process.pid for process in ours(tmp_path)}
    for script in (ALL, POOLS):
        refused = call(script, "start")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "already running" in refused.stderr
    assert {process.pid for process in ours(tmp_path)} == before

    killed = parent_of(tmp_path, "email")
    killed.kill()
    psutil.wait_procs([killed])
    said = call(ALL, "status")
    assert said.returncode == 1
    assert "email: running" not in said.stdout

    mended = call(POOLS, "start")
    assert mended.returncode == 0, mended.stderr
    assert "email: started" in mended.stdout
    assert "import: started" not in mended.stdout
    assert call(ALL, "status").returncode == 0

    others = {parent_of(tmp_path, name).pid for name in ("beat", *MANAGED)}
    assert call(POOLS, "stop").returncode == 0
    assert {process.pid for process in ours(tmp_path)} == others
    assert call(ALL, "status").returncode == 1
    assert call(POOLS, "status").returncode == 3

    assert call(ALL, "stop").returncode == 0
    assert ours(tmp_path) == []
    assert list((tmp_path / "workers").glob("*.pid")) == []
    assert call(ALL, "status").returncode == 3
    again = call(ALL, "stop")
    assert (again.returncode, again.stdout) == (0, "")


def test_of_two_starts_at_once_one_is_refused(
    environment: dict[str, str], call: Callable[..., Run], tmp_path: Path
) -> None:
    both = [
        subprocess.Popen([POOLS, "start"], cwd=BASE_DIR, env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        process.communicate()
    assert sorted(process.returncode for process in both) == [0, 1]
    assert len(ours(tmp_path)) == 2 * len(QUEUES)

    before = {process.pid for process in ours(tmp_path)}
    assert call(POOLS, "restart").returncode == 0
    after = {process.pid for process in ours(tmp_path)}
    assert (len(after), after & before) == (2 * len(QUEUES), set())

    # One that cannot end by itself.
    parent = parent_of(tmp_path, "default")
    parent.suspend()
    stopped = call(POOLS, "stop", "--seconds", "0.5")
    assert stopped.returncode == 0, stopped.stderr
    assert "default: still there after 0.5 s, killed" in stopped.stdout
    assert ours(tmp_path) == []


def test_what_a_dead_parent_left_is_found_and_ended(
    call: Callable[..., Run], tmp_path: Path
) -> None:
    """A child that outlives its parent, and a grandchild that runs another program."""
    mark = f"vashsender={tmp_path}/workers/import"
    code = (
        "import os, subprocess, time\n"
        "if os.fork() == 0:\n"
        "    subprocess.Popen(['sleep', '600'])\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-X", mark, "-c", code], start_new_session=True, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "import.pid").write_text(f"{parent.pid}\n")
    group = [process for process in psutil.process_iter() if os.getpgid(process.pid) == parent.pid]
    assert len(group) == 3
    parent.kill()
    parent.wait()
    parent.stdout.close()

    said = call(POOLS, "status")
    assert said.returncode == 3
    assert "import: its parent died; 2 processes left over" in said.stdout
    assert call(POOLS, "stop").returncode == 0
    assert [process for process in group if is_alive(process)] == []


@pytest.mark.parametrize("recycled", [True, False])
def test_a_stale_pid_file_harms_nobody(
    call: Callable[..., Run], tmp_path: Path, recycled: bool
) -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        if not recycled:
            stranger.kill()
            stranger.wait()
        (tmp_path / "workers").mkdir()
        pid_file = tmp_path / "workers" / "import.pid"
        pid_file.write_text(f"{stranger.pid}\n")
        assert call(POOLS, "status").returncode == 3
        assert call(POOLS, "stop").returncode == 0
        assert not pid_file.exists()
        assert (stranger.poll() is None) == recycled
    finally:
        stranger.kill()
        stranger.wait()


def test_servers_that_do_not_answer_are_named(call: Callable[..., Run], tmp_path: Path) -> None:
    port = free_ports(1)[0]
    for name, url in (
        ("DATABASE_URL", f"postgresql://app:hidden@127.0.0.1:{port}/app"),
        ("DATABASE_URL", "hidden"),
        ("REDIS_URL", f"redis://:hidden@127.0.0.1:{port}/0"),
        ("REDIS_URL", "hidden"),
    ):
        refused = call(POOLS, "start", **{name: url})
        assert refused.returncode == 1
        assert name in refused.stderr
        assert "hidden" not in refused.stderr
        assert "Traceback" not in refused.stderr
    for empty in ({"DATABASE_URL": ""}, {"REDIS_URL": ""}):
        refused = call(POOLS, "start", **empty)
        assert refused.returncode == 1
        assert "`make services`" in refused.stderr
        assert "`make up`" in refused.stderr
    assert ours(tmp_path) == []


def test_a_pool_that_cannot_run_takes_the_start_back(
    call: Callable[..., Run], tmp_path: Path
) -> None:
    refused = call(ALL, "start", EMAIL_CONCURRENCY="many")
    assert refused.returncode == 1
    assert "EMAIL_CONCURRENCY must be a whole number" in refused.stderr
    refused = call(ALL, "start", PROBE_TIMEOUT_SECONDS="soon")
    assert refused.returncode == 1
    assert "PROBE_TIMEOUT_SECONDS must be a whole number" in refused.stderr
    assert ours(tmp_path) == []
    assert call(ALL, "status").returncode == 3


def test_a_receiver_whose_port_is_taken_is_left_out(
    call: Callable[..., Run], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", int(os.environ["INBOUND_PORT"]))):
        started = call(ALL, "start")
        assert started.returncode == 0, started.stderr
        assert "inbound: not started, port" in started.stdout
        said = call(ALL, "status")
        assert (said.returncode, "inbound: not running" in said.stdout) == (1, True)
    again = call(ALL, "start")
    assert (again.returncode, again.stdout.count(": started")) == (0, 1)
    assert call(ALL, "status").returncode == 0
    assert call(ALL, "stop").returncode == 0
    refused = call(ALL, "start", INBOUND_PORT="smtp")
    assert refused.returncode == 1
    assert "INBOUND_PORT must be a whole number" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing(
    number: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    start = subprocess.Popen([ALL, "start"], cwd=BASE_DIR, env=environment, text=True,
                             stdout=subprocess.PIPE)  # fmt: skip
    while not ours(tmp_path) and start.poll() is None:
        pass
    start.send_signal(number)
    start.communicate()
    assert start.returncode == 130
    assert ours(tmp_path) == []


def test_the_scripts_know_every_queue() -> None:
    assert SCRIPTS["pools"][1] == QUEUES
    assert SCRIPTS["all"][1] == (*QUEUES, "beat", "writer", "inbound")


def test_usage_is_said_without_an_action(call: Callable[..., Run]) -> None:
    for script in (POOLS, ALL):
        refused = call(script)
        assert refused.returncode == 2
        assert f"usage: {script.removeprefix('./')}" in refused.stderr
