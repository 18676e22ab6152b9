"""SPF, DKIM and DMARC of sending domains: what a check keeps and what the page says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.senders.models import DkimKey, Relay, SendingDomain
from apps.senders.selectors import published_keys
from apps.senders.services import domains
from apps.senders.services.authentication import look_up, sender_of
from mailkit.authentication import Authentication
from tests.apps.senders.helpers import Records, keys_of, name_of, publish
from tests.support.factories import make_user, make_workspace
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.django_db

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/senders/domains/"


@pytest.fixture
def by(workspace: Workspace, owner: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=owner)


@pytest.fixture
def domain(workspace: Workspace, by: Membership) -> SendingDomain:
    return domains.add_domain(workspace=workspace, by=by, name="example.com")


def check(domain: SendingDomain, by: Membership) -> Authentication:
    domains.ask_check(domain=domain, by=by)
    domains.check_domain(domain.pk)
    domain.refresh_from_db()
    found = Authentication.of_json(domain.authentication)
    assert found is not None
    return found


def text(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_a_check_keeps_what_the_dns_says(
    domain: SendingDomain, by: Membership, zone: Records
) -> None:
    found = check(domain, by)
    assert (found.spf.state, found.dkim.state, found.dmarc.state) == ("none", "unsigned", "none")
    publish(zone, *keys_of(domain))
    zone["example.com", "TXT"] = ['"v=spf1 mx -all"']
    zone["_dmarc.example.com", "TXT"] = ['"v=DMARC1; p=reject"']
    found = check(domain, by)
    assert (found.spf.state, found.dkim.state, found.dmarc.state) == ("present", "found", "valid")
    assert found.passes
    assert {key.seen for key in found.dkim.keys} == {"found"}


def test_the_page_says_it_with_the_records_to_publish(
    domain: SendingDomain, by: Membership, zone: Records, owner: User, client_of: ClientOf
) -> None:
    client, url = client_of(owner), f"{PAGE}{domain.pk}/"
    page = text(client, url)
    assert "Not checked yet" in page
    assert "Check DNS" in page
    zone["_dmarc.example.com", "TXT"] = ['"v=DMARC1; p=<b>"']
    zone["example.com", "TXT"] = ['"v=spf1 a -all"', '"v=spf1 mx -all"']
    check(domain, by)
    page = text(client, f"{url}records/")
    assert "Check again" in page
    assert "Checked:" in page
    assert 'value="_dmarc.example.com"' in page
    assert 'value="v=DMARC1; p=none"' in page
    assert 'value="v=spf1 a mx -all"' in page
    assert "p=&lt;b&gt;" in page
    assert page.count('id="name-') == page.count('data-copy="name-') == 4
    publish(zone, *keys_of(domain))
    zone["_dmarc.example.com", "TXT"] = ['"v=DMARC1; p=none"']
    zone["example.com", "TXT"] = ['"v=spf1 a -all"']
    check(domain, by)
    page = text(client, url)
    assert "letters pass" in page
    assert page.count('id="name-') == 2  # the keys alone


def test_who_sees_it(
    domain: SendingDomain,
    by: Membership,
    zone: Records,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    check(domain, by)
    url = f"{PAGE}{domain.pk}/"
    for page in (url, f"{url}records/"):
        assert 'id="proofs"' in text(client_of(owner), page)
        assert 'id="proofs"' in text(client_of(teammate), page)
        assert client_of(outsider).get(page).status_code == 404
    assert f'action="{url}check/"' in text(client_of(owner), url)
    assert f'action="{url}check/"' not in text(client_of(teammate), url)


def test_a_change_of_the_return_path_is_looked_at(
    workspace: Workspace, domain: SendingDomain, by: Membership, zone: Records
) -> None:
    zone["bounces.example.com", "TXT"] = ['"v=spf1 -all"']
    domains.set_return_path(
        workspace=workspace, by=by, domain_id=domain.pk, name="bounces.example.com"
    )
    domain.refresh_from_db()
    assert domain.check_asked_at is not None
    domains.check_domain(domain.pk)
    domain.refresh_from_db()
    found = Authentication.of_json(domain.authentication)
    assert found is not None
    assert (found.spf.domain, found.spf.aligned) == ("bounces.example.com", True)


def test_what_counts_of_the_workspace(workspace: Workspace, domain: SendingDomain) -> None:
    other = make_workspace(make_user())
    Relay.objects.create(workspace=other, host="theirs.example.net")
    Relay.objects.create(workspace=workspace, host="mx.example.net")
    Relay.objects.create(workspace=workspace, host="off.example.net", enabled=False)
    sender = sender_of(workspace, "News.example.com", [])
    assert sender.domain == sender.envelope == "news.example.com"
    assert sender.hosts == ("mx.example.net",)
    Relay.objects.filter(workspace=workspace).delete()
    assert sender_of(workspace, "example.com", []).hosts == ()
    assert sender_of(workspace, "example.com", []).envelope == "example.com"
    inside = sender_of(workspace, "inbox.sandbox.test", [])
    assert (inside.envelope, inside.hosts) == ("returns.sandbox.test", ("127.0.0.1",))


def test_the_keys_that_sign_are_looked_for(
    workspace: Workspace, domain: SendingDomain, by: Membership, zone: Records
) -> None:
    below = domains.add_domain(workspace=workspace, by=by, name="mail.example.com")
    publish(zone, *keys_of(below))
    # Nothing signs yet: the nearest keys are those that will.
    found = look_up(workspace, "news.mail.example.com")
    assert {key.domain for key in found.dkim.keys} == {"mail.example.com"}
    assert found.dkim.state == "unsigned"
    DkimKey.objects.filter(domain=domain).update(active=True)
    found = look_up(workspace, "news.mail.example.com")
    assert {key.domain for key in found.dkim.keys} == {"example.com"}
    assert found.dkim.state == "missing"
    assert look_up(make_workspace(make_user()), "example.com").dkim.keys == ()


def test_a_domain_of_the_sandbox_passes_all(
    workspace: Workspace, by: Membership, sandbox: Sandbox
) -> None:
    domain = domains.add_domain(workspace=workspace, by=by, name="inbox.sandbox.test")
    records = {name_of(key): key.record for key in keys_of(domain)}

    async def published(name: str) -> list[str]:
        return [records[name]] if name in records else []

    sandbox.dns._published = published
    found = check(domain, by)
    assert (found.spf.state, found.dkim.state, found.dmarc.state) == ("named", "found", "valid")
    assert found.passes
    assert DkimKey.objects.filter(active=True).count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_sandbox_knows_the_keys_of_its_domains(domain: SendingDomain) -> None:
    key = keys_of(domain)[0]

    async def ask(*names: str) -> list[list[str]]:
        try:
            return [await published_keys(name) for name in names]
        finally:
            await sync_to_async(connections.close_all)()

    names = (name_of(key), "x._domainkey.example.com", "_domainkey")
    assert asyncio.run(ask(*names)) == [[key.record], [], []]


def test_a_row_that_was_never_checked_shows(
    domain: SendingDomain, owner: User, client_of: ClientOf
) -> None:
    SendingDomain.objects.update(checked_at=timezone.now(), dns={})
    assert "Not checked yet" in text(client_of(owner), f"{PAGE}{domain.pk}/")
