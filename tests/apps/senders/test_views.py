from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.senders.models import Relay
from core import secrets

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/senders/"
FORM = {
    "host": "127.0.0.1",
    "port": "587",
    "security": "starttls",
    "username": "shop",
    "password": "s3cret pass",
    "max_connections": "5",
}


@pytest.fixture(autouse=True)
def _private_relays(settings: LazySettings) -> None:
    settings.PRIVATE_RELAYS = True


@pytest.fixture
def relay(workspace: Workspace) -> Relay:
    return Relay.objects.create(
        workspace=workspace,
        host="127.0.0.1",
        port=587,
        security="starttls",
        username="shop",
        password_encrypted=secrets.encrypt("s3cret pass"),
    )


def saved_password(relay: Relay) -> str:
    relay.refresh_from_db()
    stored = bytes(relay.password_encrypted)
    return secrets.decrypt(stored) if stored else ""


def test_pages_are_for_members_and_changes_for_owners(
    relay: Relay, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    assert client_of(owner).get(PAGE).status_code == 200
    assert client_of(teammate).get(PAGE).status_code == 200
    assert client_of(outsider).get(PAGE).status_code == 404
    assert client_of(outsider).post(PAGE, FORM).status_code == 404
    assert Client().get(PAGE).status_code == 302
    assert client_of(owner).get(PAGE + "delete/").status_code == 200
    assert client_of(outsider).post(PAGE + "delete/").status_code == 404
    assert Client().post(PAGE + "delete/").status_code == 302
    assert Relay.objects.count() == 1


def test_without_a_relay_the_page_explains_the_sandbox(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(PAGE).content.decode()
    assert "No relay yet" in page
    assert "/w/shop/sandbox/" in page


def test_an_owner_saves_a_relay_and_the_password_never_shows_again(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    assert client.post(PAGE, FORM).status_code == 302
    relay = Relay.objects.get(workspace=workspace)
    assert (relay.host, relay.port, relay.username) == ("127.0.0.1", 587, "shop")
    assert saved_password(relay) == "s3cret pass"
    assert b"s3cret" not in bytes(relay.password_encrypted)
    page = client.get(PAGE).content.decode()
    assert "127.0.0.1:587" in page
    assert "s3cret" not in page
    assert "Leave it empty to keep the saved password" in page


def test_an_empty_password_keeps_the_saved_one(
    relay: Relay, owner: User, client_of: ClientOf
) -> None:
    client_of(owner).post(PAGE, {**FORM, "password": "", "max_connections": "9"})
    assert saved_password(relay) == "s3cret pass"
    assert relay.max_connections == 9


@pytest.mark.parametrize(
    "change", [{"host": "127.0.0.2"}, {"port": "2525"}, {"security": "tls"}, {"security": "none"}]
)
def test_the_password_goes_to_no_other_server(
    relay: Relay, owner: User, client_of: ClientOf, change: dict[str, str]
) -> None:
    client_of(owner).post(PAGE, {**FORM, "password": "", **change})
    assert saved_password(relay) == ""
    client_of(owner).post(PAGE, {**FORM, "password": "another", **change})
    assert saved_password(relay) == "another"


@pytest.mark.parametrize(
    "bad",
    [
        {"host": ""},
        {"port": "0"},
        {"port": "65536"},
        {"port": "smtp"},
        {"security": "ssl"},
        {"max_connections": "0"},
        {"max_connections": "51"},
        {"username": "shop\r\nRCPT TO:<x@y.z>"},
        {"password": "a\0b"},
    ],
)
def test_what_cannot_be_a_relay_is_refused_and_nothing_changes(
    relay: Relay, owner: User, client_of: ClientOf, bad: dict[str, Any]
) -> None:
    response = client_of(owner).post(PAGE, {**FORM, "host": "127.0.0.3", **bad})
    assert response.status_code == 422
    assert "127.0.0.1:587" in response.content.decode()
    assert "s3cret" not in response.content.decode()
    assert saved_password(relay) == "s3cret pass"
    assert relay.host == "127.0.0.1"


def test_a_private_address_is_refused_with_a_reason(
    workspace: Workspace, owner: User, client_of: ClientOf, settings: LazySettings
) -> None:
    settings.PRIVATE_RELAYS = False
    response = client_of(owner).post(PAGE, FORM)
    assert "is not a public address" in response.content.decode()
    assert not Relay.objects.exists()


def test_a_teammate_reads_but_does_not_change(
    relay: Relay, teammate: User, client_of: ClientOf
) -> None:
    client = client_of(teammate)
    page = client.get(PAGE).content.decode()
    assert "127.0.0.1:587" in page
    assert 'name="host"' not in page
    for path in (PAGE, PAGE + "delete/"):
        asked = client.post(
            path, {**FORM, "host": "127.0.0.9"}, headers={"accept": "application/json"}
        )
        assert asked.status_code == 403
        assert asked.json()["error"]["code"] == "not_allowed"
    relay.refresh_from_db()
    assert relay.host == "127.0.0.1"


def test_removing_needs_a_confirmation(relay: Relay, owner: User, client_of: ClientOf) -> None:
    client = client_of(owner)
    assert "Remove 127.0.0.1:587?" in client.get(PAGE + "delete/").content.decode()
    assert Relay.objects.exists()
    assert client.post(PAGE + "delete/").status_code == 302
    assert not Relay.objects.exists()
    assert client.post(PAGE + "delete/").status_code == 302
