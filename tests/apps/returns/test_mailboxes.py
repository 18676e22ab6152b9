from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Delivery
from apps.returns.models import InboundMessage, Mailbox, Report
from apps.returns.services import mailboxes, reading, receiving
from core import secrets
from tests.apps.returns.mail import complaint, dsn, plain
from tests.support.certificates import write_pair
from tests.support.mail_stores import MailStore

pytestmark = pytest.mark.django_db
PROTOCOLS = pytest.mark.parametrize("protocol", ["imap", "pop3"])


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Path:
    """Trusted, as one of a public authority would be."""
    settings.PRIVATE_RELAYS = True
    path = write_pair(tmp_path / "localhost.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def box_of(workspace: Workspace, server: MailStore, protocol: str, **fields: object) -> Mailbox:
    values = {
        "workspace": workspace,
        "protocol": protocol,
        "host": "localhost",
        "port": server.port,
        "username": "reports",
        "password_encrypted": secrets.encrypt("s3cret"),
    }
    return Mailbox.objects.create(**values | fields)


def again(mailbox: Mailbox) -> int:
    Mailbox.objects.filter(pk=mailbox.pk).update(next_poll_at=timezone.now())
    return mailboxes.empty(mailbox.pk)


@PROTOCOLS
def test_a_mailbox_is_emptied_and_its_reports_count(
    protocol: str, certificate: Path, workspace: Workspace, delivery: Delivery
) -> None:
    letters = [dsn(delivery), plain("Hello", ".a line with a dot"), complaint(delivery)]
    with MailStore(protocol, certificate, letters) as server:
        mailbox = box_of(workspace, server, protocol)
        assert mailboxes.empty(mailbox.pk) == 3
        assert server.messages == {}
        assert mailboxes.empty(mailbox.pk) == 0  # it is not its time yet
        assert again(mailbox) == 0
    mailbox.refresh_from_db()
    assert (mailbox.fetched, mailbox.last_error) == (3, "")
    assert [bytes(one.data) for one in InboundMessage.objects.order_by("pk")] == letters
    for message in InboundMessage.objects.order_by("pk"):
        assert reading.read(message.pk)
    # Of the complaint nothing names the letter: the mailbox is one for all.
    assert [report.kind for report in Report.objects.all()] == ["bounce"]
    delivery.refresh_from_db()
    assert delivery.status == "failed"


@PROTOCOLS
def test_a_server_that_hangs_up_before_it_deletes_loses_and_doubles_nothing(
    protocol: str, certificate: Path, workspace: Workspace, delivery: Delivery
) -> None:
    with MailStore(protocol, certificate, [dsn(delivery)], drops=True) as server:
        mailbox = box_of(workspace, server, protocol)
        assert mailboxes.empty(mailbox.pk) == 1
        assert len(server.messages) == 1
        mailbox.refresh_from_db()
        assert mailbox.last_error
        server.drops = False
        assert again(mailbox) == 0
        assert server.messages == {}
    assert InboundMessage.objects.count() == 1


@PROTOCOLS
def test_a_large_message_is_fetched_in_part(
    protocol: str, certificate: Path, workspace: Workspace, delivery: Delivery
) -> None:
    large = dsn(delivery) + (b"x" * 998 + b"\r\n") * 2000
    with MailStore(protocol, certificate, [large]) as server:
        mailbox = box_of(workspace, server, protocol)
        assert mailboxes.empty(mailbox.pk) == 1
    assert len(InboundMessage.objects.get().data) == receiving.LARGEST
    assert reading.read(InboundMessage.objects.get().pk)
    assert Report.objects.get().kind == "bounce"


@PROTOCOLS
def test_a_wrong_password_is_told(protocol: str, certificate: Path, workspace: Workspace) -> None:
    with MailStore(protocol, certificate, [b"x"]) as server:
        mailbox = box_of(workspace, server, protocol, password_encrypted=secrets.encrypt("no"))
        assert mailboxes.empty(mailbox.pk) == 0
        assert server.messages
    mailbox.refresh_from_db()
    assert "Wrong password" in mailbox.last_error
    assert mailbox.next_poll_at > timezone.now()


@PROTOCOLS
def test_a_certificate_of_another_name_is_refused(
    protocol: str, certificate: Path, workspace: Workspace
) -> None:
    with MailStore(protocol, certificate, [b"x"]) as server:
        mailbox = box_of(workspace, server, protocol, host="127.0.0.1")
        assert mailboxes.empty(mailbox.pk) == 0
        assert server.messages
    mailbox.refresh_from_db()
    assert "certificate" in mailbox.last_error.lower()


def test_a_private_address_is_not_connected_to(
    certificate: Path, workspace: Workspace, settings: LazySettings
) -> None:
    settings.PRIVATE_RELAYS = False
    with MailStore("imap", certificate, [b"x"]) as server:
        mailbox = box_of(workspace, server, "imap")
        mailboxes.empty(mailbox.pk)
    mailbox.refresh_from_db()
    assert "not a public address" in mailbox.last_error


def test_nobody_answers_or_the_password_cannot_be_read(
    certificate: Path, workspace: Workspace
) -> None:
    with MailStore("imap", certificate, []) as server:
        mailbox = box_of(workspace, server, "imap", password_encrypted=b"broken")
        mailboxes.empty(mailbox.pk)
    mailbox.refresh_from_db()
    assert mailbox.last_error == mailboxes.UNREADABLE
    Mailbox.objects.update(password_encrypted=secrets.encrypt("s3cret"))
    again(mailbox)
    mailbox.refresh_from_db()
    assert "refused" in mailbox.last_error.lower()


def test_a_host_that_is_no_name_is_told(workspace: Workspace, settings: LazySettings) -> None:
    settings.PRIVATE_RELAYS = True  # then nobody has looked it up before it was saved
    mailbox = Mailbox.objects.create(workspace=workspace, host="mail..example", username="x")
    assert mailboxes.empty(mailbox.pk) == 0
    mailbox.refresh_from_db()
    assert mailbox.last_error
    assert mailbox.next_poll_at > timezone.now()
