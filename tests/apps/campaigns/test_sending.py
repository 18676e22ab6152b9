from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import letters, tasks, tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch, monitoring
from apps.campaigns.services.ledger import results
from apps.campaigns.services.sending import batches, connections, groups, slices
from apps.mailer.models import Contact
from mailkit.smtp.pool import Pool
from tests.apps.campaigns.letters_out import (
    make_all_due,
    only_row,
    parsed,
    queue,
    queue_many,
    send_all,
)
from tests.apps.campaigns.rows import statuses
from tests.support.concurrency import in_thread
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)
from tests.support.sandbox import LoopThread, Sandbox

State = Campaign.State
Status = Delivery.Status


# The whole way


def test_everybody_gets_one_letter_of_their_own(
    campaign: Campaign, sandbox: Sandbox, settings: LazySettings
) -> None:
    campaign.html = "<p>Hello {{ first_name }} {{ last_name }} from {{ city }}</p>"
    campaign.text = "Hello {{ first_name }} {{ last_name }} from {{ city }}"
    campaign.reply_to = "desk@inbox.sandbox.test"
    campaign.save()
    people = [
        make_contact(
            campaign.workspace,
            f"person{n}@inbox.sandbox.test",
            first_name=f"Anna{n}",
            last_name="<b>O'Hara</b>",
            fields={"city": "Нижний Новгород", "first_name": "overridden"},
        )
        for n in range(60)
    ]
    for contact in people:
        make_delivery(campaign, contact)
    send_all(campaign)
    assert len(sandbox.messages) == 60
    for contact in people:
        (stored,) = sandbox.to(contact.email)
        assert stored.inbox == str(campaign.workspace_id)
        local_part, _, domain = stored.envelope_from.partition("@")
        assert tokens.read_local_part(local_part) == ("b", campaign.pk, contact.pk)
        assert domain == "returns.sandbox.test"
        letter = parsed(stored.data)
        assert letter["Subject"] == f"News for {contact.first_name}"
        assert letter["To"] == contact.email
        assert letter["From"] == "Shop <news@inbox.sandbox.test>"
        assert letter["Reply-To"] == "desk@inbox.sandbox.test"
        assert letter["Message-ID"] == letters.message_id_of(
            campaign.pk, contact.pk, campaign.from_email
        )
        url = letter["List-Unsubscribe"].strip("<>")
        assert url.startswith(f"{settings.BASE_URL}/u/")
        token = url.removeprefix(f"{settings.BASE_URL}/u/").rstrip("/")
        found = tokens.read(tokens.Kind.UNSUBSCRIBE, token)
        assert found == (campaign.pk, contact.pk, 0)
        assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        text = letter.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        html = letter.get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert f"Hello {contact.first_name} <b>O'Hara</b> from Нижний Новгород" in text
        assert "&lt;b&gt;" in html
        assert "<b>" not in html
        assert url in text
        assert url in html
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert statuses(campaign) == {"sent": 60}
    row = Delivery.objects.filter(campaign=campaign)[0]
    assert (row.code, row.stage, row.attempts, row.token) == (250, "body", 1, None)


@pytest.mark.parametrize(
    ("email", "status", "stage", "code", "words", "received"),
    [
        ("nosuch@inbox.sandbox.test", "failed", "rcpt", 550, "5.1.1 No such user here", 0),
        ("full@inbox.sandbox.test", "failed", "rcpt", 552, "5.2.2 Mailbox full", 0),
        ("busy@inbox.sandbox.test", "deferred", "rcpt", 451, "4.3.0 Temporary failure", 0),
        ("grey@inbox.sandbox.test", "deferred", "rcpt", 451, "4.7.1 Greylisted", 0),
        ("dropalways@inbox.sandbox.test", "deferred", "body", None, "closed", 0),
        ("lost@inbox.sandbox.test", "unknown", "body", None, "closed", 1),
        ("anna@inbox.sandbox.test", "sent", "body", 250, "2.0.0 Ok", 1),
    ],
)
def test_each_fate_has_its_status_and_the_servers_words(
    campaign: Campaign,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    email: str,
    status: str,
    stage: str,
    code: int | None,
    words: str,
    received: int,
) -> None:
    monkeypatch.setattr(Pool, "_hold", lambda _pool: 0.5 if "drop" in email else 0.0)
    queue(campaign, email)
    send_all(campaign)
    row = only_row(campaign)
    assert (row.status, row.stage, row.code) == (status, stage, code)
    assert row.reply.startswith(words)
    assert len(sandbox.to(email)) == received
    campaign.refresh_from_db()
    assert (campaign.state == State.FINISHED) is (status != "deferred")
    assert (row.next_attempt_at is not None) is (status == "deferred")


def test_a_letter_dropped_once_arrives_once_with_the_same_message_id(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "_hold", lambda _pool: 0.5)
    (contact,) = queue(campaign, "drop@inbox.sandbox.test")
    send_all(campaign)
    assert only_row(campaign).status == Status.DEFERRED
    make_all_due(campaign)
    send_all(campaign)
    row = only_row(campaign)
    assert (row.status, row.attempts) == ("sent", 2)
    (stored,) = sandbox.messages
    assert stored.message_id == letters.message_id_of(campaign.pk, contact.pk, campaign.from_email)


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_send_each_letter_once(campaign: Campaign, sandbox: Sandbox) -> None:
    queue_many(campaign, 150)
    workers = [in_thread(send_all, campaign) for _ in range(3)]
    for worker in workers:
        worker.result(timeout=30)
    send_all(campaign)
    recipients = [stored.recipient for stored in sandbox.messages]
    assert len(recipients) == len(set(recipients)) == 150
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


def test_workspaces_send_through_their_own_door(workspace: Workspace, sandbox: Sandbox) -> None:
    for owner in (workspace, make_workspace()):
        campaign = make_campaign(owner, state=State.SENDING)
        queue(campaign, "same@inbox.sandbox.test")
        send_all(campaign)
    assert [stored.inbox for stored in sandbox.messages] == [
        str(pk) for pk in Workspace.objects.order_by("pk").values_list("pk", flat=True)
    ]


# Letters that cannot be made, people who are gone


def test_no_value_adds_a_header_a_recipient_or_a_command(
    campaign: Campaign, sandbox: Sandbox
) -> None:
    evil = "Anna\r\nBcc: evil@inbox.sandbox.test\r\n\r\n.\r\nMAIL FROM:<x@y.test>\u2028\x85\x00"
    contact = make_contact(
        campaign.workspace,
        "anna@inbox.sandbox.test",
        first_name=evil.replace("\0", ""),
        fields={"city": evil.replace("\0", "")},
    )
    make_delivery(campaign, contact)
    campaign.subject = "{{ first_name }} {{ city }}"
    campaign.text = ".\r\n{{ first_name }}\n.\n{{ city }}"
    campaign.save()
    send_all(campaign)
    (stored,) = sandbox.messages
    letter = parsed(stored.data)
    assert letter["Bcc"] is None
    assert letter.get_all("Subject") == [
        "Anna Bcc: evil@inbox.sandbox.test . MAIL FROM:<x@y.test>"
        " Anna Bcc: evil@inbox.sandbox.test . MAIL FROM:<x@y.test>"
    ]
    assert letter["To"] == "anna@inbox.sandbox.test"


@pytest.mark.parametrize(
    "email",
    [
        "a@inbox.sandbox.test\r\nRCPT TO:<evil@inbox.sandbox.test>",
        "a@inbox.sandbox.test>\nBcc: evil@inbox.sandbox.test",
        "a b@inbox.sandbox.test",
        "a@inbox.sandbox.test><evil@inbox.sandbox.test",
        "a@inbox.sandbox.test\u2028x",
    ],
)
def test_an_address_that_cannot_be_written_fails_alone(
    campaign: Campaign, sandbox: Sandbox, email: str
) -> None:
    (bad, good) = queue(campaign, email, "good@inbox.sandbox.test")
    send_all(campaign)
    row = Delivery.objects.get(campaign=campaign, contact=bad)
    assert row.status == Status.FAILED
    assert row.stage in {"compose", "mail"}
    assert row.reply
    assert Delivery.objects.get(campaign=campaign, contact=good).status == Status.SENT
    assert [stored.recipient for stored in sandbox.messages] == ["good@inbox.sandbox.test"]


def test_a_template_that_fails_for_one_contact_fails_for_that_one(
    campaign: Campaign, sandbox: Sandbox
) -> None:
    campaign.text = "{{ count | divided_by: by }}"
    campaign.save()
    for by in (0, 2):
        contact = make_contact(campaign.workspace, fields={"count": 10, "by": by})
        make_delivery(campaign, contact)
    send_all(campaign)
    assert statuses(campaign) == {"failed": 1, "sent": 1}
    row = Delivery.objects.get(campaign=campaign, status="failed")
    assert row.stage == "compose"
    assert row.reply.startswith("line 1")


def test_erased_and_unsubscribed_people_get_nothing(campaign: Campaign, sandbox: Sandbox) -> None:
    erased, unsubscribed, going = queue_many(campaign, 3)
    erased.delete()
    Contact.objects.filter(pk=unsubscribed.pk).update(status="unsubscribed")
    send_all(campaign)
    assert [stored.recipient for stored in sandbox.messages] == [going.email]
    assert statuses(campaign) == {"sent": 1, "suppressed": 2}


@pytest.mark.parametrize("state", ["draft", "preparing", "paused", "cancelling", "finished"])
def test_nothing_is_sent_in_another_state(
    workspace: Workspace, sandbox: Sandbox, state: str
) -> None:
    campaign = make_campaign(workspace, state=state)
    queue_many(campaign, 2)
    assert batches.send_batch(campaign.pk) is False
    assert sandbox.messages == []
    assert statuses(campaign) == {"queued": 2}


def test_a_late_doorbell_for_a_campaign_that_is_gone_does_nothing(db: None) -> None:
    assert batches.send_batch(10**9) is False
    batches.send_one(10**9, 1)
    tasks.send_single_email(test_send_id=10**9)
    launch.prepare_campaign(10**3 - 1)


# Processes that die


def test_what_a_dead_process_was_handing_over_is_unknown_and_stays_so(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 3)

    class Died(BaseException):
        pass

    def die(*_args: Any, **_options: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(connections.Sender, "hand_over", die)
        with pytest.raises(Died):
            batches.send_batch(campaign.pk)
    assert statuses(campaign) == {"handing_off": 3}
    Delivery.objects.update(lease_until=timezone.now() - timedelta(hours=1))
    monitoring.sweep()
    send_all(campaign)
    assert statuses(campaign) == {"unknown": 3}
    assert sandbox.messages == []


@pytest.mark.django_db(transaction=True)
def test_answers_outlast_a_database_that_is_away(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 3)
    monkeypatch.setattr(groups, "SETTLE_AGAIN_SECONDS", 0.01)
    settle, tries = results.settle, []

    def settle_in_the_end(*args: Any) -> None:
        tries.append(args)
        if len(tries) == 1:
            # As a server that stops at once does: the statement fails with its connection.
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        settle(*args)

    monkeypatch.setattr(results, "settle", settle_in_the_end)
    send_all(campaign)
    assert len(tries) == 2
    assert statuses(campaign) == {"sent": 3}
    assert len(sandbox.messages) == 3


def test_what_a_process_claimed_that_dies_before_the_hand_off_is_sent_by_another(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 3)
    with monkeypatch.context() as patch:
        patch.setattr(slices, "compose", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            batches.send_batch(campaign.pk)
    assert statuses(campaign) == {"queued": 3}
    send_all(campaign)
    assert statuses(campaign) == {"sent": 3}
    assert len(sandbox.messages) == 3


# Tasks and connections


def test_a_slice_that_ends_early_rings_for_the_next(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(tasks.send_email_batch, "delay", rung.append)
    queue_many(campaign, 2)
    with monkeypatch.context() as patch:
        patch.setattr(slices, "SLICE_SECONDS", -1.0)
        tasks.send_email_batch(campaign.pk)
    assert rung == [campaign.pk]
    assert sandbox.messages == []
    tasks.send_email_batch(campaign.pk)
    assert rung == [campaign.pk]
    assert len(sandbox.messages) == 2


def test_connections_are_counted_over_all_workspaces_of_a_relay(
    campaign: Campaign, sandbox: Sandbox, loop_thread: LoopThread
) -> None:
    for owner in (campaign.workspace, make_workspace()):
        one = make_campaign(owner, state=State.SENDING)
        queue(one, "anna@inbox.sandbox.test")
        send_all(one)
    sender = connections.sender()
    reports: list[str] = []

    class Store:
        async def hset(self, _key: str, _name: str, value: str) -> None:
            reports.append(value)

    report = sender._report(Store())  # type: ignore[arg-type]
    asyncio.run_coroutine_threadsafe(report, sender._loop).result(timeout=30)
    relay = json.loads(reports[0])["open"][f"127.0.0.1:{sandbox.smtp.port}"]
    assert relay == {"open": 2, "idle": 2, "sent": 2}


def test_forgotten_processes_leave_the_registry(settings: LazySettings) -> None:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete(connections.REGISTRY)
    now = time.time()
    kept = {"a": {"open": 2, "idle": 1, "sent": 9}, "b": {"open": 1, "idle": 1, "sent": 0}}
    store.hset(connections.REGISTRY, "living", json.dumps({"at": now, "open": kept}))
    store.hset(connections.REGISTRY, "gone", json.dumps({"at": now - 3600, "open": kept}))
    assert connections.close_idle_everywhere() == 3
    assert store.hkeys(connections.REGISTRY) == [b"living"]
    assert float(store.get(connections.CLEANUP_KEY) or 0) >= now


def test_the_pause_button_reaches_a_running_slice(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 10)
    monkeypatch.setattr(slices, "SMALLEST_GROUP", 3)
    send = slices.Slice._send

    def pause_after_the_first_group(*args: Any) -> int | None:
        rows = send(*args)
        if rows:
            launch.pause_campaign(campaign=campaign)
        return rows

    monkeypatch.setattr(slices.Slice, "_send", pause_after_the_first_group)
    assert batches.send_batch(campaign.pk) is False
    assert len(sandbox.messages) == 3
    assert statuses(campaign) == {"sent": 3, "queued": 7}


def test_lists_do_not_matter_once_it_is_launched(workspace: Workspace, sandbox: Sandbox) -> None:
    chosen = make_list(workspace)
    contact = make_contact(workspace, to=chosen)
    campaign = make_campaign(workspace, chosen, state=State.PREPARING)
    launch.prepare_campaign(campaign.pk)
    chosen.delete()
    send_all(campaign)
    assert [stored.recipient for stored in sandbox.messages] == [contact.email]
