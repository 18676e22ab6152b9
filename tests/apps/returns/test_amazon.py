"""Notices of Amazon SES, signed by Amazon SNS, whose certificate and confirmations are fetched."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.core.cache import cache
from django.test import Client

from apps.accounts.models import Workspace
from apps.campaigns.models import Delivery
from apps.returns.models import InboundMessage
from apps.returns.services import notices, reading
from tests.apps.returns.hooks import hook, post, state
from tests.apps.returns.mail import return_path
from tests.support.certificates import certificate_of, write_pair

pytestmark = pytest.mark.django_db
HOST = "sns.eu-west-1.amazonaws.com"
CERTIFICATE_URL = f"https://{HOST}/SimpleNotificationService-1.pem"
CONFIRM = "/?Action=ConfirmSubscription&Token=t"


class Amazon(ThreadingHTTPServer):
    """By https on loopback: `pages` by their paths, a text that begins with https is a redirect;
    `asked` are the paths in order."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []


class _Page(BaseHTTPRequestHandler):
    server: Amazon

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if page is not None and page.startswith(b"https:"):
            self.send_response(302)
            self.send_header("Location", page.decode())
        else:
            self.send_response(200 if page is not None else 404)
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *_arguments: object) -> None:
        """The test's output is for the test."""


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    """All https leads to it; it has Amazon's name in a certificate that is trusted."""
    certificate = write_pair(tmp_path / "amazon.pem", HOST)
    server = Amazon(certificate)
    trusted = ssl.create_default_context(cafile=str(certificate))

    class Rerouted(http.client.HTTPSConnection):
        def connect(self) -> None:
            plain = socket.create_connection(("127.0.0.1", server.server_port), self.timeout)
            self.sock = trusted.wrap_socket(plain, server_hostname=self.host)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Rerouted, request)

    opener = urllib.request.build_opener(notices.NoRedirects, Https)
    monkeypatch.setattr(notices, "opener", opener)
    cache.delete(notices.certificate_key(CERTIFICATE_URL))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    cache.delete(notices.certificate_key(CERTIFICATE_URL))


@pytest.fixture
def key(amazon: Amazon) -> rsa.RSAPrivateKey:
    """With which Amazon signs."""
    key = rsa.generate_private_key(65537, 2048)
    amazon.pages["/SimpleNotificationService-1.pem"] = certificate_of(key, "sns.amazonaws.com")
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
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn"]
    names.append("Type")
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
    key: rsa.RSAPrivateKey,
    version: str,
) -> None:
    hook(workspace, "ses")
    assert post(client, "ses", sns(key, ses(delivery), SignatureVersion=version)) == 200
    assert state(delivery) == ("failed", "mailbox", "bounced")


def test_a_forged_notice_of_amazon_does_nothing(
    client: Client, workspace: Workspace, delivery: Delivery, key: rsa.RSAPrivateKey
) -> None:
    hook(workspace, "ses")
    forger = rsa.generate_private_key(65537, 2048)
    assert post(client, "ses", sns(forger, ses(delivery))) == 200
    changed = sns(key, {}) | {"Message": json.dumps(ses(delivery))}
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
    key: rsa.RSAPrivateKey,
    fields: dict[str, str],
) -> None:
    hook(workspace, "ses")
    assert post(client, "ses", sns(key, ses(delivery), **fields)) == 403
    assert not InboundMessage.objects.exists()


# Confirming that we want notices.


def confirmation(key: rsa.RSAPrivateKey, path: str = CONFIRM) -> dict[str, str]:
    return sns(
        key,
        {},
        Type="SubscriptionConfirmation",
        Token="t",
        SubscribeURL=f"https://{HOST}{path}",
    )


def test_a_subscription_is_confirmed_by_the_task(
    client: Client, workspace: Workspace, amazon: Amazon, key: rsa.RSAPrivateKey
) -> None:
    hook(workspace, "ses")
    amazon.pages[CONFIRM] = b"<ConfirmSubscriptionResponse/>"
    body = json.dumps(confirmation(key))
    url = "/hooks/ses/key-of-ses/"
    for _ in range(2):  # Amazon repeats what it has no answer to
        assert client.post(url, body, content_type="text/plain").status_code == 200
    assert amazon.asked == []
    message = InboundMessage.objects.get()
    assert reading.read(message.pk)
    assert amazon.asked == ["/SimpleNotificationService-1.pem", CONFIRM]
    assert not reading.read(message.pk)
    message.refresh_from_db()
    assert message.due_at is None


@pytest.mark.parametrize("page", [None, b"https://sns.eu-west-1.amazonaws.com/elsewhere"])
def test_what_did_not_confirm_is_tried_again(
    client: Client,
    workspace: Workspace,
    amazon: Amazon,
    key: rsa.RSAPrivateKey,
    page: bytes | None,
) -> None:
    """A fault, or a redirect, which is not followed: it could lead anywhere."""
    hook(workspace, "ses")
    amazon.pages["/elsewhere"] = b"internal"
    if page is not None:
        amazon.pages[CONFIRM] = page
    with pytest.raises(urllib.request.HTTPError):
        post(client, "ses", confirmation(key))
    assert amazon.asked == ["/SimpleNotificationService-1.pem", CONFIRM]
    message = InboundMessage.objects.get()
    assert (message.attempts, message.kind) == (1, "")
    assert message.due_at is not None


def test_a_forged_confirmation_is_not_followed(
    client: Client, workspace: Workspace, amazon: Amazon, key: rsa.RSAPrivateKey
) -> None:
    hook(workspace, "ses")
    amazon.pages[CONFIRM] = b"<ConfirmSubscriptionResponse/>"
    forger = rsa.generate_private_key(65537, 2048)
    other = confirmation(key) | {"SubscribeURL": f"https://{HOST}/?Action=DeleteTopic"}
    for forged in (confirmation(forger), other):
        assert post(client, "ses", forged) == 200
    assert amazon.asked == ["/SimpleNotificationService-1.pem"]
    assert set(InboundMessage.objects.values_list("kind", flat=True)) == {"forged"}
