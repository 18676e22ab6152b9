"""Limits, hours, slow-downs and stops, as the dispatcher heeds them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings, settings
from django.db import OperationalError
from django.utils import timezone

from apps.campaigns import selectors, tasks
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch
from apps.campaigns.services.ledger import queueing
from apps.campaigns.services.ledger.claims import Claimed
from apps.campaigns.services.sending import batches, slices
from apps.campaigns.services.sending.groups import Group
from apps.mailer.models import Contact
from apps.senders.models import ProviderLimit, Relay, SendingPolicy
from apps.senders.services import limits
from tests.apps.campaigns.letters_out import StartRelay, make_all_due, queue_many, send_all
from tests.apps.campaigns.rows import statuses
from tests.support.concurrency import in_thread
from tests.support.limits import forget_rules
from tests.support.sandbox import Sandbox

State = Campaign.State
Status = Delivery.Status


@pytest.fixture(autouse=True)
def _fresh_limits() -> Iterator[None]:
    """Relays have the numbers of an earlier run's."""
    forget_rules()
    limits._shared.cache_clear()
    store = redis.Redis.from_url(settings.REDIS_URL)
    for key in store.scan_iter("limits:*"):
        store.delete(key)
    yield
    forget_rules()
    limits._shared.cache_clear()


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.send_email_batch, "delay", lambda *_ids: None)
    monkeypatch.setattr(tasks.notify_owners, "delay", lambda *_ids: None)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that end when nothing can go, not after a nap."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 1.0)


def limit(campaign: Campaign, provider: str, **numbers: int) -> None:
    ProviderLimit.objects.create(workspace=campaign.workspace, provider=provider, **numbers)
    forget_rules()


def by_provider(campaign: Campaign) -> dict[tuple[str, str], int]:
    rows = Delivery.objects.filter(campaign=campaign)
    found: dict[tuple[str, str], int] = {}
    for key in rows.values_list("provider", "status"):
        found[key] = found.get(key, 0) + 1
    return found


# Limits


def test_a_limit_holds_only_its_provider_back(
    campaign: Campaign, sandbox: Sandbox, short: None
) -> None:
    limit(campaign, "gmail", per_hour=12)
    queue_many(campaign, 30, "g", provider="gmail")
    queue_many(campaign, 30, "y", provider="yahoo")
    send_all(campaign)
    assert by_provider(campaign) == {
        ("gmail", "sent"): 12, ("gmail", "queued"): 18, ("yahoo", "sent"): 30,
    }  # fmt: skip
    # It waits by rights: nobody has to start it again.
    assert selectors.waits_for(campaign) == "limits"
    assert len(sandbox.messages) == 42


@pytest.mark.django_db(transaction=True)
def test_many_slices_at_once_stay_within_a_limit(
    campaign: Campaign, sandbox: Sandbox, short: None
) -> None:
    limit(campaign, "gmail", per_hour=37)
    queue_many(campaign, 80, "g", provider="gmail")
    queue_many(campaign, 40, "y", provider="yahoo")
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        send_all(campaign)

    for worker in [in_thread(work) for _ in range(3)]:
        worker.result(timeout=60)
    send_all(campaign)
    found = by_provider(campaign)
    assert found[("yahoo", "sent")] == 40
    # What one worker had to give back late another may have missed, but never more than that.
    assert found[("gmail", "sent")] == 37
    assert len(sandbox.messages) == 77


def test_what_was_granted_and_not_used_is_given_back(
    campaign: Campaign, sandbox: Sandbox, short: None
) -> None:
    limit(campaign, "gmail", per_hour=5)
    gone = queue_many(campaign, 4, "gone", provider="gmail")
    Contact.objects.filter(pk__in=[one.pk for one in gone]).update(status="unsubscribed")
    queue_many(campaign, 5, "here", provider="gmail")
    send_all(campaign)
    assert by_provider(campaign) == {("gmail", "suppressed"): 4, ("gmail", "sent"): 5}


def test_letters_that_a_dead_relay_did_not_take_count_against_no_limit(
    campaign: Campaign, relay: StartRelay, short: None
) -> None:
    server = relay({"BANNER": "421 down"})
    limit(campaign, "gmail", per_hour=6)
    queue_many(campaign, 6, "g", provider="gmail")
    send_all(campaign)
    server.script.clear()
    Relay.objects.update(retry_at=None, failing_since=None, failures=0)
    make_all_due(campaign)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 6}


def test_connections_of_a_provider_are_shared_and_given_up(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    limit(campaign, "gmail", connections=1)
    queue_many(campaign, 12, "g", provider="gmail")
    queue_many(campaign, 3, "y", provider="yahoo")
    found = limits.limits_for(campaign.workspace, None, "inbox.sandbox.test")
    other_worker = found.seats("gmail", 1)
    monkeypatch.setattr(slices, "SEAT_WAIT_SECONDS", 60.0)
    assert batches.send_batch(campaign.pk) is False
    # No row was taken for which there was no connection.
    assert by_provider(campaign) == {("gmail", "queued"): 12, ("yahoo", "sent"): 3}
    assert set(Delivery.objects.filter(status="queued").values_list("attempts", flat=True)) == {0}
    other_worker.release()
    send_all(campaign)
    assert statuses(campaign) == {"sent": 15}


def test_a_retry_by_hand_heeds_the_limit(campaign: Campaign, sandbox: Sandbox, short: None) -> None:
    limit(campaign, "gmail", per_hour=2)
    queue_many(campaign, 2, "g", provider="gmail")
    send_all(campaign)
    (late,) = queue_many(campaign, 1, "late", provider="gmail")
    Campaign.objects.update(state=State.SENDING)
    batches.send_one(campaign.pk, late.pk)
    assert statuses(campaign) == {"sent": 2, "queued": 1}
    assert Delivery.objects.get(contact=late).attempts == 0


def test_a_claim_that_fails_gives_the_limits_back(
    campaign: Campaign, sandbox: Sandbox, short: None
) -> None:
    limit(campaign, "gmail", per_hour=2)
    queue_many(campaign, 2, "g", provider="gmail")
    turn = slices.Slice(campaign)
    assert turn._find_way()
    group = turn._group("gmail", 2)
    assert isinstance(group, Group)

    def gone() -> list[Claimed]:
        raise OperationalError("the connection is lost")

    with pytest.raises(OperationalError):
        turn._send(group, gone)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 2}


def test_without_redis_only_what_has_a_limit_waits(
    campaign: Campaign, sandbox: Sandbox, settings: LazySettings, short: None
) -> None:
    limit(campaign, "gmail", per_hour=100)
    queue_many(campaign, 5, "g", provider="gmail")
    queue_many(campaign, 5, "y", provider="yahoo")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    limits._shared.cache_clear()
    forget_rules()
    send_all(campaign)
    assert by_provider(campaign) == {("gmail", "queued"): 5, ("yahoo", "sent"): 5}


def test_redis_that_goes_away_during_a_slice_stops_nothing(
    campaign: Campaign, sandbox: Sandbox, settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(slices, "SMALLEST_GROUP", 2)
    monkeypatch.setattr(slices, "GROUP", 2)
    queue_many(campaign, 20)
    send = slices.Slice._send

    def lose_redis(self: Any, *args: Any) -> int | None:
        self._limits._buckets._store.connection_pool.disconnect()
        self._limits._buckets._store.connection_pool.connection_kwargs["port"] = 1
        return send(self, *args)

    monkeypatch.setattr(slices.Slice, "_send", lose_redis)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 20}


# Slow-downs


@pytest.mark.parametrize(
    ("reply", "slower"),
    [
        ("421 4.7.0 try again later", True),
        ("450 4.7.1 too many messages, slow down", True),
        ("451 4.3.0 server busy", True),
        ("450 4.2.2 mailbox full", False),
        ("451 4.7.1 greylisted, try again later", False),
    ],
)
def test_a_provider_that_asks_for_it_gets_no_more_for_a_while(
    campaign: Campaign, relay: StartRelay, short: None, reply: str, slower: bool
) -> None:
    server = relay({"RCPT": reply}, relay={"max_connections": 1})
    queue_many(campaign, 30, "g", provider="gmail")
    batches.send_batch(campaign.pk)
    before = dict(by_provider(campaign))
    assert (before.get(("gmail", "queued"), 0) > 0) is slower, before
    # The others go on as if nothing had been.
    server.script.clear()
    queue_many(campaign, 30, "y", provider="yahoo")
    batches.send_batch(campaign.pk)
    found = by_provider(campaign)
    assert found[("yahoo", "sent")] == 30
    assert found.get(("gmail", "queued"), 0) == before.get(("gmail", "queued"), 0)


# Hours


def test_nothing_goes_outside_the_workspaces_hours(campaign: Campaign, sandbox: Sandbox) -> None:
    hour = timezone.now().astimezone(UTC).hour
    away = (hour + 12) % 24
    campaign.hours_from, campaign.hours_until = away, away + 1
    campaign.save()
    asked_for, *_others = queue_many(campaign, 3)
    assert batches.send_batch(campaign.pk) is False
    batches.send_one(campaign.pk, asked_for.pk)
    assert statuses(campaign) == {"queued": 3}
    # The same moment on the clocks of a workspace that is twelve hours ahead.
    zone = "Etc/GMT-12" if hour < 12 else "Etc/GMT+12"
    SendingPolicy.objects.create(workspace=campaign.workspace, time_zone=zone)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 3}


def test_recipients_hours_are_those_of_each(campaign: Campaign, sandbox: Sandbox) -> None:
    hour = timezone.now().astimezone(UTC).hour
    campaign.hours_from, campaign.hours_until = hour, hour + 1
    campaign.recipient_time = True
    campaign.save()
    here, away, nowhere = queue_many(campaign, 3)
    Contact.objects.filter(pk=here.pk).update(fields={"timezone": "UTC"})
    ahead = "Etc/GMT-12" if hour < 12 else "Etc/GMT+12"
    Contact.objects.filter(pk=away.pk).update(fields={"time_zone": ahead})
    Contact.objects.filter(pk=nowhere.pk).update(fields={"timezone": "Mars/Olympus"})
    send_all(campaign)
    rows = {row.contact_id: row for row in Delivery.objects.filter(campaign=campaign)}
    assert rows[here.pk].status == rows[nowhere.pk].status == Status.SENT
    waiting = rows[away.pk]
    assert (waiting.status, waiting.attempts, waiting.stage) == ("deferred", 0, "")
    assert waiting.next_attempt_at is not None
    assert timedelta(hours=10) < waiting.next_attempt_at - timezone.now() < timedelta(hours=14)


# What a refusal says of the contact


def test_only_a_mailbox_that_does_not_exist_touches_its_contact(
    campaign: Campaign, relay: StartRelay
) -> None:
    replies = [
        "550 5.1.1 No such user here",
        "550 5.7.1 Service unavailable; client host blocked using spamhaus",
        "554 5.7.1 message rejected as spam",
        "550 5.7.26 unauthenticated email is not accepted due to DMARC policy",
        "552 5.2.2 mailbox full",
        "452 4.2.2 over quota",
        "421 4.7.0 slow down",
    ]
    relay({"RCPT": replies}, relay={"max_connections": 1}, extensions=["8BITMIME"])
    contacts = queue_many(campaign, len(replies))
    for _round in range(len(replies)):
        batches.send_batch(campaign.pk)
    assert Delivery.objects.get(contact=contacts[0]).fault == "mailbox"
    found = Contact.objects.filter(pk__in=[one.pk for one in contacts]).order_by("pk")
    assert [one.status for one in found] == ["bounced", *["subscribed"] * (len(replies) - 1)]


# Stops


def policy(campaign: Campaign) -> None:
    SendingPolicy.objects.create(
        workspace=campaign.workspace, least_sample=10, hard_bounce_percent=20, block_percent=20
    )


def test_a_provider_that_blocks_is_paused_alone_and_goes_on_when_told(
    campaign: Campaign, relay: StartRelay
) -> None:
    policy(campaign)
    server = relay({"RCPT": "550 5.7.1 blocked as spam"})
    queue_many(campaign, 20, "g", provider="gmail")
    batches.send_batch(campaign.pk)
    campaign.refresh_from_db()
    # Nobody else was waiting: then it is the whole campaign.
    assert campaign.state == State.PAUSED
    blocked = by_provider(campaign)[("gmail", "failed")]
    server.script.clear()
    Campaign.objects.update(state=State.SENDING)
    queue_many(campaign, 20, "y", provider="yahoo")
    queue_many(campaign, 20, "h", provider="gmail")
    slices.Slice(Campaign.objects.get(pk=campaign.pk))._watch()
    campaign.refresh_from_db()
    assert (campaign.state, list(campaign.paused_providers)) == (State.SENDING, ["gmail"])
    send_all(campaign)
    found = by_provider(campaign)
    assert found[("yahoo", "sent")] == 20
    assert found[("gmail", "queued")] == 40 - blocked
    # What was counted so far does not stop it a second time.
    launch.resume_provider(campaign=campaign, provider="gmail")
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.paused_providers == {}
    assert by_provider(campaign)[("gmail", "sent")] == 40 - blocked
    assert campaign.state == State.FINISHED


def test_bounces_stop_the_whole_campaign_and_resuming_starts_a_new_count(
    campaign: Campaign, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(campaign)
    monkeypatch.setattr(slices, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(slices, "SMALLEST_GROUP", 10)
    monkeypatch.setattr(slices, "GROUP", 10)
    relay({"RCPT": [*["550 5.1.1 No such user here"] * 12, "250 ok"]})
    queue_many(campaign, 60)
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    # It did not go through the rest of the audience to find out.
    assert statuses(campaign) == {"failed": 10, "queued": 50}
    assert "10" in campaign.pause_reason
    launch.resume_campaign(campaign=campaign)
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert statuses(campaign) == {"failed": 12, "sent": 48}


def test_a_slice_that_began_before_it_was_resumed_does_not_stop_it_again(
    campaign: Campaign, relay: StartRelay
) -> None:
    policy(campaign)
    relay({"RCPT": "550 5.1.1 No such user here"})
    queue_many(campaign, 20)
    old = slices.Slice(Campaign.objects.get(pk=campaign.pk))
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    launch.resume_campaign(campaign=campaign)
    old._watch()
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING


def test_a_provider_that_is_paused_is_not_claimed_by_a_running_slice(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SMALLEST_GROUP", 5)
    monkeypatch.setattr(slices, "GROUP", 5)
    queue_many(campaign, 20, "g", provider="gmail")
    queue_many(campaign, 20, "y", provider="yahoo")
    send = slices.Slice._send

    def pause_gmail(self: Any, *args: Any) -> int | None:
        went_on = send(self, *args)
        launch.pause_by_itself(campaign.pk, "blocked", "gmail")
        return went_on

    monkeypatch.setattr(slices.Slice, "_send", pause_gmail)
    assert batches.send_batch(campaign.pk) is False
    assert by_provider(campaign) == {
        ("gmail", "sent"): 5, ("gmail", "queued"): 15, ("yahoo", "sent"): 20,
    }  # fmt: skip
    assert queueing.queued_providers(campaign.pk) == ["gmail"]
