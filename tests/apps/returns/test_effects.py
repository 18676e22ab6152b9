from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import selectors, tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import soft_bounces
from apps.mailer.models import Contact, Suppression
from apps.returns import people
from apps.returns.models import InboundMessage, Report
from apps.returns.services import reading, receiving
from apps.senders.models import SendingPolicy
from apps.tracking.models import Event
from tests.apps.returns.mail import complaint, dsn, plain, return_path
from tests.support.concurrency import in_thread
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_user,
    make_workspace,
)

pytestmark = pytest.mark.django_db


def come_back(data: bytes, to: str) -> InboundMessage:
    """A message as the receiver keeps it, read."""
    message = receiving.store(source="smtp", data=data, recipient=to)
    assert message is not None
    assert reading.read(message.pk)
    message.refresh_from_db()
    return message


def tally(campaign: Campaign) -> dict[tuple[str, str, str], int]:
    return {key: n for key, n in selectors.tallied(campaign).by_kind.items() if n}


def test_a_hard_bounce(delivery: Delivery, contact: Contact, campaign: Campaign) -> None:
    assert come_back(dsn(delivery), return_path(delivery)).kind == "bounce"
    contact.refresh_from_db()
    assert contact.status == "bounced"
    assert tally(campaign) == {("gmail", "failed", "mailbox"): 1}
    (event,) = Event.objects.all()
    assert (event.kind, event.detail, event.provider) == ("bounce", "mailbox", "gmail")


def test_a_letter_fails_once(delivery: Delivery) -> None:
    come_back(dsn(delivery), return_path(delivery))
    come_back(dsn(delivery, "550 5.1.1 Again"), return_path(delivery))
    assert Event.objects.count() == 1
    delivery.refresh_from_db()
    assert delivery.reply == "550 5.1.1 No such user here"
    assert sorted(Report.objects.values_list("effect", flat=True)) == ["none", "suppressed"]


@pytest.mark.parametrize(
    ("said", "status", "fault"),
    [
        ("552 5.2.2 Mailbox full", "5.2.2", "full"),
        ("550 5.7.1 Blocked by Spamhaus", "5.7.1", "spam"),
        ("550 5.7.1 Message rejected due to policy", "5.7.1", "policy"),
        ("550 5.7.26 Unauthenticated mail, SPF and DKIM failed", "5.7.26", "authentication"),
        ("552 5.3.4 Message too big", "5.3.4", "size"),
        ("connect to mx.example[192.0.2.1]:25: Connection timed out", "4.4.1", "network"),
    ],
)
def test_other_bounces_leave_the_contact_alone(
    delivery: Delivery, contact: Contact, said: str, status: str, fault: str
) -> None:
    come_back(dsn(delivery, said, status=status), return_path(delivery))
    delivery.refresh_from_db()
    contact.refresh_from_db()
    assert (delivery.status, delivery.fault) == ("failed", fault)
    assert contact.status == "subscribed"
    assert not Suppression.objects.exists()


def test_a_forwarding_that_ends_nowhere_is_no_proof(delivery: Delivery, contact: Contact) -> None:
    come_back(dsn(delivery, recipient="gone@elsewhere.example"), return_path(delivery))
    delivery.refresh_from_db()
    contact.refresh_from_db()
    assert (delivery.status, contact.status) == ("failed", "subscribed")


def test_delays_and_automatic_answers_change_nothing(delivery: Delivery, contact: Contact) -> None:
    to = return_path(delivery)
    later = dsn(delivery, "451 4.2.2 Mailbox full", status="4.2.2", action="delayed")
    assert come_back(later, to).kind == "delayed"
    assert come_back(plain("Out of office", Auto_Submitted="auto-replied"), to).kind == "auto_reply"
    assert come_back(plain("Re: News", "Thank you!"), to).kind == "other"
    delivery.refresh_from_db()
    contact.refresh_from_db()
    assert (delivery.status, contact.status) == ("sent", "subscribed")
    assert set(Report.objects.values_list("effect", flat=True)) == {"none"}
    assert not Event.objects.exists()


def test_a_complaint_is_heard_everywhere_and_counts_once(
    delivery: Delivery, contact: Contact, campaign: Campaign, workspace: Workspace
) -> None:
    running = make_campaign(workspace, state=Campaign.State.SENDING)
    waiting = make_delivery(running, contact, status="queued")
    come_back(complaint(delivery), return_path(delivery))
    come_back(complaint(delivery) + b"again\r\n", return_path(delivery))
    contact.refresh_from_db()
    waiting.refresh_from_db()
    assert (contact.status, waiting.status) == ("complained", "suppressed")
    assert Suppression.objects.get().reason == "complained"
    assert tally(campaign) == {("gmail", "sent", ""): 1, ("gmail", "complained", ""): 1}
    assert [event.kind for event in Event.objects.all()] == ["complaint"]
    assert selectors.status_counts(campaign)["sent"] == 1


def test_a_complaint_settles_an_unknown_letter(delivery: Delivery) -> None:
    Delivery.objects.update(status="unknown")
    come_back(complaint(delivery), return_path(delivery))
    delivery.refresh_from_db()
    assert delivery.status == "sent"


def test_a_report_without_a_token_does_nothing(delivery: Delivery, contact: Contact) -> None:
    data = dsn(delivery)
    message_id = data[data.index(b"<", data.index(b"Message-ID")) :].partition(b">")[0]
    come_back(data.replace(message_id, b"<1.2.AAAAAAAAAAAAAAAA@shop.test"), "bounces@shop.test")
    delivery.refresh_from_db()
    contact.refresh_from_db()
    assert (delivery.status, contact.status) == ("sent", "subscribed")
    assert not Report.objects.exists()


def test_our_message_id_is_a_token_too(delivery: Delivery) -> None:
    """What a loop sends to one mailbox for all has nothing else."""
    come_back(dsn(delivery), "feedback@shop.test")
    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_a_report_that_is_faster_than_the_answer_waits(
    delivery: Delivery, contact: Contact
) -> None:
    Delivery.objects.update(status="handing_off", lease_until=timezone.now())
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    assert not reading.read(message.pk)
    assert not Report.objects.exists()
    Delivery.objects.update(status="sent", lease_until=None)
    InboundMessage.objects.update(due_at=timezone.now())
    assert reading.read(message.pk)
    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_a_message_that_ends_its_reader_is_given_up(delivery: Delivery) -> None:
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    for _ in range(reading.MOST_ATTEMPTS):
        assert reading._take(message.pk) is not None  # and dies
        assert reading._take(message.pk) is None  # is somebody's
        InboundMessage.objects.update(due_at=timezone.now())
    assert not reading.read(message.pk)
    message.refresh_from_db()
    assert message.due_at is None


@pytest.mark.django_db(transaction=True)
def test_two_workers_on_one_message(delivery: Delivery) -> None:
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    workers = [in_thread(reading.read, message.pk) for _ in range(4)]
    assert sorted(worker.result(timeout=60) for worker in workers) == [False, False, False, True]
    assert Report.objects.count() == Event.objects.count() == 1


def test_a_slow_reader_whose_message_was_taken_over_does_nothing(delivery: Delivery) -> None:
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    slow = reading._take(message.pk)
    assert slow is not None
    InboundMessage.objects.update(due_at=timezone.now())
    assert reading.read(message.pk)
    assert not reading._apply(slow)
    assert Report.objects.count() == 1


def soft(workspace: Workspace, contact: Contact, days: list[int], **fields: str) -> None:
    """Failed letters so many days ago."""
    for ago in days:
        sent = make_campaign(workspace, state=Campaign.State.FINISHED, launched_at=timezone.now())
        at = timezone.now() - timedelta(days=ago)
        make_delivery(
            sent, contact, **{"status": "failed", "fault": "full"} | fields, updated_at=at
        )


@pytest.mark.parametrize(
    ("days", "status"),
    [
        ([20, 15, 10, 5], "bounced"),
        ([14, 10, 5, 1], "subscribed"),  # within 15 days
        ([30, 20, 10], "subscribed"),  # four with the last one
    ],
)
def test_soft_bounces_add_up(
    delivery: Delivery, contact: Contact, workspace: Workspace, days: list[int], status: str
) -> None:
    soft(workspace, contact, days)
    come_back(dsn(delivery, "552 5.2.2 Mailbox full", status="5.2.2"), return_path(delivery))
    contact.refresh_from_db()
    assert contact.status == status


def test_an_accepted_letter_ends_the_row_of_soft_bounces(
    delivery: Delivery, contact: Contact, workspace: Workspace
) -> None:
    soft(workspace, contact, [30, 25, 20, 15])
    soft(workspace, contact, [10], status="sent", fault="")
    come_back(dsn(delivery, "552 5.2.2 Mailbox full", status="5.2.2"), return_path(delivery))
    contact.refresh_from_db()
    assert contact.status == "subscribed"


def test_blocks_never_add_up(workspace: Workspace, contact: Contact, delivery: Delivery) -> None:
    soft(workspace, contact, [40, 30, 20, 10], fault="spam")
    said = "550 5.7.1 Blocked using Spamhaus"
    come_back(dsn(delivery, said, status="5.7.1"), return_path(delivery))
    assert soft_bounces.review(workspace, [contact.pk]) == 0
    contact.refresh_from_db()
    assert contact.status == "subscribed"


def test_late_complaints_stop_a_campaign(workspace: Workspace) -> None:
    SendingPolicy.objects.create(workspace=workspace, least_sample=4, complaint_percent=30)
    running = make_campaign(workspace, state=Campaign.State.SENDING)
    rows = [make_delivery(running, make_contact(workspace), status="sent") for _ in range(4)]
    make_delivery(running, make_contact(workspace), status="queued")
    for row in rows[:2]:
        running.refresh_from_db()
        assert running.state == "sending"
        come_back(complaint(row), return_path(row))
    running.refresh_from_db()
    assert running.state == "paused"
    assert "complained" in running.pause_reason


def test_a_workspace_cannot_touch_another(delivery: Delivery, contact: Contact) -> None:
    """A letter's token that came by a mailbox of somebody else."""
    other = make_workspace(make_user())
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    InboundMessage.objects.update(workspace=other)
    assert reading.read(message.pk)
    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert not Report.objects.exists()


def test_reports_outlive_an_erased_contact(delivery: Delivery, contact: Contact) -> None:
    Contact.objects.filter(pk=contact.pk).delete()
    come_back(dsn(delivery), return_path(delivery))
    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_erasing_a_person_reaches_the_reports(delivery: Delivery, contact: Contact) -> None:
    message = come_back(dsn(delivery), return_path(delivery))
    (event,) = people.timeline(contact, None, 10)
    assert (event.kind, event.detail) == ("bounce", "550 5.1.1 No such user here")
    people.erase(contact)
    message.refresh_from_db()
    report = Report.objects.get()
    assert (bytes(message.data), report.recipient, report.text) == (b"", "", "")
    assert report.kind == "bounce"


def test_old_messages_are_forgotten_and_reports_stay(delivery: Delivery) -> None:
    come_back(dsn(delivery), return_path(delivery))
    InboundMessage.objects.update(received_at=timezone.now() - timedelta(days=91))
    fresh = receiving.store(source="smtp", data=b"x", recipient=return_path(delivery))
    assert receiving.remove_old() == 1
    assert list(InboundMessage.objects.all()) == [fresh]
    assert Report.objects.get().message is None


def test_tokens_of_one_mailbox_do_not_fit_another() -> None:
    local = tokens.local_part("b", 3, 4)
    assert tokens.read_local_part(local) == ("b", 3, 4)
    assert tokens.read_local_part(local.replace("b+", "unsubscribe+", 1)) is None
    assert len(tokens.local_part("unsubscribe", 2**48 - 1, 2**48 - 1)) <= 64
    assert len(tokens.local_part("b", 2**63 - 1, 2**63 - 1)) <= 64
