"""Where a run takes place: a service, a workspace of its own, the sink, and ways to kill."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from benchmarks.chaos.oracle import Judgement, Record, Row
from benchmarks.chaos.prepare import CONNECTIONS, owner_of
from core.local.runtime import BASE_DIR
from core.local.servers import die_with_parent
from tests.support.stack import PASSWORD, RunningStack

FINISH_SECONDS = 300
# Of a server that hangs up in the middle of letters: the first one on each connection.
CARELESS = 4 * CONNECTIONS
_OVER = ("finished", "cancelled")
# An acknowledgement is on disk after three times wal_writer_delay at the latest.
NOT_ON_DISK_YET = "600 milliseconds"
_POSTMASTER_GONE_SECONDS = 30


class Unfinished(Exception):
    """Something did not happen in the time that it may take."""


class Sink:
    """The oracle's process. `behave` changes what it does from then on."""

    def __init__(self, folder: Path, plan: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "sink.log"
        self._plan = folder / "plan.json"
        self._write(plan)
        command = [sys.executable, "-m", "benchmarks.chaos.sink", "--log", str(self.log),
                   "--plan", str(self._plan)]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=BASE_DIR, stdout=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def behave(self, plan: Mapping[str, object]) -> None:
        self._write(plan)
        psutil.Process(self.process.pid).send_signal(1)

    def size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _write(self, plan: Mapping[str, object]) -> None:
        new = self._plan.with_suffix(".new")
        new.write_text(json.dumps(plan))
        new.replace(self._plan)


class Scene:
    """A workspace with `recipients` contacts, whose relay is a sink that follows `plan`."""

    def __init__(
        self,
        stack: RunningStack,
        name: str,
        recipients: int,
        plan: Mapping[str, object],
        messages_a_connection: int = 1000,
    ) -> None:
        self.stack = stack
        self.name = name
        self.recipients = recipients
        self.bound = 0
        self.kills = 0
        self.late = 0
        self.campaigns: dict[str, int] = {}
        # (campaign, recipient) of what was being handed over whenever something was killed.
        self._in_flight: set[tuple[int, str]] = set()
        self.sink = Sink(stack.folder / f"chaos-{name}", plan)
        try:
            group = self._prepare(
                "workspace", name, f"--recipients={recipients}", f"--port={self.sink.port}",
                f"--messages-a-connection={messages_a_connection}",
            )  # fmt: skip
        except BaseException:
            self.sink.stop()
            raise
        self.group = int(group)
        self._runtime = json.loads((stack.folder / "runtime.json").read_text())

    # The campaign.

    def launch(self) -> int:
        """One more campaign to everybody."""
        label = f"{self.name} {len(self.campaigns) + 1}"
        self.campaigns[label] = campaign = int(self._prepare("campaign", self.name, label))
        return campaign

    def state(self, campaign: int) -> str:
        [(state,)] = self.sql("SELECT state FROM campaigns_campaign WHERE id = %s", campaign)
        return str(state)

    def is_sending(self, campaign: int) -> bool:
        """Whether there is still something to hand over."""
        [(waiting,)] = self.sql(
            "SELECT EXISTS (SELECT FROM campaigns_delivery "
            "WHERE campaign_id = %s AND status = 'queued')",
            campaign,
        )
        return bool(waiting) or self.state(campaign) == "preparing"

    def wait_for_share(self, campaign: int, share: float) -> None:
        """Until so much of the audience has been sent to."""
        query = "SELECT count(*) FROM campaigns_delivery WHERE campaign_id = %s AND status = 'sent'"
        wait_until(lambda: self.sql(query, campaign)[0][0] >= share * self.recipients, 120)

    def finish(self) -> None:
        """Until all campaigns are over."""
        wait_until(
            lambda: all(self.state(one) in _OVER for one in self.campaigns.values()),
            FINISH_SECONDS,
        )

    def judge(self) -> Judgement:
        judgement = Judgement()
        record = Record.read(self.sink.log)
        for label, campaign in self.campaigns.items():
            rows = self.sql(
                "SELECT email, status, attempts FROM campaigns_delivery WHERE campaign_id = %s",
                campaign,
            )
            in_flight = {email for number, email in self._in_flight if number == campaign}
            letters = (Row(*row) for row in rows)
            careless = CARELESS if record.cut else 0
            judgement.add(label, self.recipients, letters, record, in_flight, careless)
            if (state := self.state(campaign)) not in _OVER:
                judgement.wrong.append(f"{label} is {state}")
        if record.faults:
            judgement.wrong.append(f"{len(record.faults)} faults of SMTP: {record.faults[0]}")
        self.bound += record.unanswered.total() + (CARELESS if record.cut else 0)
        return judgement

    # The service.

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Asks again while the database is away."""
        found: list[list[tuple[Any, ...]]] = []

        def ask() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                found.append(self.stack.sql(query, *parameters))
            return bool(found)

        wait_until(ask, 60)
        return found[0]

    def control(self, method: str, *arguments: object) -> Any:
        """Ask the process manager."""
        login = f"app:{self._runtime['password']}@127.0.0.1:{self._runtime['manager_port']}"
        with xmlrpc.client.ServerProxy(f"http://{login}/RPC2") as manager:
            return getattr(manager.supervisor, method)(*arguments)

    def parent(self, program: str) -> psutil.Process:
        """The process that the manager started, waiting for one where it is being restarted."""
        wait_until(lambda: self.control("getProcessInfo", program)["statename"] == "RUNNING", 60)
        return psutil.Process(self.control("getProcessInfo", program)["pid"])

    def children(self, program: str) -> tuple[psutil.Process, list[psutil.Process]]:
        """The program's parent and the processes of its pool, at least one."""
        found: list[psutil.Process] = []

        def look() -> bool:
            with contextlib.suppress(psutil.Error):
                parent = self.parent(program)
                found[:] = [parent, *parent.children()]
            return len(found) > 1

        wait_until(look, 60)
        return found[0], found[1:]

    def ready(self) -> None:
        """Until everything answers again."""
        self.stack.manage("wait_until_ready", "--seconds=120")

    # Killing.

    def kill(self, program: str, *, parent: bool, chance: random.Random) -> None:
        """SIGKILL to a program's parent (its pool dies with it), or to one process of its pool."""
        if program == "beat":
            victims = senders = [self.parent(program)]
        else:
            head, pool = self.children(program)
            senders = pool if parent else [chance.choice(pool)]
            victims = [head, *pool] if parent else senders
        if program == "worker-email":
            self._stop(victims)
            in_flight = self._look_in_flight()
            self._in_flight |= in_flight
            self.bound += min(len(in_flight), len(senders) * self.group)
        # The kernel ends the pool when its parent dies; the parent goes first, as in life.
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims, timeout=10)

    def crash_postgres(self) -> None:
        """An immediate stop, as `pg_ctl stop -m immediate` does it; the manager starts it again.

        In flight is what is being handed over and what was acknowledged, but not yet on disk.
        """
        head, pool = self.children("worker-email")
        postmaster = self.parent("postgres")
        self._stop([head, *pool])
        try:
            # Without those that wait for the end of their lease since an earlier crash.
            new = self._look_in_flight(settled_within=NOT_ON_DISK_YET) - self._in_flight
            self._in_flight |= new
            self.bound += len(new)
            postmaster.send_signal(3)
        finally:
            for process in (head, *pool):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
        postmaster.wait(_POSTMASTER_GONE_SECONDS)

    def flush_redis(self) -> None:
        url = f"redis://:{self._runtime['password']}@127.0.0.1:{self._runtime['valkey_port']}/0"
        with redis.Redis.from_url(url) as store:
            store.flushall()

    def restart_redis(self, away: float) -> None:
        self.control("stopProcess", "valkey")
        time.sleep(away)
        self.control("startProcess", "valkey")

    @contextlib.contextmanager
    def second_beat(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "celery", "-A", "core.celery", "--quiet", "beat",
                   "--loglevel=info", "--pidfile="]  # fmt: skip
        with open(self.stack.folder / "log" / "second-beat.log", "ab") as output:
            process = subprocess.Popen(
                command, cwd=BASE_DIR, env=self.stack.environment, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def _prepare(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.chaos.prepare", *arguments],
            cwd=BASE_DIR, env=self.stack.environment | {"ACCOUNT_PASSWORD": PASSWORD},
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def _stop(self, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def _look_in_flight(self, settled_within: str = "0") -> set[tuple[int, str]]:
        """What is being handed over, once statements of the stopped processes have ended."""
        [(stopped,)] = self.sql("SELECT clock_timestamp()")
        time.sleep(0.02)  # what they had sent is on its way through the kernel
        running = (
            "SELECT FROM pg_stat_activity WHERE state = 'active' AND query_start < %s "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: not self.sql(running, stopped), 10)
        rows = self.sql(
            "SELECT campaign_id, email FROM campaigns_delivery WHERE campaign_id = ANY(%s) AND "
            "(status = 'handing_off' OR (token IS NULL AND lease_until IS NULL AND attempts > 0 "
            "                            AND updated_at > now() - %s::interval))",
            list(self.campaigns.values()), settled_within,
        )  # fmt: skip
        return {(campaign, email) for campaign, email in rows}


class Person:
    """The owner of the scene's workspace at the web app."""

    def __init__(self, scene: Scene) -> None:
        self._base = scene.stack.address
        self._workspace = scene.name
        self._cookies = CookieJar()
        self._open = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies), _NoRedirects()
        ).open
        page = self._get("/accounts/login/")
        self._post("/accounts/login/", page, login=owner_of(scene.name), password=PASSWORD)

    def steer(self, campaign: int, verb: str) -> float:
        """Pause, resume or cancel; the reading of the clock when the request had returned."""
        place = f"/w/{self._workspace}/campaigns/{campaign}/"
        self._post(f"{place}{verb}/", self._get(place))
        return time.monotonic()

    def _get(self, path: str) -> str:
        with self._open(self._base + path) as answer:
            return str(answer.read().decode())

    def _post(self, path: str, page: str, **fields: str) -> None:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        if token is None:
            raise Unfinished(f"no form on the page before {path}")
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        request = urllib.request.Request(self._base + path, data, {"Referer": self._base})
        try:
            with self._open(request) as answer:
                raise Unfinished(f"{path} answered {answer.status} and not with a redirect")
        except urllib.error.HTTPError as answer:
            if answer.code not in (302, 303):
                raise Unfinished(f"{path} answered {answer.code}") from answer


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_request: Any) -> None:
        return None


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Look every 50 ms; Unfinished where it does not come true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Unfinished(f"not within {seconds:g} s")
        time.sleep(0.05)
