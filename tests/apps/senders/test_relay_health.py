from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.ops.tasks import sweep_due_work
from apps.senders import faults, selectors
from apps.senders.models import Relay
from apps.senders.services import relays
from core import secrets
from mailkit.smtp.outcomes import Accepted, Broken, Refused, Reply
from tests.mailkit.smtp.fake_server import DROP, HANG, FakeServer
from tests.support.concurrency import in_thread
from tests.support.sandbox import LoopThread

MakeRelay = Callable[..., Relay]


@pytest.fixture(autouse=True)
def _private_relays(settings: LazySettings) -> None:
    settings.PRIVATE_RELAYS = True


@pytest.fixture
def make_relay(workspace: Workspace) -> MakeRelay:
    def make(**fields: Any) -> Relay:
        values = {"host": "127.0.0.1", "port": 9, "security": "none"} | fields
        return Relay.objects.create(workspace=workspace, **values)

    return make


@pytest.fixture
def relay(make_relay: MakeRelay) -> Relay:
    return make_relay()


def note(relay: Relay, *errors: str) -> Relay:
    for error in errors:
        relays.note_relay(relay.pk, error)
    relay.refresh_from_db()
    return relay


def fail_at_once(relay: Relay, times: int) -> None:
    noting = [
        in_thread(relays.note_relay, relay.pk, "connect: timeout: ") for _number in range(times)
    ]
    for each in noting:
        each.result(30)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rest_is_over(relay: Relay) -> None:
    relay.retry_at = timezone.now() - timedelta(seconds=1)
    relay.save()


def seconds_to_rest(relay: Relay) -> float:
    assert relay.retry_at is not None
    return (relay.retry_at - timezone.now()).total_seconds()


# Counting.


def test_the_third_failure_in_a_row_makes_it_a_failing_one(relay: Relay) -> None:
    note(relay, "connect: refused: ", "connect: refused: ")
    assert (relay.failures, relay.failing_since, relay.retry_at) == (2, None, None)
    note(relay, "auth: 535 no")
    assert relay.failing_since is not None
    assert relay.last_error == "auth: 535 no"
    assert 25 < seconds_to_rest(relay) <= 30


def test_a_success_between_them_starts_the_count_anew(relay: Relay) -> None:
    note(relay, "connect: timeout: ", "connect: timeout: ", "", "connect: timeout: ")
    assert (relay.failures, relay.failing_since) == (1, None)


def test_the_rest_doubles_up_to_a_quarter_of_an_hour(relay: Relay) -> None:
    note(relay, *["connect: timeout: "] * 3)
    rests = []
    for _ in range(7):
        rest_is_over(relay)
        note(relay, "connect: timeout: ")
        rests.append(round(seconds_to_rest(relay) / 5) * 5)
    assert rests == [60, 120, 240, 480, 900, 900, 900]


def test_an_endless_failure_does_not_overflow(relay: Relay) -> None:
    note(relay, *["connect: timeout: "] * 3)
    Relay.objects.update(failures=2_000_000, retry_at=timezone.now())
    assert 890 < seconds_to_rest(note(relay, "connect: timeout: ")) <= 900


def test_failures_of_attempts_begun_before_the_rest_do_not_prolong_it(relay: Relay) -> None:
    note(relay, *["connect: timeout: "] * 3)
    before = relay.retry_at
    note(relay, *["connect: timeout: "] * 20)
    assert relay.retry_at == before


def test_a_success_heals(relay: Relay) -> None:
    note(relay, *["connect: timeout: "] * 3)
    note(relay, "")
    assert (relay.failures, relay.failing_since, relay.retry_at) == (0, None, None)
    assert relay.last_error == ""


def test_the_sandbox_and_a_removed_relay_have_no_health(relay: Relay) -> None:
    relays.note_relay(None, "connect: refused: ")
    relay_id = relay.pk
    relay.delete()
    relays.note_relay(relay_id, "connect: refused: ")
    assert not Relay.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_failures_noted_at_once_are_all_counted(make_relay: MakeRelay) -> None:
    relay = make_relay()
    fail_at_once(relay, 8)
    relay.refresh_from_db()
    assert relay.failures >= relays.FAILING_AFTER
    assert relay.failing_since is not None
    assert seconds_to_rest(relay) <= 30
    failures = relay.failures
    rest_is_over(relay)
    fail_at_once(relay, 8)
    relay.refresh_from_db()
    assert relay.failures == failures + 1


# Routes.


def test_the_healthy_ones_take_over(make_relay: MakeRelay, workspace: Workspace) -> None:
    failing, healthy = make_relay(weight=100), make_relay(port=10)
    note(failing, *["connect: refused: "] * 3)
    routes = selectors.routes_of(workspace)
    assert [route.relay_id for route in routes] == [healthy.pk, failing.pk]
    keys = [str(number) for number in range(200)]
    assert {getattr(selectors.choose_route(routes, key), "relay_id", 0) for key in keys} == {
        healthy.pk
    }
    # Also when its rest is over: the health check finds out, and not the letters.
    rest_is_over(failing)
    routes = selectors.routes_of(workspace)
    assert all(selectors.choose_route(routes, key) == routes[0] for key in keys)


def test_where_all_fail_none_is_usable_until_the_first_rest_is_over(
    make_relay: MakeRelay, workspace: Workspace
) -> None:
    first, second = make_relay(), make_relay(port=10)
    for relay in (first, second):
        note(relay, *["connect: refused: "] * 3)
    routes = selectors.routes_of(workspace)
    assert selectors.choose_route(routes, "key") is None
    rest_is_over(second)
    chosen = selectors.choose_route(selectors.routes_of(workspace), "key")
    assert chosen is not None
    assert chosen.relay_id == second.pk


def test_there_is_always_a_way_into_the_sandbox(workspace: Workspace) -> None:
    routes = selectors.routes_of(workspace)
    chosen = selectors.choose_route(routes, "key")
    assert chosen is not None
    assert chosen.sandbox


# Checks.


@pytest.fixture
def server_with(
    loop_thread: LoopThread,
) -> Callable[..., Any]:
    @contextmanager
    def serve(script: dict[str, Any] | None = None, **settings: Any) -> Iterator[FakeServer]:
        async def make() -> FakeServer:
            return await FakeServer(script, **settings).__aenter__()

        server = loop_thread.run(make())
        try:
            yield server
        finally:
            loop_thread.run(server.__aexit__(None, None, None))

    return serve


def test_a_check_logs_in_and_says_good_bye(
    make_relay: MakeRelay, server_with: Callable[..., Any]
) -> None:
    with server_with(extensions=["AUTH PLAIN"]) as server:
        relay = make_relay(
            port=server.port, username="shop", password_encrypted=secrets.encrypt("s3cret")
        )
        note(relay, *["connect: refused: "] * 3)
        relays.check_relay(relay.pk)
        assert [command.split()[0] for command in server.commands] == ["EHLO", "AUTH", "QUIT"]
    relay.refresh_from_db()
    assert relay.failing_since is None
    assert relay.checked_at is not None
    assert not relay.being_checked
    assert faults.explain(relay.last_error) is None


def test_a_check_keeps_the_stage_and_the_servers_words(
    make_relay: MakeRelay, server_with: Callable[..., Any]
) -> None:
    script = {"AUTH": "535 5.7.8 Wrong s3cret password"}
    with server_with(script, extensions=["AUTH PLAIN"]) as server:
        relay = make_relay(
            port=server.port, username="shop", password_encrypted=secrets.encrypt("s3cret")
        )
        relays.check_relay(relay.pk)
    relay.refresh_from_db()
    assert relay.last_error == "auth: 535 5.7.8 Wrong … password"
    assert relay.failures == 1
    fault = faults.explain(relay.last_error)
    assert fault == faults.Fault("Signing in", "", "535 5.7.8 Wrong … password")


@pytest.mark.parametrize(
    ("script", "fields", "stage", "reason"),
    [
        ({"BANNER": DROP}, {}, "Greeting", "The server closed the connection."),
        ({"BANNER": "hello"}, {}, "Greeting", "The answer is not SMTP."),
        ({}, {"security": "starttls"}, "STARTTLS", "The server does not offer it."),
        ({}, {"host": "does-not-exist.invalid"}, "Connecting", "The host name is not found"),
    ],
)
def test_what_went_wrong_is_said_in_words(
    make_relay: MakeRelay,
    server_with: Callable[..., Any],
    script: dict[str, Any],
    fields: dict[str, Any],
    stage: str,
    reason: str,
) -> None:
    with server_with(script) as server:
        relay = make_relay(port=server.port, **fields)
        relays.check_relay(relay.pk)
    relay.refresh_from_db()
    fault = faults.explain(relay.last_error)
    assert fault is not None
    assert fault.stage == stage
    assert fault.reason.startswith(reason)


def test_a_private_host_gets_no_connection(
    make_relay: MakeRelay, server_with: Callable[..., Any], settings: LazySettings
) -> None:
    """As where a name pointed at a public address when it was saved."""
    settings.PRIVATE_RELAYS = False
    with server_with() as server:
        relay = make_relay(port=server.port)
        relays.check_relay(relay.pk)
        Relay.objects.update(port=587, host="localhost")
        relays.check_relay(relay.pk)
        assert server.sessions == []
    relay.refresh_from_db()
    assert relay.last_error.startswith("connect: not_public: 127.0.0.1")


def test_a_password_of_lost_keys_is_a_fault_and_no_crash(
    make_relay: MakeRelay, settings: LazySettings
) -> None:
    settings.ENCRYPTION_KEYS = ["lost"]
    relay = make_relay(username="shop", password_encrypted=secrets.encrypt("s3cret"))
    settings.ENCRYPTION_KEYS = ["new"]
    relays.check_relay(relay.pk)
    relay.refresh_from_db()
    fault = faults.explain(relay.last_error)
    assert fault is not None
    assert "cannot be read" in fault.reason


@pytest.mark.django_db(transaction=True)
def test_a_check_of_settings_that_were_changed_meanwhile_says_nothing(
    make_relay: MakeRelay,
    server_with: Callable[..., Any],
    loop_thread: LoopThread,
    owner: User,
    workspace: Workspace,
) -> None:
    with server_with({"BANNER": HANG}) as server:
        relay = make_relay(port=server.port)
        checking = in_thread(relays.check_relay, relay.pk)
        wait_for(lambda: server.sessions)
        relays.save_relay(
            workspace=workspace,
            by=Membership.objects.get(user=owner),
            relay_id=relay.pk,
            host="127.0.0.1",
            port=9,
            security="none",
            username="",
            password=None,
        )
        loop_thread.loop.call_soon_threadsafe(server.hang_up.set)
        checking.result(30)
    relay.refresh_from_db()
    assert (relay.checked_at, relay.failures, relay.last_error) == (None, 0, "")


def test_a_check_is_asked_for_once(make_relay: MakeRelay, owner: User) -> None:
    relay = make_relay()
    by = Membership.objects.get(user=owner)
    relays.ask_for_check(workspace=relay.workspace, by=by, relay_id=relay.pk)
    relay.refresh_from_db()
    first = relay.check_asked_at
    assert relay.being_checked
    relays.ask_for_check(workspace=relay.workspace, by=by, relay_id=relay.pk)
    relay.refresh_from_db()
    assert relay.check_asked_at == first
    assert relays.ring_due_checks() == 0
    # A lost message: the sweeper asks again.
    Relay.objects.update(check_asked_at=timezone.now() - relays.CHECK_IS_LOST_AFTER)
    assert relays.ring_due_checks() == 1
    relays.check_relay(relay.pk)
    relay.refresh_from_db()
    assert not relay.being_checked


def test_the_sweeper_looks_at_failing_relays_whose_rest_is_over(make_relay: MakeRelay) -> None:
    failing, healthy, off = make_relay(), make_relay(), make_relay()
    for relay in (failing, off):
        note(relay, *["connect: refused: "] * 3)
    assert relays.ring_due_checks() == 0
    for relay in (failing, off):
        rest_is_over(relay)
    off.enabled = False
    off.save()
    assert relays.ring_due_checks() == 1
    assert relays.ring_due_checks() == 0
    for relay in (failing, healthy, off):
        relay.refresh_from_db()
    assert failing.being_checked
    assert not healthy.being_checked
    assert not off.being_checked


def test_only_what_comes_before_the_letter_is_the_relays_fault() -> None:
    reply = Reply(451, None, "later")
    assert faults.fault_of(Accepted(Reply(250, None, "ok"))) == ""
    assert faults.fault_of(Refused("mail", reply)) == ""
    assert faults.fault_of(Broken("body", "timeout", after_dot=True)) == ""
    assert faults.fault_of(Refused("banner", reply)) == "banner: 451 later"
    assert faults.fault_of(Broken("connect", "dns", detail="x" * 900)).startswith("connect: dns: x")
    assert len(faults.fault_of(Broken("connect", "dns", detail="x" * 900))) == faults.LONGEST
    assert faults.explain("") is None


def test_the_sweep_has_them_checked(relay: Relay) -> None:
    note(relay, *["connect: refused: "] * 3)
    rest_is_over(relay)
    sweep_due_work()
    relay.refresh_from_db()
    assert relay.being_checked
