from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from django.conf import LazySettings

from apps.accounts.models import Membership, User, Workspace
from apps.senders import selectors, services
from apps.senders.models import Relay
from core import secrets
from core.errors import InvalidInput, NotAllowed
from tests.support.factories import make_user, make_workspace

PUBLIC = "8.8.8.8"  # an address needs no look-up
SETTINGS: dict[str, Any] = {
    "host": PUBLIC,
    "port": 587,
    "security": "starttls",
    "username": "shop",
    "password": "s3cret",
    "max_connections": 3,
}


@pytest.fixture
def by(workspace: Workspace, owner: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=owner)


def save(workspace: Workspace, by: Membership, **changes: Any) -> Relay:
    return services.save_relay(workspace=workspace, by=by, **(SETTINGS | changes))


def password_of(workspace: Workspace) -> str:
    return secrets.decrypt(bytes(Relay.objects.get(workspace=workspace).password_encrypted))


def test_a_saved_relay_is_the_route(workspace: Workspace, by: Membership) -> None:
    save(workspace, by, host=f" {PUBLIC} ")
    route = selectors.route_of(workspace)
    assert not route.sandbox
    assert route.max_connections == 3
    endpoint = route.endpoint
    assert (endpoint.host, endpoint.port, endpoint.security) == (PUBLIC, 587, "starttls")
    assert (endpoint.username, endpoint.password) == ("shop", "s3cret")
    assert endpoint.verify_tls


def test_the_password_is_stored_encrypted_and_shown_by_no_repr(
    workspace: Workspace, by: Membership
) -> None:
    relay = save(workspace, by)
    stored = bytes(Relay.objects.get(workspace=workspace).password_encrypted)
    assert b"s3cret" not in stored
    assert "s3cret" not in repr(relay) + str(relay)


def test_a_missing_password_keeps_the_stored_one(workspace: Workspace, by: Membership) -> None:
    save(workspace, by)
    save(workspace, by, password=None, username="other", max_connections=9)
    assert password_of(workspace) == "s3cret"
    save(workspace, by, password="")
    assert password_of(workspace) == ""


@pytest.mark.parametrize("change", [{"host": "8.8.4.4"}, {"port": 25}, {"security": "none"}])
def test_another_server_does_not_get_the_password(
    workspace: Workspace, by: Membership, change: dict[str, Any]
) -> None:
    save(workspace, by)
    save(workspace, by, password=None, **change)
    assert password_of(workspace) == ""
    # Going back does not bring it back.
    save(workspace, by, password=None)
    assert password_of(workspace) == ""


def test_only_owners_of_this_workspace_change_it(workspace: Workspace, teammate: User) -> None:
    member = Membership.objects.get(user=teammate)
    stranger = make_user()
    make_workspace(stranger)
    for by in (member, Membership.objects.get(user=stranger)):
        with pytest.raises(NotAllowed):
            save(workspace, by)
        with pytest.raises(NotAllowed):
            services.delete_relay(workspace=workspace, by=by)
    assert not Relay.objects.exists()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2130706433"),
        *("0x7f.1", "127.1", "[::1]", "a..b", "no such host"),
    ],
)
def test_hosts_in_the_operators_own_network_are_refused(
    workspace: Workspace, by: Membership, host: str
) -> None:
    with pytest.raises(InvalidInput):
        save(workspace, by, host=host)
    assert not Relay.objects.exists()


def test_the_operator_can_allow_private_hosts_and_ports(
    workspace: Workspace, by: Membership, settings: LazySettings
) -> None:
    settings.PRIVATE_RELAYS = True
    assert save(workspace, by, host="127.0.0.1", port=1025).port == 1025


@pytest.mark.parametrize("port", [0, 22, 80, 6379, 5432, 70000])
def test_other_ports_than_those_of_mail_are_refused(
    workspace: Workspace, by: Membership, port: int
) -> None:
    with pytest.raises(InvalidInput):
        save(workspace, by, port=port)


@pytest.mark.parametrize(
    "change",
    [
        {"host": ""},
        {"host": "8.8.8.8\r\nRSET"},
        {"username": "shop\r\nRSET"},
        {"password": "a\0b"},
        {"security": "ssl"},
        {"max_connections": 0},
        {"max_connections": 51},
        {"username": "x" * 255},
    ],
    ids=str,
)
def test_what_no_server_understands_is_refused_and_nothing_changes(
    workspace: Workspace, by: Membership, change: dict[str, Any]
) -> None:
    save(workspace, by)
    before = Relay.objects.values().get()
    with pytest.raises(InvalidInput):
        save(workspace, by, **change)
    assert Relay.objects.values().get() == before


def test_without_a_relay_mail_goes_to_the_workspaces_own_sandbox(workspace: Workspace) -> None:
    routes = [selectors.route_of(one) for one in (workspace, make_workspace())]
    assert all(route.sandbox and route.endpoint.host == "127.0.0.1" for route in routes)
    first, second = (route.endpoint for route in routes)
    assert first.username == str(workspace.pk)
    assert first.password != second.password


def test_deleting_goes_back_to_the_sandbox(workspace: Workspace, by: Membership) -> None:
    save(workspace, by)
    services.delete_relay(workspace=workspace, by=by)
    services.delete_relay(workspace=workspace, by=by)
    assert selectors.route_of(workspace).sandbox


def test_rotated_keys_still_open_the_password(
    workspace: Workspace, by: Membership, settings: LazySettings
) -> None:
    settings.ENCRYPTION_KEYS = ["old"]
    save(workspace, by)
    settings.ENCRYPTION_KEYS = ["new", "old"]
    assert selectors.route_of(workspace).endpoint.password == "s3cret"
    settings.ENCRYPTION_KEYS = ["new"]
    with pytest.raises(InvalidToken):
        selectors.route_of(workspace)
