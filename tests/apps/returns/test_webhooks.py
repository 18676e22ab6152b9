from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from django.core.cache import cache
from django.test import Client

from apps.accounts.models import Workspace
from apps.campaigns import letters
from apps.campaigns.models import Delivery
from apps.mailer.models import Contact
from apps.returns.models import InboundMessage, Report, Webhook
from apps.returns.services import notices, reading
from apps.tracking.models import Event
from core import secrets
from tests.apps.returns.mail import return_path

pytestmark = pytest.mark.django_db
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"


def hook(workspace: Workspace, provider: str, secret: str = "") -> Webhook:
    return Webhook.objects.create(
        workspace=workspace,
        provider=provider,
        key=f"key-of-{provider}",
        secret_encrypted=secrets.encrypt(secret),
    )


def post(client: Client, provider: str, body: Any, **headers: str) -> int:
    """The status of the answer; what was stored is read."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(
        f"/hooks/{provider}/key-of-{provider}/",
        data,
        content_type="application/json",
        headers=headers,
    )
    for message in InboundMessage.objects.exclude(due_at=None):
        reading.read(message.pk)
    return answer.status_code


def message_id(row: Delivery) -> str:
    return letters.message_id_of(row.campaign_id, row.contact_id, "news@shop.test")


def state(delivery: Delivery) -> tuple[str, str, str]:
    delivery.refresh_from_db()
    contact = Contact.objects.get(pk=delivery.contact_id)
    return delivery.status, delivery.fault, contact.status


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


# Amazon.


@pytest.fixture
def amazon() -> rsa.RSAPrivateKey:
    """A key whose certificate has been fetched before."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cache.set(notices.certificate_key(CERTIFICATE_URL), certificate.public_bytes(Encoding.PEM))
    return key


def sns(key: rsa.RSAPrivateKey, event: dict[str, Any], **fields: str) -> dict[str, str]:
    notice = {
        "Type": "Notification",
        "MessageId": "m1",
        "TopicArn": "arn:aws:sns:eu-west-1:1:reports",
        "Message": json.dumps(event),
        "Timestamp": "2026-11-02T10:00:00.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE_URL,
    } | fields
    names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    signed = "".join(f"{name}\n{notice[name]}\n" for name in names if name in notice)
    digest = hashes.SHA256() if notice["SignatureVersion"] == "2" else hashes.SHA1()
    signature = key.sign(signed.encode(), padding.PKCS1v15(), digest)
    return notice | {"Signature": base64.b64encode(signature).decode()}


def ses(row: Delivery) -> dict[str, Any]:
    return {
        "notificationType": "Bounce",
        "bounce": {
            "feedbackId": "f1",
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [
                {
                    "emailAddress": row.email,
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ],
        },
        "mail": {"source": return_path(row), "messageId": "amazon's own"},
    }


@pytest.mark.parametrize("version", ["1", "2"])
def test_amazon(
    client: Client,
    workspace: Workspace,
    delivery: Delivery,
    amazon: rsa.RSAPrivateKey,
    version: str,
) -> None:
    hook(workspace, "ses")
    assert post(client, "ses", sns(amazon, ses(delivery), SignatureVersion=version)) == 200
    assert state(delivery) == ("failed", "mailbox", "bounced")


def test_a_forged_notice_of_amazon_does_nothing(
    client: Client, workspace: Workspace, delivery: Delivery, amazon: rsa.RSAPrivateKey
) -> None:
    hook(workspace, "ses")
    forger = rsa.generate_private_key(65537, 2048)
    assert post(client, "ses", sns(forger, ses(delivery))) == 200
    changed = sns(amazon, {}) | {"Message": json.dumps(ses(delivery))}
    assert post(client, "ses", changed) == 200
    assert state(delivery) == ("sent", "", "subscribed")
    assert set(InboundMessage.objects.values_list("kind", flat=True)) == {"forged"}


@pytest.mark.parametrize(
    "fields",
    [
        {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.test/a.pem"},
        {"SigningCertURL": "https://evil.test/sns.eu-west-1.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com@evil.test/a.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/a.pem"},
        {"SigningCertURL": "https://bucket.s3.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://[::1/a.pem"},
        {"Type": "Other"},
        {
            "Type": "SubscriptionConfirmation",
            "Token": "t",
            "SubscribeURL": "https://evil.test/?Action=ConfirmSubscription",
        },
    ],
)
def test_amazon_at_another_address(
    client: Client,
    workspace: Workspace,
    delivery: Delivery,
    amazon: rsa.RSAPrivateKey,
    fields: dict[str, str],
) -> None:
    hook(workspace, "ses")
    assert post(client, "ses", sns(amazon, ses(delivery), **fields)) == 403
    assert not InboundMessage.objects.exists()


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
    from tests.support.factories import make_user, make_workspace

    hook(make_workspace(make_user()), "brevo")
    event = {"event": "hard_bounce", "email": delivery.email, "message-id": message_id(delivery)}
    assert post(client, "brevo", event) == 200
    assert state(delivery) == ("sent", "", "subscribed")
