"""`make bench-track`: requests a second for pixels and links beside an empty WSGI application.

ROUNDS (5) of SECONDS (5) each, CONNECTIONS of the client (16), LETTERS (20,000). The process that
writes events is killed in every round.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import psutil
import uvloop

from benchmarks import support
from benchmarks.support import BenchError, Result, median
from core.local.runtime import BASE_DIR, free_ports
from core.local.servers import die_with_parent

OF_EMPTY = 0.5
LINKS = 5
DRAIN_SECONDS = 300
ANSWER_SECONDS = 60
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


def empty(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """As little as a WSGI application can do."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return ()


def main() -> int:
    rounds = support.number("ROUNDS", 5)
    seconds = support.number("SECONDS", 5)
    letters = support.number("LETTERS", 20_000)
    connections = support.number("CONNECTIONS", 16)
    with support.running_service(only_servers=True) as service:
        line, bars = measure(service, rounds, seconds, letters, connections)
    return support.verdict(line, bars)


def measure(
    service: support.Service, rounds: int, seconds: int, letters: int, connections: int
) -> Result:
    from apps.tracking import stream
    from core.cli import print_table

    requests = _requests(letters)
    rates: dict[str, list[float]] = {"ours": [], "empty": []}
    rows = []
    answered = 0
    with (
        _serving("core.wsgi") as ours,
        _serving("benchmarks.track:empty") as nothing,
        _Writer() as writer,
    ):
        for server in (ours, nothing):  # each worker process has its imports and caches then
            answered += _load(server.port, requests, connections, 1).good * (server is ours)
        _wait_until_written()
        costs = {"ours": _Cpu(service, ours.process), "empty": _Cpu(service, nothing.process)}
        for turn in range(rounds):
            support.say(f"round {turn + 1} of {rounds}")
            with costs["ours"] as cost:
                with writer.killed_after(seconds / 2):
                    load = _load(ours.port, requests, connections, seconds)
                cost.requests += load.good
                waiting = stream.waiting()
                _wait_until_written()
            answered += load.good
            rates["ours"].append(load.good / seconds)
            with costs["empty"] as cost:
                done = _load(nothing.port, requests, connections, seconds).good
                cost.requests += done
            rates["empty"].append(done / seconds)
            shown = [f"{rates[name][-1]:.0f}" for name in rates]
            rows.append((turn + 1, *shown, waiting, load.failed))
        _wait_until_written()
        kills = writer.kills
    events = _events()
    titles = ("round", "ours", "empty", "events waiting at its end", "failed")
    print_table("Requests a second", titles, rows)
    print_table("CPU microseconds a request", ("process", *costs), _cost_rows(costs))
    support.say(f"{answered} requests answered, {events} events, {kills} kills of the writer")
    return judge(median(rates["ours"]), median(rates["empty"]), answered, events)


def judge(ours: float, nothing: float, answered: int, events: int) -> Result:
    ratio, lost = support.ratio(ours, nothing), max(answered - events, 0)
    bars = {
        f"{OF_EMPTY} of an empty application": ratio >= OF_EMPTY,
        "no event lost": lost == 0,
        "no event doubled": events <= answered,
    }
    return f"bench-track: ours {ours:.0f} empty {nothing:.0f} ratio {ratio:.2f} lost {lost}", bars


# What it costs.


class _Cpu:
    """CPU seconds by kind of process while `with` blocks run, for so many `requests`."""

    def __init__(self, service: support.Service, server: psutil.Process) -> None:
        self.requests = 0
        self.seconds: dict[str, float] = defaultdict(float)
        self._manager = psutil.Process(service.manager_pid)
        self._server = server

    def __enter__(self) -> _Cpu:
        self._before = self._spent()
        return self

    def __exit__(self, *error: object) -> None:
        for kind, spent in self._spent().items():
            self.seconds[kind] += spent - self._before[kind]

    def _spent(self) -> dict[str, float]:
        """What has ended by now is counted with its parent, and so with the same kind."""
        from apps.ops.processes import kind_of

        spent: dict[str, float] = defaultdict(float)
        for process in self._manager.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent[kind_of(process)] += sum(process.cpu_times()[:4])
        for process in (self._server, *self._server.children()):
            spent["web"] += sum(process.cpu_times()[:2])
        bench = psutil.Process()
        spent["client"] = sum(bench.cpu_times()[:2])
        spent["writer"] = sum(bench.cpu_times()[2:4])
        for process in bench.children():
            if kind_of(process) == "writer":
                spent["writer"] += sum(process.cpu_times()[:4])
        return spent


def _cost_rows(costs: dict[str, _Cpu]) -> list[tuple[str, ...]]:
    each = {
        name: {kind: spent / max(cost.requests, 1) * 1e6 for kind, spent in cost.seconds.items()}
        for name, cost in costs.items()
    }
    kinds = sorted(set().union(*each.values()))
    rows = [(kind, *(f"{each[name].get(kind, 0):.0f}" for name in each)) for kind in kinds]
    return [*rows, ("all", *(f"{sum(each[name].values()):.0f}" for name in each))]


# The letters, and who asks for them.


def _requests(letters: int) -> Iterator[bytes]:
    """A campaign's pixels and links in turns, over and over, as the bytes of requests."""
    from django.db import connection

    from apps.accounts.models import Workspace
    from apps.campaigns import links
    from apps.campaigns.models import Campaign, CampaignLink
    from apps.campaigns.services.partitions import ensure_partition
    from apps.campaigns.tokens import Kind, LetterTokens
    from apps.mailer.models import Contact
    from apps.tracking.services.partitions import ensure_next_months

    ensure_next_months()
    workspace = Workspace.objects.create(name="Shop", slug="shop")
    campaign = Campaign.objects.create(
        workspace=workspace, name="Bench", state=Campaign.State.SENDING
    )
    ensure_partition(campaign.pk)
    CampaignLink.objects.bulk_create(
        CampaignLink(campaign=campaign, number=number, url=f"https://books.example/{number}?a=b")
        for number in range(1, LINKS + 1)
    )
    links.publish(campaign.pk)
    people = Contact.objects.bulk_create(
        (Contact(workspace=workspace, email=f"{n}@books.example") for n in range(letters)),
        batch_size=2000,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status, updated_at) "
            "SELECT %s, id, email, 'sent', now() - interval '1 day' FROM mailer_contact",
            [campaign.pk],
        )
        cursor.execute("VACUUM ANALYZE campaigns_delivery")
    made = []
    for contact in people:
        signed = LetterTokens(campaign.pk, contact.pk, LINKS)
        pixel, link = signed.of(Kind.OPEN), signed.link(contact.pk % LINKS + 1)
        made += [_request(f"/o/{pixel}.gif"), _request(f"/c/{link}")]
    return itertools.cycle(made)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {AGENT}\r\n\r\n".encode()


def _wait_until_written() -> None:
    from apps.tracking import stream

    deadline = time.monotonic() + DRAIN_SECONDS
    while stream.waiting():
        if time.monotonic() > deadline:
            raise BenchError(f"{stream.waiting()} events are not written")
        time.sleep(0.2)


def _events() -> int:
    from apps.tracking.models import Event

    return Event.objects.count()


# The servers.


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    process: psutil.Process


@contextlib.contextmanager
def _serving(application: str) -> Iterator[_Server]:
    """gunicorn as the product runs it."""
    port = free_ports(1)[0]
    command = [
        sys.executable, "-m", "gunicorn", application, "--config", "python:core.gunicorn",
        "--log-level", "warning",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=BASE_DIR,
        env={**os.environ, "WEB_PORT": str(port)},
        preexec_fn=die_with_parent,
    )
    try:
        support._wait_for_port(port, 60)
        yield _Server(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


class _Writer:
    """`manage.py write_events`, killed now and then, and started again."""

    def __init__(self) -> None:
        self.kills = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Writer:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    @contextlib.contextmanager
    def killed_after(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._kill)
        timer.start()
        yield
        timer.join()

    def _start(self) -> None:
        # Not to die with its parent, which is the thread that starts it anew.
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "write_events"], cwd=BASE_DIR
        )

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._start()


# The client.


@dataclass(slots=True)
class _Load:
    good: int = 0
    failed: int = 0
    over: bool = False
    closed: list[asyncio.Future[None]] = field(default_factory=list)


def _load(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> _Load:
    """Ask as fast as the server answers, one request a connection at a time, kept alive.

    Whoever was asked when the time is over is waited for, so that each request has its answer.
    """
    load = _Load()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_drive(load, port, requests, connections, seconds))
    return load


async def _drive(
    load: _Load, port: int, requests: Iterator[bytes], connections: int, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    for _number in range(connections):
        load.closed.append(loop.create_future())
        client = _Client(load, requests, load.closed[-1])
        await loop.create_connection(partial(_given, client), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    load.over = True
    _closed, left = await asyncio.wait(load.closed, timeout=ANSWER_SECONDS)
    load.failed += len(left)


def _given(client: _Client) -> _Client:
    return client


class _Client(asyncio.Protocol):
    def __init__(
        self, load: _Load, requests: Iterator[bytes], closed: asyncio.Future[None]
    ) -> None:
        self._load, self._requests, self._closed = load, requests, closed
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        if length is None:
            raise BenchError(f"an answer without a length: {self._buffer[:200]!r}")
        if len(self._buffer) < end + 4 + int(length[1]):
            return
        if self._buffer[9:12] in (b"200", b"302"):
            self._load.good += 1
        else:
            self._load.failed += 1
        self._buffer = b""
        if self._load.over:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._load.over:
            self._load.failed += 1
        if not self._closed.done():
            self._closed.set_result(None)

    def _ask(self) -> None:
        self._transport.write(next(self._requests))


if __name__ == "__main__":
    sys.exit(support.run(main))
