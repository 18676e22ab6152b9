"""The loopback ports that a checkout chooses for itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from core.local import runtime


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASHSENDER_LOCAL", str(tmp_path))
    monkeypatch.setenv("WEB_PORT", "0")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def ports(chosen: runtime.Runtime) -> dict[str, int]:
    return {name: value for name, value in asdict(chosen).items() if name in runtime.PORT_FIELDS}


def test_ports_differ_and_stay() -> None:
    first = ports(runtime.load())
    assert len(set(first.values())) == len(runtime.PORT_FIELDS)
    assert ports(runtime.choose_ports()) == first


def test_a_taken_port_alone_is_replaced(taken: int) -> None:
    chosen = runtime.load()
    chosen.smtp_port = taken
    runtime._store(chosen)
    before, after = ports(chosen), ports(runtime.choose_ports(runtime.PROGRAM_PORTS))
    assert after["smtp_port"] not in before.values()
    assert {name for name in before if before[name] != after[name]} == {"smtp_port"}


def test_ports_of_what_runs_are_left_alone(taken: int) -> None:
    chosen = runtime.load()
    chosen.postgres_port = taken
    runtime._store(chosen)
    assert runtime.choose_ports(runtime.PROGRAM_PORTS).postgres_port == taken


def test_a_wanted_web_port_is_kept(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PORT", str(taken))
    assert runtime.choose_ports().web_port == taken
