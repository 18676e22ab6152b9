from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import monitoring
from apps.campaigns.services.sending import batches, connections, outcomes, slices
from apps.campaigns.services.sending.handover import Ready
from apps.senders.models import Relay
from apps.senders.services import relays
from core import secrets
from mailkit.smtp.endpoint import Timeouts
from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import Accepted, Broken, Refused, Reply
from mailkit.smtp.pool import Pool
from tests.apps.campaigns.letters_out import (
    StartRelay,
    dead_relay,
    only_row,
    queue,
    queue_many,
    send_all,
)
from tests.apps.campaigns.rows import statuses
from tests.mailkit.smtp.fake_server import DROP, EXTENSIONS, HANG
from tests.support.sandbox import Sandbox

State = Campaign.State
Status = Delivery.Status
MESSAGE = WireMessage(b"", 0)
LOGIN = {"username": "shop", "password_encrypted": secrets.encrypt("s3cret")}

# What a relay says of one letter: the row has its words.
REFUSALS = [
    ({"MAIL": "550 5.7.1 not you"}, "failed", "mail", 550, "5.7.1 not you"),
    ({"MAIL": "451 4.7.0 slower"}, "deferred", "mail", 451, "4.7.0 slower"),
    ({"RCPT": "550 5.1.1 nobody"}, "failed", "rcpt", 550, "5.1.1 nobody"),
    ({"RCPT": "450 4.2.0 busy"}, "deferred", "rcpt", 450, "4.2.0 busy"),
    ({"RCPT": "421 4.3.0 bye"}, "deferred", "rcpt", 421, "4.3.0 bye"),
    ({"DATA": "554 5.7.0 no"}, "failed", "data", 554, "5.7.0 no"),
    ({"DATA": "451 4.3.0 later"}, "deferred", "data", 451, "4.3.0 later"),
    ({"DOT": "554 5.7.1 spam"}, "failed", "body", 554, "5.7.1 spam"),
    ({"DOT": "452 4.3.1 disk full"}, "deferred", "body", 452, "4.3.1 disk full"),
    ({"DOT": "hello?"}, "unknown", "body", None, "bad_reply"),
]
BREAKS = [
    ({"MAIL": DROP}, "deferred", "mail", None, "closed"),
    ({"RCPT": DROP}, "deferred", "rcpt", None, "closed"),
    ({"DATA": DROP}, "deferred", "data", None, "closed"),
    ({"BODY": DROP}, "deferred", "body", None, "closed"),
    ({"DOT": DROP}, "unknown", "body", None, "closed"),
]
HANGS = [
    ({"MAIL": HANG}, "deferred", "mail", None, "timeout"),
    ({"RCPT": HANG}, "deferred", "rcpt", None, "timeout"),
    ({"DATA": HANG}, "deferred", "data", None, "timeout"),
    ({"DOT": HANG}, "unknown", "body", None, "timeout"),
]


def be_patient(monkeypatch: pytest.MonkeyPatch, script: Any, stage: str) -> None:
    """Short time-outs where the script hangs."""
    names = {"data": "data_init", "body": "data_done"}
    patience = {names.get(stage, stage): 0.2} if HANG in script.values() else {}
    monkeypatch.setattr(connections, "_timeouts", lambda: Timeouts(**patience))
    monkeypatch.setattr(Pool, "_hold", lambda _pool: 0.5 if "BODY" in script else 0.0)


@pytest.mark.parametrize(
    ("script", "status", "stage", "code", "words"), [*REFUSALS, *BREAKS, *HANGS], ids=str
)
def test_what_the_relay_says_of_a_letter_decides(
    campaign: Campaign,
    relay: StartRelay,
    monkeypatch: pytest.MonkeyPatch,
    script: Any,
    status: str,
    stage: str,
    code: int | None,
    words: str,
) -> None:
    be_patient(monkeypatch, script, stage)
    server = relay(script)
    queue(campaign, "anna@inbox.sandbox.test")
    assert not batches.send_batch(campaign.pk)
    row = only_row(campaign)
    assert (row.status, row.stage, row.code) == (status, stage, code)
    assert row.reply.startswith(words), row.reply
    assert (row.token, row.lease_until, row.attempts) == (None, None, 1)
    assert row.relay_id == Relay.objects.get().pk
    assert server.accepted == []
    if status == "deferred":
        assert row.next_attempt_at is not None
        assert row.next_attempt_at > timezone.now()
    # A second look changes nothing: no row of it is tried again before its time.
    assert not batches.send_batch(campaign.pk)
    assert only_row(campaign).status == status
    assert Relay.objects.get().failures == 0


@pytest.mark.parametrize(
    ("script", "stage", "words"),
    [
        ({"BANNER": "554 5.3.2 not today"}, "banner", "554 5.3.2 not today"),
        ({"BANNER": "421 4.3.2 too busy"}, "banner", "421 4.3.2 too busy"),
        ({"BANNER": "no SMTP here"}, "banner", "bad_reply"),
        ({"EHLO": "550 no", "HELO": "550 who?"}, "ehlo", "550 who?"),
        ({"AUTH": "454 4.7.0 later"}, "auth", "454 4.7.0 later"),
        ({"BANNER": DROP}, "banner", "closed"),
        ({"EHLO": DROP}, "ehlo", "closed"),
        ({"AUTH": DROP}, "auth", "closed"),
        ({"BANNER": HANG}, "banner", "timeout"),
        ({"EHLO": HANG}, "ehlo", "timeout"),
    ],
    ids=str,
)
def test_what_comes_before_a_letter_is_the_relays_fault(
    campaign: Campaign,
    relay: StartRelay,
    monkeypatch: pytest.MonkeyPatch,
    script: Any,
    stage: str,
    words: str,
) -> None:
    be_patient(monkeypatch, script, stage)
    server = relay(script, extensions=[*EXTENSIONS, "AUTH PLAIN"], relay=LOGIN)
    queue(campaign, "anna@inbox.sandbox.test")
    batches.send_batch(campaign.pk)
    row = only_row(campaign)
    assert (row.status, row.stage, row.attempts) == ("deferred", "", 0)
    assert (row.token, row.lease_until) == (None, None)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at <= timezone.now()
    noted = Relay.objects.get()
    assert noted.failures == 1
    assert noted.last_error.startswith(f"{stage}: {words}"), noted.last_error
    assert server.accepted == []
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING


def test_the_relay_gets_its_password(campaign: Campaign, relay: StartRelay) -> None:
    server = relay(
        extensions=[*EXTENSIONS, "AUTH PLAIN"],
        relay={"username": "shop", "password_encrypted": secrets.encrypt("пароль")},
    )
    queue(campaign, "anna@inbox.sandbox.test")
    send_all(campaign)
    assert len(server.accepted) == 1
    login = next(line for line in server.commands if line.startswith("AUTH PLAIN "))
    assert base64.b64decode(login.split()[-1]).decode() == "\0shop\0пароль"


def test_a_relay_that_is_down_fails_nobody(campaign: Campaign) -> None:
    gone = dead_relay(campaign)
    # However long ago it was launched: a pause or a large audience is not the letter's fault.
    campaign.launched_at = timezone.now() - timedelta(days=30)
    campaign.save()
    queue_many(campaign, 30)
    send_all(campaign)
    assert statuses(campaign).keys() <= {"deferred", "queued"}
    assert not Delivery.objects.filter(attempts__gt=0).exists()
    gone.refresh_from_db()
    # Three failures in a row were enough: it does not go through the rest of the audience.
    assert gone.failures == relays.FAILING_AFTER
    assert gone.failing_since is not None
    assert batches.send_batch(campaign.pk) is False
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING


@pytest.mark.django_db(transaction=True)
def test_the_relay_comes_back(campaign: Campaign, relay: StartRelay) -> None:
    server = relay({"BANNER": [*["421 down"] * 20, "220 welcome"]}, relay={"max_connections": 5})
    queue_many(campaign, 10)
    send_all(campaign)
    assert statuses(campaign) == {"deferred": 10}
    server.script.clear()
    Relay.objects.update(retry_at=timezone.now())
    monitoring.sweep()
    send_all(campaign)
    assert statuses(campaign) == {"sent": 10}
    assert len(server.accepted) == 10
    noted = Relay.objects.get()
    assert (noted.failures, noted.failing_since, noted.last_error) == (0, None, "")


@pytest.mark.django_db(transaction=True)
def test_another_relay_takes_over_from_one_that_fails(
    campaign: Campaign, relay: StartRelay
) -> None:
    gone = dead_relay(campaign, weight=100)
    server = relay()
    queue_many(campaign, 30)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 30}
    assert len(server.accepted) == 30
    rows = Delivery.objects.filter(campaign=campaign)
    # The turns with the relay that was down count as no attempt.
    assert set(rows.values_list("attempts", flat=True)) == {1}
    assert gone.pk not in rows.values_list("relay_id", flat=True)
    gone.refresh_from_db()
    # Whether it failed for good is chance: the other may have been chosen before.
    assert gone.failures <= relays.FAILING_AFTER
    assert Relay.objects.exclude(pk=gone.pk).get().failures == 0


def test_all_relays_switched_off_pause_the_campaign(
    campaign: Campaign, sandbox: Sandbox, relay: StartRelay
) -> None:
    relay(relay={"enabled": False})
    queue_many(campaign, 2)
    assert batches.send_batch(campaign.pk) is False
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    assert campaign.pause_reason == "All SMTP relays are switched off."
    assert statuses(campaign) == {"queued": 2}
    assert sandbox.messages == []


def test_a_wrong_password_pauses_the_campaign_of_a_single_relay(
    campaign: Campaign, relay: StartRelay
) -> None:
    server = relay(
        {"AUTH": "535 5.7.8 wrong password"}, extensions=[*EXTENSIONS, "AUTH PLAIN"], relay=LOGIN
    )
    queue_many(campaign, 12)
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    assert "535 5.7.8 wrong password" in campaign.pause_reason
    assert set(statuses(campaign)) <= {"queued", "deferred"}
    assert not Delivery.objects.filter(attempts__gt=0).exists()
    assert server.accepted == []


@pytest.mark.django_db(transaction=True)
def test_a_wrong_password_leaves_the_letters_to_the_other_relay(
    campaign: Campaign, relay: StartRelay
) -> None:
    relay({"AUTH": "535 no"}, extensions=[*EXTENSIONS, "AUTH PLAIN"], relay=LOGIN | {"weight": 50})
    server = relay()
    queue_many(campaign, 12)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 12}
    assert len(server.accepted) == 12


@pytest.mark.django_db(transaction=True)
def test_wrong_passwords_at_all_relays_pause_the_campaign(
    campaign: Campaign, relay: StartRelay
) -> None:
    for _number in range(2):
        relay({"AUTH": "535 no"}, extensions=[*EXTENSIONS, "AUTH PLAIN"], relay=LOGIN)
    queue_many(campaign, 3)
    for _turn in range(20):  # one relay after the other, by lot
        batches.send_batch(campaign.pk)
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    assert "535 no" in campaign.pause_reason
    assert not Delivery.objects.filter(attempts__gt=0).exists()


def test_a_sender_that_is_refused_for_all_pauses_the_campaign(
    campaign: Campaign, relay: StartRelay
) -> None:
    relay({"MAIL": "553 5.7.1 Sender address rejected: not owned by user"})
    queue_many(campaign, 10)
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    assert "553 5.7.1 Sender address rejected" in campaign.pause_reason
    assert statuses(campaign) == {"deferred": 10}
    assert set(Delivery.objects.values_list("attempts", "stage")) == {(0, "")}


def test_a_sender_that_is_refused_once_is_that_letters_misfortune(
    campaign: Campaign, relay: StartRelay
) -> None:
    relay({"MAIL": ["553 5.7.1 Sender address rejected", "250 ok"]})
    queue_many(campaign, 10)
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert statuses(campaign) == {"failed": 1, "sent": 9}


@pytest.mark.parametrize("what", ["relay", "letter"])
def test_a_secret_that_cannot_be_read_pauses_the_campaign(
    campaign: Campaign, relay: StartRelay, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from cryptography.fernet import InvalidToken

    from apps.campaigns import letters

    def unreadable(*_args: Any) -> Any:
        raise InvalidToken

    relay(relay=LOGIN | {"password_encrypted": b"of another key"} if what == "relay" else {})
    if what == "letter":
        monkeypatch.setattr(letters, "signing_keys", unreadable)
    queue_many(campaign, 2)
    assert batches.send_batch(campaign.pk) is False
    campaign.refresh_from_db()
    assert campaign.state == State.PAUSED
    assert "cannot be read" in campaign.pause_reason
    assert statuses(campaign) == {"queued": 2}


def test_a_relay_with_room_for_one_connection_gets_everything(
    campaign: Campaign, relay: StartRelay
) -> None:
    server = relay({"BANNER": ["220 welcome", "421 4.7.0 too many connections"]})
    queue_many(campaign, 40)
    send_all(campaign)
    assert statuses(campaign) == {"sent": 40}
    assert len(server.accepted) == 40


def test_never_more_connections_than_the_relay_allows(
    campaign: Campaign, relay: StartRelay
) -> None:
    server = relay(relay={"max_connections": 2})
    queue_many(campaign, 30)
    send_all(campaign)
    assert len(server.sessions) <= 2
    assert statuses(campaign) == {"sent": 30}


@pytest.mark.django_db(transaction=True)
def test_letters_whose_turn_does_not_come_wait_without_an_attempt(
    campaign: Campaign, relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only connection hangs: one letter is with it, the others never were."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.3)
    monkeypatch.setattr(slices, "GROUP_SECONDS", 0.1)
    monkeypatch.setattr(slices, "GRACE_SECONDS", 0.1)
    server = relay({"DOT": HANG}, extensions=["8BITMIME"], relay={"max_connections": 1})
    queue_many(campaign, 5)
    batches.send_batch(campaign.pk)
    assert statuses(campaign) == {"handing_off": 1, "deferred": 4}
    waiting = Delivery.objects.filter(status="deferred")
    assert set(waiting.values_list("stage", "attempts")) == {("", 0)}
    server.hang_up.set()
    connections.sender().wait_for_slow(20)


@pytest.mark.parametrize(
    "outcome",
    [
        Broken("connect", "refused"),
        Broken("body", "closed"),
        Refused("rcpt", Reply(451, "4.7.1", "later")),
        Refused("auth", Reply(535, "5.7.8", "wrong password")),
    ],
)
@pytest.mark.parametrize("hours", [1, 24, 100])
def test_tries_end_after_the_time_set_for_them_and_not_before(outcome: Any, hours: int) -> None:
    """A mailbox that breaks every conversation is given up as well."""
    waited, attempts = timedelta(0), 0
    while True:
        result = outcomes.result_of(
            Ready(1, "a@b.test", MESSAGE, attempts), outcome, timedelta(hours=hours)
        )
        if result.status == Status.FAILED:
            break
        assert result.status == Status.DEFERRED
        assert result.next_attempt_at is not None
        delay = result.next_attempt_at - timezone.now()
        assert timedelta(seconds=7) < delay < timedelta(hours=5)
        waited += delay
        attempts += 1
    assert attempts >= 3
    assert waited < timedelta(hours=hours) * 1.2
    assert waited > timedelta(hours=hours) * 0.8 - timedelta(hours=5)
    # However often somebody asks for it again.
    many = Ready(1, "a@b.test", MESSAGE, 32767)
    assert outcomes.result_of(many, outcome, timedelta(hours=hours)).status == Status.FAILED


def test_accepted_is_sent() -> None:
    result = outcomes.result_of(
        Ready(7, "a@b.test", MESSAGE, 0), Accepted(Reply(250, "2.0.0", "ok as 123")), timedelta(0)
    )
    assert (result.contact_id, result.status, result.code, result.reply) == (
        7,
        "sent",
        250,
        "ok as 123",
    )


def test_a_letter_stopped_behind_its_end_is_unknown() -> None:
    outcome = Broken("body", "stopped", after_dot=True)
    result = outcomes.result_of(Ready(1, "a@b.test", WireMessage(b"", 0), 0), outcome, timedelta(1))
    assert result.status == Status.UNKNOWN
