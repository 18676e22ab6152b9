"""The letters of a campaign by filters: the same as all of them filtered, in whatever pieces."""

from __future__ import annotations

import random
from itertools import product

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.found import Filters, find
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.selectors import NO_FAULT, TROUBLED
from tests.apps.campaigns.pages import ClientOf, url
from tests.support.factories import make_campaign, make_contact, make_delivery

STATUSES = ("", *Delivery.Status.values)
FAULTS = ("", "mailbox", "full", NO_FAULT)
PROVIDERS = ("", "gmail", "mailru", "yandex")


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    """Seventy letters of every kind, and as many of another campaign's."""
    made = [make_campaign(workspace, state=Campaign.State.SENDING) for _ in range(2)]
    chance = random.Random(7)
    for number in range(70):
        contact = make_contact(workspace, email=f"reader_{number:02}@mail{number % 3}.test")
        for campaign in made:
            status = chance.choice(Delivery.Status.values)
            make_delivery(
                campaign, contact, status=status, provider=chance.choice(["gmail", "mailru"]),
                fault=chance.choice(["mailbox", "full", ""]) if status in TROUBLED else "",
                lease_until=timezone.now() if status == "handing_off" else None,
                next_attempt_at=timezone.now() if status == "deferred" else None,
            )  # fmt: skip
    return made[0]


def naive(campaign: Campaign, filters: Filters) -> list[int]:
    found = Delivery.objects.filter(campaign=campaign)
    if filters.status:
        found = found.filter(status=filters.status)
    elif filters.fault:
        found = found.filter(status__in=TROUBLED)
    if filters.fault:
        found = found.filter(fault=filters.fault.replace(NO_FAULT, ""))
    if filters.provider:
        found = found.filter(provider=filters.provider)
    if filters.search:
        found = found.filter(email__icontains=filters.search)
    return list(found.order_by("contact_id").values_list("contact_id", flat=True))


def all_pages(campaign: Campaign, filters: Filters, *, size: int, looked_at: int) -> list[int]:
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = find(campaign, filters, after=after, size=size, looked_at=looked_at)
        assert len(page.rows) <= size
        seen += [row.contact_id for row in page.rows]
        assert page.next_after is None or page.next_after > after
        after = page.next_after
    return seen


@pytest.mark.django_db
@pytest.mark.parametrize(("size", "looked_at"), [(4, 9), (10, 100_000)])
def test_every_filter_finds_each_letter_once(campaign: Campaign, size: int, looked_at: int) -> None:
    searches = ("", "reader_1", "MAIL2", "@")
    every = list(product(STATUSES, FAULTS, PROVIDERS, searches))
    for status, fault, provider, search in random.Random(size).sample(every, 60):
        filters = Filters(status, fault, provider, search)
        found = all_pages(campaign, filters, size=size, looked_at=looked_at)
        assert found == naive(campaign, filters), filters


@pytest.mark.django_db
def test_signs_of_a_pattern_stand_for_themselves(campaign: Campaign, workspace: Workspace) -> None:
    for sign in ("%", "_", "\\"):
        odd = make_contact(workspace, email=f"odd{sign}one@mail.test")
        make_delivery(campaign, odd, status="sent", provider="gmail")
        for text in (f"odd{sign}o", f"{sign}o"):
            found = find(campaign, Filters(search=text), size=100).rows
            assert [row.email for row in found] == [odd.email], text


@pytest.mark.django_db
def test_the_address_that_was_written_to_is_found_after_it_changed(
    campaign: Campaign, workspace: Workspace
) -> None:
    contact = make_contact(workspace, email="before@mail.test")
    make_delivery(campaign, contact, status="sent", provider="gmail")
    contact.email = "after@mail.test"
    contact.save()
    for search in ("before@mail.test", "after@mail.test"):
        rows = find(campaign, Filters(search=search), size=10).rows
        assert [row.contact_id for row in rows] == [contact.pk], search


@pytest.mark.django_db
def test_rows_are_read_in_the_order_of_an_index(campaign: Campaign) -> None:
    """Whatever the planner believes of the ledger: nothing is sorted, and no more is read."""
    for filters in (Filters(), Filters("sent"), Filters("suppressed"), Filters(provider="gmail")):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            find(campaign, filters, size=5, looked_at=20)
        (statement,) = [one["sql"] for one in captured if "AS looked_at" in one["sql"]]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("EXPLAIN " + statement)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            cursor.execute("SET LOCAL enable_sort = on")
        assert "Sort" not in plan, plan
        assert "Index Scan" in plan


@pytest.mark.django_db
def test_what_the_counters_do_not_know_is_not_looked_for(campaign: Campaign) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert find(campaign, Filters(provider="yandex"), size=5).rows == []
    assert len(captured) == 1
    assert "campaigns_tally" in captured[0]["sql"]


@pytest.mark.django_db
def test_a_page_without_a_hit_leads_on(
    campaign: Campaign, owner: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty-one rows are asked for; the only one that fits comes after all that are looked at."""
    rows = list(campaign.deliveries.order_by("contact_id"))
    campaign.deliveries.update(status="sent", provider="gmail", fault="", lease_until=None)
    campaign.deliveries.filter(contact_id=rows[-1].contact_id).update(provider="mailru")
    monkeypatch.setattr("apps.campaigns.found.LOOKED_AT", 40)
    client: Client = client_of(owner)
    path = url(campaign, "deliveries/")
    first = client.get(path, {"provider": "mailru"})
    assert "Look further" in first.content.decode()
    second = client.get(path + first.context["page"].next_url)
    assert [row.contact_id for row in second.context["page"].rows] == [rows[-1].contact_id]
