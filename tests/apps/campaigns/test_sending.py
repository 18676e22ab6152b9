from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import letters, selectors, tasks, tokens
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import connections, launch, monitoring, sending
from apps.campaigns.services.ledger import Claimed
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.models import Contact
from apps.senders.models import Relay
from core import secrets
from core.errors import Conflict
from mailkit.smtp.client import Timeouts
from mailkit.smtp.outcomes import Accepted, Broken, Refused, Reply
from tests.mailkit.smtp.fake_server import DROP, EXTENSIONS, HANG, FakeServer
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
StartRelay = Callable[..., FakeServer]


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())


@pytest.fixture
def relay(workspace: Workspace, loop_thread: LoopThread) -> Iterator[StartRelay]:
    """Starts a server that follows a script, and makes it the workspace's relay."""
    with contextlib.ExitStack() as stack:

        def start(script: Any = None, **options: Any) -> FakeServer:
            fields = options.pop("relay", {})
            server = FakeServer(script, **options)
            loop_thread.run(server.__aenter__())
            stack.callback(lambda: loop_thread.run(server.__aexit__(None, None, None)))
            Relay.objects.create(
                workspace=workspace, host="127.0.0.1", port=server.port, security="none", **fields
            )
            return server

        yield start
        # Or the server would wait for the connections that are kept for the next letter.
        connections.sender().run(say_goodbye(), while_waiting=lambda: None)


async def say_goodbye() -> None:
    for pool in connections.sender()._pools.values():
        await pool.close_idle()


def queue(campaign: Campaign, *emails: str, **fields: Any) -> list[Contact]:
    contacts = [make_contact(campaign.workspace, email, first_name="Anna") for email in emails]
    for contact in contacts:
        make_delivery(campaign, contact, **fields)
    return contacts


def queue_many(campaign: Campaign, number: int, **fields: Any) -> list[Contact]:
    return queue(campaign, *(f"n{i}@inbox.sandbox.test" for i in range(number)), **fields)


def statuses(campaign: Campaign) -> dict[str, int]:
    return {status: n for status, n in selectors.status_counts(campaign).items() if n}


def only_row(campaign: Campaign) -> Delivery:
    return Delivery.objects.get(campaign=campaign)


def parsed(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=policy.default)


def send_all(campaign: Campaign) -> None:
    while sending.send_batch(campaign.pk):
        pass


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
        assert stored.envelope_from == campaign.from_email
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
        assert tokens.read(token) == (campaign.pk, contact.pk)
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
    monkeypatch.setattr(sending, "DROP_SHOWS_WITHIN", 0.5 if "drop" in email else 0.0)
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
    monkeypatch.setattr(sending, "DROP_SHOWS_WITHIN", 0.5)
    (contact,) = queue(campaign, "drop@inbox.sandbox.test")
    send_all(campaign)
    assert only_row(campaign).status == Status.DEFERRED
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(hours=1))
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


# Relays that misbehave


REFUSALS = [
    ({"BANNER": "554 5.3.2 not today"}, "deferred", "banner", 554, "5.3.2 not today"),
    ({"BANNER": "421 4.3.2 too busy"}, "deferred", "banner", 421, "4.3.2 too busy"),
    ({"BANNER": "no SMTP here"}, "deferred", "banner", None, "bad_reply"),
    ({"EHLO": "550 no", "HELO": "550 who?"}, "deferred", "ehlo", 550, "who?"),
    ({"AUTH": "535 5.7.8 wrong"}, "deferred", "auth", 535, "5.7.8 wrong"),
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
    ({"BANNER": DROP}, "deferred", "banner", None, "closed"),
    ({"EHLO": DROP}, "deferred", "ehlo", None, "closed"),
    ({"AUTH": DROP}, "deferred", "auth", None, "closed"),
    ({"MAIL": DROP}, "deferred", "mail", None, "closed"),
    ({"RCPT": DROP}, "deferred", "rcpt", None, "closed"),
    ({"DATA": DROP}, "deferred", "data", None, "closed"),
    ({"BODY": DROP}, "deferred", "body", None, "closed"),
    ({"DOT": DROP}, "unknown", "body", None, "closed"),
]
HANGS = [
    ({"BANNER": HANG}, "deferred", "banner", None, "timeout"),
    ({"EHLO": HANG}, "deferred", "ehlo", None, "timeout"),
    ({"MAIL": HANG}, "deferred", "mail", None, "timeout"),
    ({"RCPT": HANG}, "deferred", "rcpt", None, "timeout"),
    ({"DATA": HANG}, "deferred", "data", None, "timeout"),
    ({"DOT": HANG}, "unknown", "body", None, "timeout"),
]


@pytest.mark.parametrize(
    ("script", "status", "stage", "code", "words"), [*REFUSALS, *BREAKS, *HANGS], ids=str
)
def test_what_the_relay_says_at_every_step_decides(
    campaign: Campaign,
    relay: StartRelay,
    monkeypatch: pytest.MonkeyPatch,
    script: Any,
    status: str,
    stage: str,
    code: int | None,
    words: str,
) -> None:
    patience = {} if script not in [hang[0] for hang in HANGS] else {stage: 0.2}
    patience = {
        {"data": "data_init", "body": "data_done"}.get(name, name): seconds
        for name, seconds in patience.items()
    }
    monkeypatch.setattr(connections, "TIMEOUTS", Timeouts(**patience))
    monkeypatch.setattr(sending, "DROP_SHOWS_WITHIN", 0.5 if "BODY" in script else 0.0)
    server = relay(
        script,
        extensions=[*EXTENSIONS, "AUTH PLAIN"],
        relay={"username": "shop", "password_encrypted": secrets.encrypt("s3cret")},
    )
    queue(campaign, "anna@inbox.sandbox.test")
    assert not sending.send_batch(campaign.pk)
    row = only_row(campaign)
    assert (row.status, row.stage, row.code) == (status, stage, code)
    assert row.reply.startswith(words), row.reply
    assert (row.token, row.lease_until) == (None, None)
    assert server.accepted == []
    if status == "deferred":
        assert row.next_attempt_at is not None
        assert row.next_attempt_at > timezone.now()
    # A second look changes nothing: no row of it is tried again before its time.
    assert not sending.send_batch(campaign.pk)
    assert only_row(campaign).status == status


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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_relay_that_is_down_fails_nobody(campaign: Campaign) -> None:
    Relay.objects.create(
        workspace=campaign.workspace, host="127.0.0.1", port=free_port(), security="none"
    )
    # However long ago it was launched: a pause or a large audience is not the letter's fault.
    campaign.launched_at = timezone.now() - timedelta(days=30)
    campaign.save()
    queue_many(campaign, sending.GROUP + 10)
    # It does not go through the rest of the audience to find that out again and again.
    assert sending.send_batch(campaign.pk) is False
    assert statuses(campaign) == {"deferred": sending.GROUP, "queued": 10}
    row = Delivery.objects.filter(campaign=campaign, status="deferred")[0]
    assert (row.stage, row.attempts) == ("connect", 1)
    assert row.reply.startswith("refused")
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING


def test_the_relay_comes_back(campaign: Campaign, relay: StartRelay) -> None:
    server = relay({"BANNER": ["421 down", "421 down", "421 down", "421 down", "421 down", "220"]})
    queue_many(campaign, 10)
    assert sending.send_batch(campaign.pk) is False
    assert statuses(campaign) == {"deferred": 10}
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(hours=1))
    monitoring.sweep()
    send_all(campaign)
    assert statuses(campaign) == {"sent": 10}
    assert len(server.accepted) == 10


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


def test_rows_whose_turn_does_not_come_wait_without_an_attempt(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 5)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "BEGIN_WITHIN", -1.0)
        assert sending.send_batch(campaign.pk) is False
    assert set(Delivery.objects.values_list("status", "stage", "attempts")) == {("deferred", "", 0)}
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(hours=1))
    send_all(campaign)
    assert len(sandbox.messages) == 5


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
        result = sending.result_of(
            Claimed(1, "a@b.test", attempts), outcome, timedelta(hours=hours)
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
    many = Claimed(1, "a@b.test", 32767)
    assert sending.result_of(many, outcome, timedelta(hours=hours)).status == Status.FAILED


def test_accepted_is_sent() -> None:
    result = sending.result_of(
        Claimed(7, "a@b.test", 0), Accepted(Reply(250, "2.0.0", "ok as 123")), timedelta(0)
    )
    assert (result.contact_id, result.status, result.code, result.reply) == (
        7,
        "sent",
        250,
        "ok as 123",
    )


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
    assert sending.send_batch(campaign.pk) is False
    assert sandbox.messages == []
    assert statuses(campaign) == {"queued": 2}


def test_a_late_doorbell_for_a_campaign_that_is_gone_does_nothing(db: None) -> None:
    assert sending.send_batch(10**9) is False
    sending.send_one(10**9, 1)
    tasks.send_single_email(test_send_id=10**9)
    launch.prepare_campaign(10**3 - 1)


# Processes that die


def test_what_a_dead_process_was_handing_over_is_unknown_and_stays_so(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 3)

    class Died(BaseException):
        pass

    def die(_sender: connections.Sender, work: Any, **_options: Any) -> None:
        work.close()
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(connections.Sender, "run", die)
        with pytest.raises(Died):
            sending.send_batch(campaign.pk)
    assert statuses(campaign) == {"handing_off": 3}
    Delivery.objects.update(lease_until=timezone.now() - timedelta(hours=1))
    monitoring.sweep()
    send_all(campaign)
    assert statuses(campaign) == {"unknown": 3}
    assert sandbox.messages == []


def test_what_a_dead_process_had_claimed_is_sent_by_another(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 3)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "_compose", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sending.send_batch(campaign.pk)
    assert statuses(campaign) == {"claimed": 3}
    Delivery.objects.update(lease_until=timezone.now() - timedelta(hours=1))
    monitoring.sweep()
    send_all(campaign)
    assert statuses(campaign) == {"sent": 3}
    assert len(sandbox.messages) == 3


# Once more, because a person asked


@pytest.mark.parametrize("status", ["failed", "unknown"])
def test_a_retry_opens_a_finished_campaign_until_it_is_final(
    campaign: Campaign,
    sandbox: Sandbox,
    status: str,
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rung: list[dict[str, int]] = []
    monkeypatch.setattr(tasks.send_single_email, "delay", lambda **ids: rung.append(ids))
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=status, attempts=1)
    Campaign.objects.update(state=State.FINISHED, finished_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        retry_delivery(campaign=campaign, contact_id=contact.pk)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.finished_at) == (State.SENDING, None)
    assert rung == [{"campaign_id": campaign.pk, "contact_id": contact.pk}]
    tasks.send_single_email(**rung[0])
    tasks.send_single_email(**rung[0])
    assert len(sandbox.messages) == 1
    row = only_row(campaign)
    assert (row.status, row.attempts) == ("sent", 2)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert campaign.finished_at is not None


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *(("sending", status) for status in Status.values if status not in {"failed", "unknown"}),
        ("cancelling", "failed"),
        ("cancelled", "failed"),
        ("preparing", "failed"),
    ],
)
def test_other_rows_are_not_sent_again(workspace: Workspace, state: str, status: str) -> None:
    campaign = make_campaign(workspace, state=state)
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=status)
    with pytest.raises(Conflict):
        retry_delivery(campaign=campaign, contact_id=contact.pk)
    campaign.refresh_from_db()
    assert campaign.state == state
    assert statuses(campaign) == {status: 1}


def test_a_retry_of_nobody_leaves_a_finished_campaign_finished(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.FINISHED)
    with pytest.raises(Conflict):
        retry_delivery(campaign=campaign, contact_id=1)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


def test_a_retry_in_a_paused_campaign_waits_for_its_end(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    campaign = make_campaign(workspace, state=State.PAUSED)
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=Status.FAILED)
    retry_delivery(campaign=campaign, contact_id=contact.pk)
    sending.send_one(campaign.pk, contact.pk)
    assert statuses(campaign) == {"queued": 1}
    assert sandbox.messages == []


# Test letters


def test_a_test_letter_says_what_became_of_it(campaign: Campaign, sandbox: Sandbox) -> None:
    fates = {"anna": "sent", "nosuch": "failed", "busy": "failed", "lost": "unknown"}
    for word, state in fates.items():
        test = TestSend.objects.create(campaign=campaign, to=f"{word}@inbox.sandbox.test")
        sending.send_test_letter(test.pk)
        sending.send_test_letter(test.pk)
        test.refresh_from_db()
        assert test.state == state, word
        assert test.reply
    assert len(sandbox.to("anna@inbox.sandbox.test")) == 1
    letter = parsed(sandbox.messages[0].data)
    assert letter["List-Unsubscribe"] is None
    assert letter["Message-ID"].startswith("<test.")
    assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_send_a_test_letter_once(campaign: Campaign, sandbox: Sandbox) -> None:
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        tasks.send_single_email(test_send_id=test.pk)

    for worker in [in_thread(work) for _ in range(3)]:
        worker.result(timeout=30)
    assert len(sandbox.messages) == 1


def test_a_test_letter_that_cannot_be_made_says_why(campaign: Campaign, sandbox: Sandbox) -> None:
    Campaign.objects.update(text="{{ 1 | divided_by: 0 }}")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    sending.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.FAILED
    assert "line 1" in test.reply
    assert sandbox.messages == []


def test_a_test_letter_given_up_too_early_is_settled_after_all(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    run = connections.Sender.run

    def slowly(self: Any, work: Any, **options: Any) -> Any:
        TestSend.objects.update(state=TestSend.State.UNKNOWN)
        return run(self, work, **options)

    monkeypatch.setattr(connections.Sender, "run", slowly)
    sending.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.SENT


def test_a_test_letter_has_the_values_of_the_contact_of_this_workspace(
    campaign: Campaign, sandbox: Sandbox
) -> None:
    make_contact(make_workspace(), "anna@inbox.sandbox.test", first_name="Stranger")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    sending.send_test_letter(test.pk)
    make_contact(campaign.workspace, "anna@inbox.sandbox.test", first_name="Ours")
    test = TestSend.objects.create(campaign=campaign, to="anna@inbox.sandbox.test")
    sending.send_test_letter(test.pk)
    assert [stored.subject for stored in sandbox.messages] == ["News for Anna", "News for Ours"]


# Tasks and connections


def test_a_slice_that_ends_early_rings_for_the_next(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(tasks.send_email_batch, "delay", rung.append)
    queue_many(campaign, 2)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "SLICE_SECONDS", -1.0)
        tasks.send_email_batch(campaign.pk)
    assert rung == [campaign.pk]
    assert sandbox.messages == []
    tasks.send_email_batch(campaign.pk)
    assert rung == [campaign.pk]
    assert len(sandbox.messages) == 2


def test_the_senders_own_errors_come_out(db: None) -> None:
    async def too_late() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        connections.sender().run(too_late(), while_waiting=lambda: None)


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

    sender.run(sender._report(Store()), while_waiting=lambda: None)  # type: ignore[arg-type]
    assert f'"127.0.0.1:{sandbox.smtp.port}": 2' in reports[0]


def test_forgotten_processes_leave_the_registry(settings: LazySettings) -> None:
    import json
    import time

    import redis

    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete(connections.REGISTRY)
    now = time.time()
    store.hset(connections.REGISTRY, "living", json.dumps({"at": now, "open": {"a": 2, "b": 1}}))
    store.hset(connections.REGISTRY, "gone", json.dumps({"at": now - 3600, "open": {"a": 7}}))
    assert connections.close_idle_everywhere() == 3
    assert store.hkeys(connections.REGISTRY) == [b"living"]
    assert float(store.get(connections.CLEANUP_KEY) or 0) >= now


def test_the_pause_button_reaches_a_running_slice(
    campaign: Campaign, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_many(campaign, 10)
    monkeypatch.setattr(sending, "GROUP", 3)
    send_rows = sending.send_rows

    def pause_after_the_first_group(*args: Any) -> bool:
        went_on = send_rows(*args)
        launch.pause_campaign(campaign=campaign)
        return went_on

    monkeypatch.setattr(sending, "send_rows", pause_after_the_first_group)
    assert sending.send_batch(campaign.pk) is False
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
