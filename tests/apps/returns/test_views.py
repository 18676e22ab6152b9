from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Delivery
from apps.mailer.models import Contact
from apps.returns.models import Mailbox, Report, Webhook
from apps.returns.services import reading, receiving
from apps.senders.models import SendingDomain
from apps.senders.selectors import return_path_domain
from core import secrets
from tests.apps.returns.mail import dsn, return_path
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db

MAILBOX = {
    "protocol": "imap", "host": "127.0.0.1", "port": "1993", "security": "tls",
    "username": "reports", "password": "s3cret", "enabled": "on",
}  # fmt: skip


def page(name: str, workspace: Workspace, *args: object) -> str:
    return reverse(f"returns:{name}", args=[workspace.slug, *args])


@pytest.fixture
def mailbox(workspace: Workspace) -> Mailbox:
    return Mailbox.objects.create(
        workspace=workspace, host="127.0.0.1", username="box", password_encrypted=b"x"
    )


@pytest.fixture
def webhook(workspace: Workspace) -> Webhook:
    return Webhook.objects.create(workspace=workspace, provider="brevo", key="guess-me-not")


@pytest.fixture
def domain(workspace: Workspace) -> SendingDomain:
    return SendingDomain.objects.create(workspace=workspace, name="shop.test")


@pytest.fixture(autouse=True)
def _mailboxes_on_loopback(settings: LazySettings) -> None:
    settings.PRIVATE_RELAYS = True


def test_an_empty_workspace_says_what_to_do(
    client: Client, owner: User, workspace: Workspace
) -> None:
    client.force_login(owner)
    answer = client.get(page("overview", workspace))
    assert answer.status_code == 200
    assert "No reports yet" in answer.content.decode()
    assert client.get(page("reports", workspace)).status_code == 200


def test_reports_show_the_words_of_the_server(
    client: Client, owner: User, workspace: Workspace, delivery: Delivery, contact: Contact
) -> None:
    message = receiving.store(source="smtp", data=dsn(delivery), recipient=return_path(delivery))
    assert message is not None
    reading.read(message.pk)
    client.force_login(owner)
    for address in (page("overview", workspace), page("reports", workspace) + "?kind=bounce"):
        text = client.get(address).content.decode()
        assert "550 5.1.1 No such user here" in text
        assert contact.email in text
        assert reverse("campaigns:detail", args=[workspace.slug, delivery.campaign_id]) in text
    text = client.get(page("reports", workspace) + "?kind=complaint").content.decode()
    assert "No such user" not in text


def test_an_owner_adds_changes_and_removes_a_mailbox(
    client: Client, owner: User, workspace: Workspace
) -> None:
    client.force_login(owner)
    assert client.get(page("mailbox_add", workspace)).status_code == 200
    assert client.post(page("mailbox_add", workspace), MAILBOX).status_code == 302
    mailbox = Mailbox.objects.get()
    assert secrets.decrypt(mailbox.password_encrypted) == "s3cret"
    edit = page("mailbox_edit", workspace, mailbox.pk)
    assert b"s3cret" not in client.get(edit).content
    client.post(edit, MAILBOX | {"password": "", "username": "other"})
    mailbox.refresh_from_db()
    assert mailbox.username == "other"
    assert secrets.decrypt(mailbox.password_encrypted) == "s3cret"
    # The password was given for another server.
    answer = client.post(edit, MAILBOX | {"password": "", "host": "localhost"})
    assert answer.status_code == 422
    mailbox.refresh_from_db()
    assert mailbox.host == "127.0.0.1"
    assert client.get(page("mailbox_delete", workspace, mailbox.pk)).status_code == 200
    client.post(page("mailbox_delete", workspace, mailbox.pk))
    assert not Mailbox.objects.exists()


def test_private_mailboxes_are_refused(
    client: Client, owner: User, workspace: Workspace, settings: LazySettings
) -> None:
    settings.PRIVATE_RELAYS = False
    client.force_login(owner)
    assert client.post(page("mailbox_add", workspace), MAILBOX).status_code == 422
    answer = client.post(page("mailbox_add", workspace), MAILBOX | {"port": "993"})
    assert answer.status_code == 422
    assert not Mailbox.objects.exists()


def test_an_owner_adds_and_removes_a_webhook(
    client: Client, owner: User, workspace: Workspace
) -> None:
    client.force_login(owner)
    assert client.get(page("webhook_add", workspace)).status_code == 200
    answer = client.post(page("webhook_add", workspace), {"provider": "mailgun", "secret": ""})
    assert answer.status_code == 422
    client.post(page("webhook_add", workspace), {"provider": "mailgun", "secret": "k"})
    first = Webhook.objects.get()
    client.post(page("webhook_add", workspace), {"provider": "mailgun", "secret": "k2"})
    again = Webhook.objects.get()
    assert (again.key, secrets.decrypt(again.secret_encrypted)) == (first.key, "k2")
    assert first.key in client.get(page("overview", workspace)).content.decode()
    assert client.get(page("webhook_delete", workspace, first.pk)).status_code == 200
    client.post(page("webhook_delete", workspace, first.pk))
    assert not Webhook.objects.exists()


def test_a_domain_gets_a_return_path_below_itself(
    client: Client, owner: User, workspace: Workspace, domain: SendingDomain, settings: LazySettings
) -> None:
    client.force_login(owner)
    save = page("return_path", workspace, domain.pk)
    client.post(save, {"return_path": "Returns.Shop.test"})
    assert return_path_domain(workspace, "news@shop.test") == "returns.shop.test"
    assert return_path_domain(workspace, "news@mail.shop.test") == "returns.shop.test"
    client.post(save, {"return_path": "returns.other.test"})
    domain.refresh_from_db()
    assert domain.return_path == "returns.shop.test"
    client.post(save, {"return_path": ""})
    settings.INBOUND_DOMAIN = "in.example"
    assert return_path_domain(workspace, "news@shop.test") == "in.example"


def test_a_teammate_looks_and_changes_nothing(
    client: Client,
    teammate: User,
    workspace: Workspace,
    mailbox: Mailbox,
    webhook: Webhook,
    domain: SendingDomain,
) -> None:
    client.force_login(teammate)
    text = client.get(page("overview", workspace)).content.decode()
    assert "Only an owner" in text
    assert webhook.key not in text
    assert client.get(page("reports", workspace)).status_code == 200
    for address in changes(workspace, mailbox, webhook, domain):
        data = MAILBOX | {"provider": "brevo", "return_path": "x.shop.test"}
        client.post(address, data)
    mailbox.refresh_from_db()
    domain.refresh_from_db()
    assert (mailbox.username, domain.return_path) == ("box", "")
    assert Webhook.objects.get().secret_encrypted in (b"", memoryview(b""))


def test_an_outsider_finds_nothing(
    client: Client,
    workspace: Workspace,
    mailbox: Mailbox,
    webhook: Webhook,
    domain: SendingDomain,
) -> None:
    client.force_login(make_user())
    for address in (
        page("overview", workspace),
        page("reports", workspace),
        *changes(workspace, mailbox, webhook, domain),
    ):
        assert client.get(address).status_code == 404
        assert client.post(address, MAILBOX).status_code == 404
    assert Mailbox.objects.exists()
    assert Webhook.objects.exists()


def test_reports_of_others_do_not_show(
    client: Client, owner: User, workspace: Workspace, other_workspace: Workspace
) -> None:
    Report.objects.create(
        workspace=other_workspace, source="smtp", key="1", kind="bounce", text="not for you"
    )
    client.force_login(owner)
    for name in ("overview", "reports"):
        assert b"not for you" not in client.get(page(name, workspace)).content


def changes(
    workspace: Workspace, mailbox: Mailbox, webhook: Webhook, domain: SendingDomain
) -> list[str]:
    return [
        page("mailbox_add", workspace),
        page("mailbox_edit", workspace, mailbox.pk),
        page("mailbox_delete", workspace, mailbox.pk),
        page("webhook_add", workspace),
        page("webhook_delete", workspace, webhook.pk),
        page("return_path", workspace, domain.pk),
    ]


@pytest.fixture
def other_workspace() -> Workspace:
    from tests.support.factories import make_workspace

    return make_workspace(make_user())
