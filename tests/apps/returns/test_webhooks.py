from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact
from apps.returns.models import Report, Webhook
from apps.tracking.models import Event
from tests.apps.returns.hooks import hook, message_id, post, state
from tests.support.factories import make_contact, make_delivery, make_user, make_workspace

pytestmark = pytest.mark.django_db


# Mailgun.


def mailgun(row: Delivery, key: str, **event: Any) -> dict[str, Any]:
    stamp, token = "1793600000", "t" * 50
    signature = hmac.new(key.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()
    return {
        "signature": {"timestamp": stamp, "token": token, "signature": signature},
        "event-data": {
            "id": "e1",
            "event": "failed",
            "severity": "permanent",
            "recipient": row.email,
            "delivery-status": {"code": 550, "message": "5.1.1 No such user"},
            "message": {"headers": {"message-id": message_id(row).strip("<>")}},
        }
        | event,
    }


def test_mailgun(client: Client, workspace: Workspace, delivery: Delivery) -> None:
    webhook = hook(workspace, "mailgun", "k")
    assert post(client, "mailgun", mailgun(delivery, "wrong")) == 403
    assert state(delivery) == ("sent", "", "subscribed")
    assert post(client, "mailgun", mailgun(delivery, "k")) == 200
    assert state(delivery) == ("failed", "mailbox", "bounced")
    webhook.refresh_from_db()
    assert webhook.received_at is not None


def test_a_replayed_notice_is_harmless(
    client: Client, workspace: Workspace, delivery: Delivery
) -> None:
    hook(workspace, "mailgun", "k")
    body = mailgun(delivery, "k")
    other = json.loads(json.dumps(body))
    other["event-data"]["log-level"] = "error"  # the same event, told in other words
    for one in (body, body, other):
        assert post(client, "mailgun", one) == 200
    assert Report.objects.count() == Event.objects.count() == 1


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"severity": "temporary"}, ("sent", "", "subscribed")),
        ({"event": "complained"}, ("sent", "", "complained")),
        ({"event": "unsubscribed"}, ("sent", "", "unsubscribed")),
        ({"event": "opened"}, ("sent", "", "subscribed")),
    ],
)
def test_other_events(
    client: Client,
    workspace: Workspace,
    delivery: Delivery,
    event: dict[str, str],
    expected: tuple[str, str, str],
) -> None:
    hook(workspace, "mailgun", "k")
    assert post(client, "mailgun", mailgun(delivery, "k", **event)) == 200
    assert state(delivery) == expected


# SendGrid.


def test_sendgrid(client: Client, workspace: Workspace, delivery: Delivery) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hook(workspace, "sendgrid", base64.b64encode(public).decode())
    event = {
        "event": "bounce",
        "email": delivery.email,
        "smtp-id": message_id(delivery),
        "sg_event_id": "1",
        "status": "5.2.2",
        "reason": "552 5.2.2 mailbox full",
    }
    body = json.dumps([event]).encode()
    signed = key.sign(b"1793600000" + body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "x-twilio-email-event-webhook-timestamp": "1793600000",
        "x-twilio-email-event-webhook-signature": base64.b64encode(signed).decode(),
    }
    assert post(client, "sendgrid", body) == 403
    assert post(client, "sendgrid", body + b" ", **headers) == 403
    assert post(client, "sendgrid", body, **headers) == 200
    assert state(delivery) == ("failed", "full", "subscribed")


# Postmark and Brevo.


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_password(client: Client, workspace: Workspace, delivery: Delivery, scheme: str) -> None:
    hook(workspace, "brevo", "s3cret")
    event = {"event": "hard_bounce", "email": delivery.email, "message-id": message_id(delivery)}
    wrong, right = "bearer nothing", "bearer s3cret"
    if scheme == "basic":
        wrong = "basic " + base64.b64encode(b"user:x").decode()
        right = "basic " + base64.b64encode(b"user:s3cret").decode()
    assert post(client, "brevo", event) == 403
    assert post(client, "brevo", event, authorization=wrong) == 403
    assert post(client, "brevo", event, authorization=right) == 200
    assert state(delivery) == ("failed", "mailbox", "bounced")


def test_postmark_names_no_message_of_ours(
    client: Client, workspace: Workspace, delivery: Delivery
) -> None:
    """The newest letter to the address then."""
    hook(workspace, "postmark")
    event = {
        "RecordType": "SpamComplaint",
        "ID": 42,
        "Type": "SpamComplaint",
        "Email": delivery.email,
        "MessageID": "884953d8-0000-0000-0000-000000000000",
    }
    assert post(client, "postmark", event) == 200
    assert state(delivery) == ("sent", "", "complained")
    assert Report.objects.get().campaign_id == delivery.campaign_id


def test_a_no_counts_though_nobody_knows_the_letter(
    client: Client, workspace: Workspace, campaign: Campaign
) -> None:
    hook(workspace, "brevo")
    Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.SENDING, launched_at=None)
    contact = make_contact(workspace, "old@example.net")
    waiting = make_delivery(campaign, contact)
    event = {"event": "unsubscribed", "email": "old@example.net", "message-id": "<of@another>"}
    assert post(client, "brevo", event) == 200
    assert state(waiting) == ("suppressed", "", "unsubscribed")
    assert Report.objects.get().effect == Report.Effect.SUPPRESSED


def test_somebody_whom_nothing_was_sent_lately(client: Client, workspace: Workspace) -> None:
    hook(workspace, "postmark")
    contact = Contact.objects.create(workspace=workspace, email="old@example.net")
    event = {"RecordType": "Bounce", "ID": 1, "Type": "HardBounce", "Email": "OLD@example.net"}
    assert post(client, "postmark", event) == 200
    contact.refresh_from_db()
    assert contact.status == "bounced"


# UniSender Go.


def unisender(row: Delivery, key: str, status: str = "hard_bounced") -> bytes:
    event = {
        "event_name": "transactional_email_status",
        "event_data": {
            "email": row.email,
            "status": status,
            "metadata": {"message_id": message_id(row)},
            "delivery_info": {
                "delivery_status": "err_user_unknown",
                "destination_response": "550 No such user",
            },
        },
    }
    body = json.dumps({"auth": key, "events_by_user": [{"user_id": 1, "events": [event]}]})
    return body.replace(key, hashlib.md5(body.encode()).hexdigest()).encode()


def test_unisender(client: Client, workspace: Workspace, delivery: Delivery) -> None:
    hook(workspace, "unisender", "api-key-of-the-account")
    assert client.get("/hooks/unisender/key-of-unisender/").status_code == 200
    body = unisender(delivery, "api-key-of-the-account")
    assert post(client, "unisender", body.replace(b"hard", b"soft")) == 403
    assert post(client, "unisender", body) == 200
    assert state(delivery) == ("failed", "mailbox", "bounced")


# All of them.


@pytest.mark.parametrize("provider", Webhook.Provider.values)
def test_the_address_is_a_secret(client: Client, workspace: Workspace, provider: str) -> None:
    hook(workspace, provider, "k")
    other = "ses" if provider != "ses" else "brevo"
    assert client.post(f"/hooks/{provider}/wrong/").status_code == 404
    assert client.post(f"/hooks/{other}/key-of-{provider}/").status_code == 404


@pytest.mark.parametrize("provider", Webhook.Provider.values)
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"[[[", b"[" * 100_000, b'{"auth": 1}', b"\xff", b"[1, {}]"],
)
def test_nonsense_is_no_error(
    client: Client, workspace: Workspace, provider: str, body: bytes
) -> None:
    hook(workspace, provider)
    assert post(client, provider, body) in (200, 403)
    assert not Report.objects.exists()


def test_a_letter_of_another_workspace_is_left_alone(client: Client, delivery: Delivery) -> None:
    hook(make_workspace(make_user()), "brevo")
    event = {"event": "hard_bounce", "email": delivery.email, "message-id": message_id(delivery)}
    assert post(client, "brevo", event) == 200
    assert state(delivery) == ("sent", "", "subscribed")
