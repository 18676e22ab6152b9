from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.senders.models import Relay
from apps.senders.services import relays
from core import secrets
from tests.mailkit.smtp.fake_server import FakeServer
from tests.support.factories import make_user, make_workspace
from tests.support.sandbox import LoopThread
from tests.support.worker import running_worker

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/senders/"
ADD = "/w/shop/senders/relays/new/"
FORM = {
    "name": "",
    "host": "127.0.0.1",
    "port": "587",
    "security": "starttls",
    "auth": "auto",
    "username": "shop",
    "password": "s3cret pass",
    "weight": "1",
    "max_connections": "5",
    "max_messages": "1000",
    "max_age_seconds": "300",
}
HTMX = {"hx-request": "true"}
JSON = {"accept": "application/json"}


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


def at(relay: Relay, action: str = "") -> str:
    return f"{PAGE}relays/{relay.pk}/{action}"


def saved_password(relay: Relay) -> str:
    relay.refresh_from_db()
    stored = bytes(relay.password_encrypted)
    return secrets.decrypt(stored) if stored else ""


def test_pages_are_for_members_and_changes_for_owners(
    relay: Relay, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    assert client_of(owner).get(PAGE).status_code == 200
    assert client_of(teammate).get(PAGE).status_code == 200
    pages = [PAGE, ADD, at(relay), at(relay, "delete/")]
    actions = [ADD, at(relay), at(relay, "check/"), at(relay, "switch/"), at(relay, "delete/")]
    for page in pages:
        assert client_of(owner).get(page).status_code == 200
        assert client_of(outsider).get(page).status_code == 404
        assert Client().get(page).status_code == 302
    before = Relay.objects.values().get()
    for page in actions:
        assert client_of(outsider).post(page, FORM).status_code == 404
        assert Client().post(page, FORM).status_code == 302
        refused = client_of(teammate).post(page, {**FORM, "host": "127.0.0.9"}, headers=JSON)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "not_allowed"
    assert Relay.objects.values().get() == before
    for page in (at(relay, "check/"), at(relay, "switch/")):
        assert client_of(owner).get(page).status_code == 405


def test_a_relay_of_another_workspace_is_not_there(
    relay: Relay, owner: User, client_of: ClientOf
) -> None:
    foreign = Relay.objects.create(
        workspace=make_workspace(make_user()), host="mx.example", port=25
    )
    client = client_of(owner)
    assert "mx.example" not in client.get(PAGE).content.decode()
    assert client.get(at(foreign)).status_code == 404
    assert client.get(at(foreign, "delete/")).status_code == 404
    for action in ("", "check/", "switch/"):
        assert client.post(at(foreign, action), FORM).status_code == 404
    client.post(at(foreign, "delete/"))
    assert Relay.objects.get(pk=foreign.pk).host == "mx.example"


def test_without_a_relay_the_page_explains_the_sandbox(
    workspace: Workspace, owner: User, teammate: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(PAGE).content.decode()
    assert "No relay yet" in page
    assert "/w/shop/sandbox/" in page
    assert ADD in page
    assert ADD not in client_of(teammate).get(PAGE).content.decode()


def test_an_owner_adds_relays_and_the_passwords_never_show_again(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    assert client.post(ADD, FORM).status_code == 302
    second = {**FORM, "name": "Spare", "host": "127.0.0.2", "auth": "xoauth2", "weight": "3"}
    assert client.post(ADD, {**second, "per_day": "5000"}).status_code == 302
    first, spare = Relay.objects.filter(workspace=workspace).order_by("pk")
    assert (first.host, first.port, first.username) == ("127.0.0.1", 587, "shop")
    assert saved_password(first) == "s3cret pass"
    assert b"s3cret" not in bytes(first.password_encrypted)
    assert (spare.name, spare.auth, spare.weight, spare.per_day) == ("Spare", "xoauth2", 3, 5000)
    page = client.get(PAGE).content.decode()
    for words in ("127.0.0.1:587", "Spare", "127.0.0.2:587", "75% of the mail", "5,000 a day"):
        assert words in page
    for relay in (first, spare):
        form = client.get(at(relay)).content.decode()
        assert "s3cret" not in form + page
        assert "Leave it empty to keep the saved password" in form


def test_an_empty_password_keeps_the_saved_one(
    relay: Relay, owner: User, client_of: ClientOf
) -> None:
    client_of(owner).post(at(relay), {**FORM, "password": "", "max_connections": "9"})
    assert saved_password(relay) == "s3cret pass"
    assert relay.max_connections == 9
    assert Relay.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"host": "127.0.0.2"}, {"port": "2525"}, {"security": "tls"}, {"security": "none"}]
)
def test_the_password_goes_to_no_other_server(
    relay: Relay, owner: User, client_of: ClientOf, change: dict[str, str]
) -> None:
    client_of(owner).post(at(relay), {**FORM, "password": "", **change})
    assert saved_password(relay) == ""
    client_of(owner).post(at(relay), {**FORM, "password": "another", **change})
    assert saved_password(relay) == "another"


@pytest.mark.parametrize(
    "bad",
    [
        {"host": ""},
        {"port": "0"},
        {"port": "65536"},
        {"port": "smtp"},
        {"security": "ssl"},
        {"auth": "ntlm"},
        {"weight": "0"},
        {"per_hour": "0"},
        {"max_connections": "0"},
        {"max_connections": "51"},
        {"username": "shop\r\nRCPT TO:<x@y.z>"},
        {"password": "a\0b"},
    ],
)
def test_what_cannot_be_a_relay_is_refused_and_nothing_changes(
    relay: Relay, owner: User, client_of: ClientOf, bad: dict[str, Any]
) -> None:
    response = client_of(owner).post(at(relay), {**FORM, "host": "127.0.0.3", **bad})
    assert response.status_code == 422
    assert "127.0.0.1:587" in response.content.decode()
    assert "s3cret" not in response.content.decode()
    assert saved_password(relay) == "s3cret pass"
    assert relay.host == "127.0.0.1"
    assert client_of(owner).post(ADD, {**FORM, **bad}).status_code == 422
    assert Relay.objects.count() == 1


def test_a_private_address_is_refused_with_a_reason(
    workspace: Workspace, owner: User, client_of: ClientOf, settings: LazySettings
) -> None:
    settings.PRIVATE_RELAYS = False
    response = client_of(owner).post(ADD, FORM)
    assert "is not a public address" in response.content.decode()
    assert not Relay.objects.exists()


def test_a_teammate_looks_and_finds_no_button(
    relay: Relay, teammate: User, client_of: ClientOf
) -> None:
    page = client_of(teammate).get(PAGE).content.decode()
    assert "127.0.0.1:587" in page
    assert at(relay) not in page
    assert client_of(teammate).get(at(relay)).status_code == 302


def test_the_page_says_how_each_relay_does(relay: Relay, owner: User, client_of: ClientOf) -> None:
    client = client_of(owner)
    page = client.get(PAGE).content.decode()
    assert "healthy" in page
    assert "every 2s" not in page
    for _ in range(3):
        relays.note_relay(relay.pk, "auth: 535 5.7.8 <b>Bad</b> credentials")
    page = client.get(PAGE).content.decode()
    assert "failing" in page
    assert "Signing in" in page
    assert "535 5.7.8 &lt;b&gt;Bad&lt;/b&gt; credentials" in page
    assert "No relay can be reached" in page
    assert "every 2s" in page
    fragment = client.get(PAGE, headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert 'id="relays"' in fragment


def test_switching_off_and_on(relay: Relay, owner: User, client_of: ClientOf) -> None:
    client = client_of(owner)
    for _ in range(2):  # a second click changes nothing
        assert client.post(at(relay, "switch/"), {"on": "0"}).status_code == 302
        relay.refresh_from_db()
        assert not relay.enabled
    assert "no mail leaves until you switch one on" in client.get(PAGE).content.decode()
    Relay.objects.update(failing_since=timezone.now(), retry_at=timezone.now(), failures=9)
    answer = client.post(at(relay, "switch/"), {"on": "1"}, headers=HTMX).content.decode()
    assert "healthy" in answer
    assert "<html" not in answer
    relay.refresh_from_db()
    assert (relay.enabled, relay.failing_since, relay.failures) == (True, None, 0)


@pytest.mark.django_db(transaction=True)
def test_testing_the_connection(
    relay: Relay, owner: User, client_of: ClientOf, loop_thread: LoopThread
) -> None:
    client = client_of(owner)

    async def make() -> FakeServer:
        return await FakeServer(
            {"AUTH": "535 5.7.8 not you"}, extensions=["AUTH LOGIN"]
        ).__aenter__()

    server = loop_thread.run(make())
    Relay.objects.update(port=server.port, security="none")
    with running_worker() as done:
        asked = client.post(at(relay, "check/"), headers=HTMX).content.decode()
        assert "every 2s" in asked
        wait_until_done(done)
    page = client.get(PAGE).content.decode()
    assert "Signing in" in page
    assert "535 5.7.8 not you" in page
    server.script = {}
    with running_worker() as done:
        client.post(at(relay, "check/"))
        wait_until_done(done)
    page = client.get(PAGE).content.decode()
    assert "Connected and signed in" in page
    assert "healthy" in page
    assert "every 2s" not in page
    loop_thread.run(server.__aexit__(None, None, None))


def wait_until_done(done: list[str]) -> None:
    """A worker finishes the task that it has taken before it stops."""
    deadline = time.monotonic() + 30
    while not done:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], "goes to the sandbox"),
        ([False], "The other relays are switched off"),
        ([True, False], "The other relays take over"),
    ],
)
def test_removing_needs_a_confirmation_that_says_what_follows(
    relay: Relay, owner: User, client_of: ClientOf, others: list[bool], words: str
) -> None:
    for enabled in others:
        Relay.objects.create(workspace=relay.workspace, host="mx.example", port=25, enabled=enabled)
    client = client_of(owner)
    page = client.get(at(relay, "delete/")).content.decode()
    assert "Remove 127.0.0.1:587?" in page
    assert words in page
    assert Relay.objects.filter(pk=relay.pk).exists()
    for _ in range(2):
        assert client.post(at(relay, "delete/")).status_code == 302
    assert not Relay.objects.filter(pk=relay.pk).exists()
    assert Relay.objects.count() == len(others)
