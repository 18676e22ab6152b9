from __future__ import annotations

import smtplib

import pytest

from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact, Suppression
from apps.returns.models import InboundMessage, Report
from apps.returns.services import reading, receiving
from tests.apps.campaigns.letters_out import queue, send_all
from tests.apps.returns.mail import complaint, dsn, hand_in, plain, return_path
from tests.support.sandbox import LoopThread, Sandbox
from tests.support.worker import running_worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_report_by_mail_fails_its_letter_and_ends_mail(
    receiver: int, delivery: Delivery, contact: Contact
) -> None:
    with running_worker() as done:
        # Some servers write local parts in capitals or in small letters.
        hand_in(receiver, return_path(delivery).upper(), dsn(delivery))
        wait_for(lambda: InboundMessage.objects.filter(due_at=None).exists())
    assert "apps.returns.tasks.read_inbound" in done
    delivery.refresh_from_db()
    assert (delivery.status, delivery.stage, delivery.fault) == ("failed", "report", "mailbox")
    assert (delivery.code, delivery.reply) == (550, "550 5.1.1 No such user here")
    contact.refresh_from_db()
    assert contact.status == "bounced"
    report = Report.objects.get()
    assert (report.kind, report.effect, report.source) == ("bounce", "suppressed", "smtp")


@pytest.mark.parametrize(
    "local",
    ["b+00", "b", "news", "b+" + "0" * 58, "x+111", "unsubscribe+ab", "b+é", "b+" + "z" * 40],
)
def test_other_mail_is_turned_away(receiver: int, local: str) -> None:
    with smtplib.SMTP("127.0.0.1", receiver, timeout=20) as server:
        server.ehlo()
        server.mail("", options=["SMTPUTF8"])
        assert server.rcpt(f"{local}@returns.shop.test")[0] == 550
    assert not InboundMessage.objects.exists()


def test_a_forged_token_is_turned_away(receiver: int, delivery: Delivery) -> None:
    own = return_path(delivery)
    other = tokens.local_part(tokens.RETURN_PATH, delivery.campaign_id, delivery.contact_id + 1)
    forged = other[:-24] + own.partition("@")[0][-24:] + "@returns.shop.test"
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        hand_in(receiver, forged, dsn(delivery))


def test_the_same_message_twice_is_stored_once(receiver: int, delivery: Delivery) -> None:
    hand_in(receiver, return_path(delivery), dsn(delivery))
    hand_in(receiver, return_path(delivery), dsn(delivery))
    assert InboundMessage.objects.count() == 1


def test_a_large_message_is_kept_in_part(receiver: int, delivery: Delivery) -> None:
    data = dsn(delivery) + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 20_000
    hand_in(receiver, return_path(delivery), data)
    stored = InboundMessage.objects.get()
    assert len(stored.data) == receiving.LARGEST
    assert stored.size > receiving.LARGEST
    assert reading.read(stored.pk)
    assert Report.objects.get().effect == "suppressed"


def test_mail_to_the_unsubscribe_address_unsubscribes(
    receiver: int, delivery: Delivery, contact: Contact
) -> None:
    local = tokens.local_part("unsubscribe", delivery.campaign_id, delivery.contact_id)
    to = f"{local}@returns.shop.test"
    hand_in(receiver, to, plain("Out of office", Auto_Submitted="auto-replied"))
    hand_in(receiver, to, plain("unsubscribe"))
    for message in InboundMessage.objects.order_by("pk"):
        assert reading.read(message.pk)
    contact.refresh_from_db()
    assert contact.status == "unsubscribed"
    assert Suppression.objects.get().reason == "unsubscribed"
    assert sorted(Report.objects.values_list("kind", "effect")) == [
        ("auto_reply", "none"),
        ("unsubscribe", "suppressed"),
    ]


def test_reports_of_the_sandbox_come_back_the_real_way(
    receiver: int, sandbox: Sandbox, loop_thread: LoopThread, workspace
) -> None:
    from tests.support.factories import make_campaign

    sandbox.smtp._returns_port = receiver
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    late, angry, happy = queue(
        campaign, "latebounce@sandbox.test", "complain@sandbox.test", "anna@inbox.sandbox.test"
    )
    with running_worker():
        send_all(campaign)
        wait_for(lambda: InboundMessage.objects.filter(due_at=None).count() == 2)
    (letter,) = sandbox.to("anna@inbox.sandbox.test")
    assert letter.envelope_from.endswith("@returns.sandbox.test")
    assert tokens.read_local_part(letter.envelope_from.partition("@")[0])
    statuses = dict(Delivery.objects.filter(campaign=campaign).values_list("contact", "status"))
    assert statuses == {late.pk: "failed", angry.pk: "sent", happy.pk: "sent"}
    assert dict(Contact.objects.values_list("email", "status")) == {
        "latebounce@sandbox.test": "bounced",
        "complain@sandbox.test": "complained",
        "anna@inbox.sandbox.test": "subscribed",
    }


def test_killed_between_storing_and_applying(receiver: int, delivery: Delivery) -> None:
    """What was stored is due, so the sweeper rings for it."""
    hand_in(receiver, return_path(delivery), complaint(delivery))
    message = InboundMessage.objects.get()
    with running_worker() as done:
        assert receiving.ring_due() == 1
        wait_for(lambda: InboundMessage.objects.filter(due_at=None).exists())
    assert done == ["apps.returns.tasks.read_inbound"]
    assert receiving.ring_due() == 0
    assert not reading.read(message.pk)


def wait_for(condition) -> None:
    import time

    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
