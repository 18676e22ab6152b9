from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from django.conf import LazySettings

from apps.accounts.models import Membership, User, Workspace
from apps.senders import selectors
from apps.senders.models import Relay
from apps.senders.selectors import Route
from apps.senders.services import relays as services
from core import secrets
from core.errors import Conflict, InvalidInput, NotAllowed
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
    """The workspace's first relay, made or changed."""
    relay = Relay.objects.filter(workspace=workspace).first()
    known = {"relay_id": relay.pk if relay else None}
    return services.save_relay(workspace=workspace, by=by, **(SETTINGS | known | changes))


def route_of(workspace: Workspace) -> Route:
    (route,) = selectors.routes_of(workspace)
    return route


def password_of(workspace: Workspace) -> str:
    return secrets.decrypt(bytes(Relay.objects.get(workspace=workspace).password_encrypted))


def test_a_saved_relay_is_the_route(workspace: Workspace, by: Membership) -> None:
    save(workspace, by, host=f" {PUBLIC} ")
    route = route_of(workspace)
    assert not route.sandbox
    assert route.max_connections == 3
    endpoint = route.endpoint
    assert (endpoint.host, endpoint.port, endpoint.security) == (PUBLIC, 587, "starttls")
    assert (endpoint.username, endpoint.password) == ("shop", "s3cret")
    assert endpoint.verify_tls
    assert endpoint.public_only


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
            services.delete_relay(workspace=workspace, by=by, relay_id=1)
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
    assert not route_of(workspace).endpoint.public_only


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
        {"auth": "ntlm"},
        {"password": "token\1auth=Bearer other"},
        {"weight": 0},
        {"weight": 101},
        {"max_messages": 0},
        {"max_age_seconds": 0},
        {"per_minute": 0},
        {"per_day": -1},
        {"name": "x" * 101},
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
    routes = [route_of(one) for one in (workspace, make_workspace())]
    assert all(route.sandbox and route.endpoint.host == "127.0.0.1" for route in routes)
    first, second = (route.endpoint for route in routes)
    assert first.username == str(workspace.pk)
    assert first.password != second.password


def test_deleting_goes_back_to_the_sandbox(workspace: Workspace, by: Membership) -> None:
    relay = save(workspace, by)
    for _ in range(2):
        services.delete_relay(workspace=workspace, by=by, relay_id=relay.pk)
    assert route_of(workspace).sandbox


def test_rotated_keys_still_open_the_password(
    workspace: Workspace, by: Membership, settings: LazySettings
) -> None:
    settings.ENCRYPTION_KEYS = ["old"]
    save(workspace, by)
    settings.ENCRYPTION_KEYS = ["new", "old"]
    assert route_of(workspace).endpoint.password == "s3cret"
    settings.ENCRYPTION_KEYS = ["new"]
    with pytest.raises(InvalidToken):
        route_of(workspace)


# Several relays.


def test_each_relay_keeps_its_own_password(workspace: Workspace, by: Membership) -> None:
    first = save(workspace, by)
    second = save(workspace, by, relay_id=None, host="8.8.4.4", password="another")
    save(workspace, by, relay_id=first.pk, password=None, port=25)
    first.refresh_from_db()
    second.refresh_from_db()
    assert secrets.decrypt(bytes(first.password_encrypted)) == ""
    assert secrets.decrypt(bytes(second.password_encrypted)) == "another"


def test_a_relay_of_another_workspace_is_out_of_reach(workspace: Workspace, by: Membership) -> None:
    elsewhere = make_workspace(make_user())
    foreign = Relay.objects.create(workspace=elsewhere, host="mx.example", port=25)
    with pytest.raises(Conflict):
        save(workspace, by, relay_id=foreign.pk)
    services.delete_relay(workspace=workspace, by=by, relay_id=foreign.pk)
    services.switch_relay(workspace=workspace, by=by, relay_id=foreign.pk, on=False)
    services.ask_for_check(workspace=workspace, by=by, relay_id=foreign.pk)
    before = (foreign.host, foreign.enabled, foreign.check_asked_at)
    foreign.refresh_from_db()
    assert (foreign.host, foreign.enabled, foreign.check_asked_at) == before


def test_a_removed_relay_is_not_made_anew(workspace: Workspace, by: Membership) -> None:
    relay = save(workspace, by)
    relay_id = relay.pk
    relay.delete()
    with pytest.raises(Conflict):
        save(workspace, by, relay_id=relay_id)
    assert not Relay.objects.exists()


def test_what_is_switched_off_is_no_route_and_no_sandbox_either(
    workspace: Workspace, by: Membership
) -> None:
    first = save(workspace, by)
    second = save(workspace, by, relay_id=None, host="8.8.4.4")
    services.switch_relay(workspace=workspace, by=by, relay_id=first.pk, on=False)
    assert [route.relay_id for route in selectors.routes_of(workspace)] == [second.pk]
    services.switch_relay(workspace=workspace, by=by, relay_id=second.pk, on=False)
    assert selectors.routes_of(workspace) == []
    assert selectors.choose_route([], "key") is None
    services.switch_relay(workspace=workspace, by=by, relay_id=first.pk, on=True)
    assert [route.relay_id for route in selectors.routes_of(workspace)] == [first.pk]


def test_a_route_says_what_its_relay_allows(workspace: Workspace, by: Membership) -> None:
    relay = save(
        workspace, by, auth="xoauth2", weight=7, max_messages=20, max_age_seconds=90, name=" Main "
    )
    route = route_of(workspace)
    assert (route.relay_id, route.weight) == (relay.pk, 7)
    assert (route.max_messages, route.max_age) == (20, 90.0)
    assert route.endpoint.auth == "xoauth2"
    assert str(relay) == "Main"


def test_another_weight_keeps_the_connections(workspace: Workspace, by: Membership) -> None:
    save(workspace, by)
    before = route_of(workspace)
    save(workspace, by, weight=9)
    assert route_of(workspace) == before
    assert hash(route_of(workspace)) == hash(before)


def test_mail_is_shared_by_weight_and_a_key_stays_where_it_is(
    workspace: Workspace, by: Membership
) -> None:
    hosts = {"8.8.8.8": 1, "8.8.4.4": 2, "1.1.1.1": 5}
    for host, weight in hosts.items():
        save(workspace, by, relay_id=None, host=host, weight=weight)
    routes = selectors.routes_of(workspace)
    keys = [str(number) for number in range(8000)]
    chosen = {key: selectors.choose_route(routes, key) for key in keys}
    share = Counter(route.endpoint.host for route in chosen.values() if route)
    for host, weight in hosts.items():
        assert share[host] / 1000 == pytest.approx(weight, rel=0.15)
    left = [route for route in routes if route.endpoint.host != "8.8.8.8"]
    for key, route in chosen.items():
        if route in left:
            assert selectors.choose_route(left, key) == route
