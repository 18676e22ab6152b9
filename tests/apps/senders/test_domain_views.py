"""Pages of sending domains, as owner, teammate and outsider."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.senders.models import DkimKey, SendingDomain
from apps.senders.services import domains
from core import secrets
from tests.apps.senders.helpers import Records, keys_of, name_of, publish

pytestmark = pytest.mark.django_db

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/senders/domains/"


@pytest.fixture
def domain(workspace: Workspace, owner: User) -> SendingDomain:
    by = Membership.objects.get(workspace=workspace, user=owner)
    return domains.add_domain(workspace=workspace, by=by, name="example.com")


@pytest.fixture
def key(domain: SendingDomain) -> DkimKey:
    """An RSA key in use."""
    DkimKey.objects.update(active=True)
    return keys_of(domain)[0]


def text(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_who_sees_and_who_changes(
    domain: SendingDomain,
    key: DkimKey,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    mine = f"{PAGE}{domain.pk}/"
    rotate = f"{mine}keys/{key.pk}/rotate/"
    looks = [PAGE, mine, f"{mine}records/"]
    asks = [f"{PAGE}add/", f"{mine}delete/", rotate]
    changes = [*asks, f"{mine}check/"]
    for url in looks:
        assert client_of(owner).get(url).status_code == 200
        assert client_of(teammate).get(url).status_code == 200
    for url in asks:
        assert client_of(owner).get(url).status_code == 200
    for url in changes:
        response = client_of(teammate).post(url, {"name": "example.org"})
        assert (response.status_code, response["Location"]) == (302, "/")
        response = client_of(teammate).post(
            url, {"name": "example.org"}, headers={"Accept": "application/json"}
        )
        assert response.status_code == 403
    for url in (*looks, *asks):
        assert client_of(outsider).get(url).status_code == 404
        assert Client().get(url).status_code == 302
    for url in changes:
        assert client_of(outsider).post(url, {"name": "example.org"}).status_code == 404
        assert Client().post(url, {"name": "example.org"}).status_code == 302
    assert (SendingDomain.objects.count(), DkimKey.objects.count()) == (1, 2)
    domain.refresh_from_db()
    assert domain.check_asked_at is None


def test_a_workspaces_pages_reach_no_other_workspaces_domain(
    domain: SendingDomain, key: DkimKey, outsider: User, client_of: ClientOf
) -> None:
    theirs = f"/w/elsewhere/senders/domains/{domain.pk}/"
    client = client_of(outsider)
    for url in (theirs, f"{theirs}records/", f"{theirs}delete/", f"{theirs}keys/{key.pk}/rotate/"):
        assert client.get(url).status_code == 404
    for url in (f"{theirs}check/", f"{theirs}delete/", f"{theirs}keys/{key.pk}/rotate/"):
        assert client.post(url).status_code == 404
    assert "No sending domains yet" in text(client, "/w/elsewhere/senders/domains/")
    own = SendingDomain.objects.create(
        workspace=Workspace.objects.get(slug="elsewhere"), name="elsewhere.example"
    )
    url = f"/w/elsewhere/senders/domains/{own.pk}/keys/{key.pk}/rotate/"
    assert client.post(url).status_code == 404
    assert DkimKey.objects.count() == 2


def test_an_empty_list_has_one_next_step_for_owners(
    workspace: Workspace, owner: User, teammate: User, client_of: ClientOf
) -> None:
    page = text(client_of(owner), PAGE)
    assert "No sending domains yet" in page
    assert page.count(f"{PAGE}add/") == 1
    assert f"{PAGE}add/" not in text(client_of(teammate), PAGE)


def test_an_owner_adds_a_domain_and_sees_what_to_publish(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    response = client.post(f"{PAGE}add/", {"name": " Example.com "})
    domain = SendingDomain.objects.get()
    assert response["Location"] == f"{PAGE}{domain.pk}/"
    page = text(client, response["Location"])
    for key in keys_of(domain):
        assert f'value="{name_of(key)}"' in page
        assert key.record in page
        assert f'data-copy="value-{key.selector}"' in page
    assert "not signed yet" in page
    assert "waits for its record" in text(client, PAGE)


@pytest.mark.parametrize("name", ["", "no domain", "example.com", "x" * 300])
def test_what_cannot_be_added_is_said_beside_the_field(
    domain: SendingDomain, owner: User, client_of: ClientOf, name: str
) -> None:
    response = client_of(owner).post(f"{PAGE}add/", {"name": name})
    assert response.status_code == 422
    assert "id_name_error" in response.content.decode()
    assert SendingDomain.objects.count() == 1


def test_no_page_shows_a_private_key(
    domain: SendingDomain, key: DkimKey, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    pages = [PAGE, f"{PAGE}{domain.pk}/", f"{PAGE}{domain.pk}/keys/{key.pk}/rotate/"]
    shown = "".join(text(client, url) for url in pages)
    assert "PRIVATE" not in shown
    for one in keys_of(domain):
        for line in secrets.decrypt(one.private_key_encrypted).splitlines():
            assert line not in shown


def test_the_page_asks_for_itself_while_it_is_checked(
    domain: SendingDomain, zone: Records, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    url = f"{PAGE}{domain.pk}/"
    assert "hx-trigger" not in text(client, url)
    rsa, ed25519 = keys_of(domain)
    publish(zone, ed25519)
    assert client.post(f"{url}check/")["Location"] == url
    for page in (text(client, url), text(client, f"{url}records/")):
        assert f'hx-get="{url}records/" hx-trigger="every 2s"' in page
        assert "Looking in the DNS" in page
    domains.check_domain(domain.pk)
    fragment = text(client, f"{url}records/")
    assert '<div id="records">' in fragment
    assert "hx-trigger" not in fragment
    assert "are signed" in fragment
    assert fragment.count("Found in the DNS") == 1
    assert fragment.count("Not in the DNS") == 1
    assert f"keys/{ed25519.pk}/rotate/" in fragment
    assert f"keys/{rsa.pk}/rotate/" not in fragment


@pytest.mark.parametrize(
    ("seen", "said"),
    [("other", "Another record is in the DNS"), ("unknown", "The DNS gave no answer")],
)
def test_what_the_dns_said_is_shown(
    domain: SendingDomain, teammate: User, client_of: ClientOf, seen: str, said: str
) -> None:
    rsa = keys_of(domain)[0]
    SendingDomain.objects.update(dns={rsa.selector: seen}, checked_at=timezone.now())
    assert said in text(client_of(teammate), f"{PAGE}{domain.pk}/")


def test_a_key_is_replaced_after_a_question(
    domain: SendingDomain, key: DkimKey, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    url = f"{PAGE}{domain.pk}/keys/{key.pk}/rotate/"
    assert "Replace the RSA-2048 key?" in text(client, url)
    assert DkimKey.objects.count() == 2
    assert client.post(url)["Location"] == f"{PAGE}{domain.pk}/"
    new = DkimKey.objects.get(active=False)
    page = text(client, f"{PAGE}{domain.pk}/")
    assert new.selector in page
    assert url not in page
    # From a page that was opened before.
    assert client.post(url, headers={"Accept": "application/json"}).status_code == 409
    assert DkimKey.objects.count() == 3


def test_replaced_keys_are_shown_while_their_record_must_stay(
    domain: SendingDomain, key: DkimKey, owner: User, client_of: ClientOf
) -> None:
    url = f"{PAGE}{domain.pk}/"
    DkimKey.objects.filter(pk=key.pk).update(active=False, retired_at=timezone.now())
    page = text(client_of(owner), url)
    assert "Replaced keys" in page
    assert key.record not in page
    DkimKey.objects.filter(pk=key.pk).update(retired_at=timezone.now() - timedelta(days=8))
    assert "Replaced keys" not in text(client_of(owner), url)


def test_a_domain_is_removed_after_a_question(
    domain: SendingDomain, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    url = f"{PAGE}{domain.pk}/delete/"
    assert "Remove example.com?" in text(client, url)
    assert SendingDomain.objects.exists()
    assert client.post(url)["Location"] == PAGE
    assert not SendingDomain.objects.exists()
    assert client.post(url).status_code == 404
