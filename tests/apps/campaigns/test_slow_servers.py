"""Servers that take their time: a slice ends all the same, and nothing of it is lost."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import launch, monitoring, testing
from apps.campaigns.services.ledger import leases, results
from apps.campaigns.services.sending import batches, connections, slices
from apps.senders.models import Relay
from tests.apps.campaigns.letters_out import (
    StartRelay,
    only_row,
    queue_many,
    send_all,
)
from tests.apps.campaigns.rows import let_leases_end, statuses
from tests.mailkit.smtp import fake_server
from tests.mailkit.smtp.fake_server import HANG, FakeServer
from tests.support.factories import make_campaign, make_workspace
from tests.support.sandbox import LoopThread, Sandbox

State = Campaign.State
# Threads of their own write the late answers.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.3)
    monkeypatch.setattr(slices, "GROUP_SECONDS", 0.1)
    monkeypatch.setattr(slices, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "RENEW_SECONDS", 0.1)


def let_go(server: FakeServer, loop_thread: LoopThread) -> None:
    """The server answers what it has kept, or ends the conversations that it left hanging."""
    loop_thread.loop.call_soon_threadsafe(server.hang_up.set)


def see_out() -> None:
    connections.sender().wait_for_slow(20)
    assert not connections.sender()._slow


@pytest.fixture
def slow(relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> StartRelay:
    """A relay that takes each letter and answers once it is let go."""
    say = fake_server._Conversation.say

    async def later(self: Any, verb: str, default: str) -> str:
        if verb == "DOT":
            await self.server.hang_up.wait()
        return await say(self, verb, default)

    monkeypatch.setattr(fake_server._Conversation, "say", later)

    def start(number: int = 1) -> FakeServer:
        return relay(extensions=["8BITMIME"], relay={"max_connections": number})

    return start


def test_a_slow_server_ends_the_slice_in_time_and_leaves_no_row_behind(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread
) -> None:
    server = slow(2)
    queue_many(campaign, 6)
    assert batches.send_batch(campaign.pk) is True
    assert statuses(campaign) == {"handing_off": 2, "deferred": 4}
    # No connection is free: the other letters wait without a turn.
    assert batches.send_batch(campaign.pk) is False
    assert statuses(campaign)["handing_off"] == 2
    assert not Delivery.objects.filter(status__in=["queued", "deferred"], attempts__gt=0).exists()
    let_go(server, loop_thread)
    see_out()
    found = Delivery.objects.filter(status="sent")
    assert [(row.attempts, row.stage, row.token) for row in found] == [(1, "body", None)] * 2
    assert len(server.accepted) == 2
    send_all(campaign)
    assert statuses(campaign) == {"sent": 6}
    assert len(server.accepted) == 6


def test_an_answer_that_comes_while_the_rest_is_written_is_not_lost(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = slow()
    queue_many(campaign, 3)
    under_way: list[Future[None]] = []
    hand_over, settle = connections.Sender.hand_over, results.settle

    def noted(*args: Any, **options: Any) -> Future[None]:
        under_way.append(hand_over(*args, **options))
        return under_way[-1]

    def answered_meanwhile(*args: Any) -> None:
        let_go(server, loop_thread)
        under_way[0].result(timeout=20)
        settle(*args)

    monkeypatch.setattr(connections.Sender, "hand_over", noted)
    monkeypatch.setattr(results, "settle", answered_meanwhile)
    batches.send_batch(campaign.pk)
    see_out()
    assert statuses(campaign) == {"sent": 1, "deferred": 2}
    assert len(server.accepted) == 1


def test_another_campaign_goes_on_meanwhile(
    campaign: Campaign, slow: StartRelay, sandbox: Sandbox, loop_thread: LoopThread
) -> None:
    server = slow()
    queue_many(campaign, 2)
    batches.send_batch(campaign.pk)
    other = make_campaign(make_workspace(), state=State.SENDING)
    queue_many(other, 20)
    send_all(other)
    assert statuses(other) == {"sent": 20}
    assert statuses(campaign)["handing_off"] == 1
    let_go(server, loop_thread)
    see_out()


def test_a_late_answer_is_written_whatever_became_of_its_row(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given up as unknown by the sweeper, since its lease could not be renewed."""
    monkeypatch.setattr(leases, "renew", lambda *_args: None)
    server = slow()
    queue_many(campaign, 1)
    batches.send_batch(campaign.pk)
    let_leases_end(campaign)
    monitoring.sweep()
    row = only_row(campaign)
    assert (row.status, row.stage) == ("unknown", "")
    assert row.token is not None
    let_go(server, loop_thread)
    see_out()
    row = only_row(campaign)
    assert (row.status, row.stage, row.code, row.token) == ("sent", "body", 250, None)


def test_leases_are_renewed_while_a_slow_server_is_waited_for(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    renew = leases.renew

    def noted(*args: Any) -> None:
        renew(*args)
        renewed.set()

    monkeypatch.setattr(leases, "renew", noted)
    server = slow()
    queue_many(campaign, 1)
    batches.send_batch(campaign.pk)
    let_leases_end(campaign)
    renewed.clear()
    assert renewed.wait(20)
    assert leases.expire_leases() == 0
    assert statuses(campaign) == {"handing_off": 1}
    let_go(server, loop_thread)
    see_out()


def test_a_database_that_is_away_for_a_while_loses_no_late_answer(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(*_args: Any) -> None:
        tried.set()
        raise DatabaseError("gone")

    monkeypatch.setattr(leases, "renew", fail)
    server = slow()
    queue_many(campaign, 1)
    batches.send_batch(campaign.pk)
    assert tried.wait(20)
    let_go(server, loop_thread)
    see_out()
    row = only_row(campaign)
    assert (row.status, row.stage, row.lease_until) == ("sent", "body", None)


def test_a_pause_reaches_letters_that_were_not_begun(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread
) -> None:
    server = slow()
    queue_many(campaign, 5)
    batches.send_batch(campaign.pk)
    launch.pause_campaign(campaign=campaign)
    let_go(server, loop_thread)
    see_out()
    send_all(campaign)
    assert statuses(campaign) == {"sent": 1, "queued": 4}
    assert len(server.accepted) == 1


def test_a_relay_that_hangs_before_a_letter_is_found_out_in_the_end(
    campaign: Campaign, relay: StartRelay, loop_thread: LoopThread
) -> None:
    server = relay({"BANNER": HANG}, relay={"max_connections": 1})
    queue_many(campaign, 3)
    batches.send_batch(campaign.pk)
    assert Relay.objects.get().failures == 0
    let_go(server, loop_thread)
    see_out()
    noted = Relay.objects.get()
    assert noted.failures == 1
    assert noted.last_error.startswith("banner: ")
    assert statuses(campaign) == {"deferred": 3}
    assert not Delivery.objects.filter(attempts__gt=0).exists()


def test_a_process_that_ends_waits_a_moment_for_slow_letters(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEE_OUT_SECONDS", 0.1)
    server = slow()
    queue_many(campaign, 1)
    batches.send_batch(campaign.pk)
    connections._wait_for_slow()
    # Not for ever: what is not known by then stays with its lease, for the sweeper to find.
    assert statuses(campaign) == {"handing_off": 1}
    monkeypatch.setattr(connections, "SEE_OUT_SECONDS", 20)
    let_go(server, loop_thread)
    connections._wait_for_slow()
    assert only_row(campaign).stage == "body"


def test_a_test_letter_to_a_slow_server_holds_up_nobody(
    campaign: Campaign, slow: StartRelay, loop_thread: LoopThread
) -> None:
    server = slow()
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    testing.send_test_letter(test.pk)
    TestSend.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    let_go(server, loop_thread)
    see_out()
    test.refresh_from_db()
    assert test.state == TestSend.State.SENT
