"""The list of contacts: search, filters, orders, columns and pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, ContactField, DomainFact, SearchText
from tests.support import factories

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/"


@pytest.fixture
def client(client_of: Callable[[User], Client], owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


def names(workspace: Workspace, **chosen: object) -> list[str]:
    found = selectors.contacts(workspace, **chosen)  # type: ignore[arg-type]
    return sorted(one.email.partition("@")[0] for one in found)


def test_a_search_takes_parts_of_addresses_and_names(workspace: Workspace) -> None:
    factories.make_contact(workspace, "ann@example.com", first_name="Анна", last_name="O'Neil")
    factories.make_contact(workspace, "bo@example.com", first_name="Bo", last_name="100%_sure")
    assert names(workspace, search="АННА neil") == ["ann"]
    assert names(workspace, search="xample") == ["ann", "bo"]
    assert names(workspace, search="0%_s") == ["bo"]
    assert names(workspace, search="bo o'n") == []
    # One or two characters begin a word.
    assert names(workspace, search="bo") == names(workspace, search="10") == ["bo"]
    assert names(workspace, search="O'") == ["ann"]
    assert names(workspace, search="n") == names(workspace, search="%") == []


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE mailer_contact; --", "\\", "%" * 200, "😀", "_", "\\%"]
)
def test_hostile_words_find_nothing(client: Client, workspace: Workspace, text: str) -> None:
    factories.make_contact(workspace, "ann@example.com")
    for name in ("search", "tag", "domain", "after", "reason", "provider", "sort", "list"):
        answer = client.get(URL, {name: text})
        assert answer.status_code == 200, (name, text)
    assert names(workspace, search=text) == []


@pytest.mark.parametrize("name", ["search", "tag", "domain", "after", "of_import", "list"])
def test_nul_bytes_are_no_error(client: Client, workspace: Workspace, name: str) -> None:
    factories.make_contact(workspace, "ann@example.com")
    for sort in selectors.SORTS:
        assert client.get(URL, {name: "a\0b", "sort": sort}).status_code == 200


def test_filters(workspace: Workspace) -> None:
    DomainFact.objects.create(domain="firm.example", status="ok", provider="gmail",
                              expires_at=timezone.now())  # fmt: skip
    DomainFact.objects.create(domain="own.example", status="ok", provider="other",
                              expires_at=timezone.now())  # fmt: skip
    factories.make_contact(workspace, "a@gmail.com", tags=["VIP", "new"], reason="catch_all")
    factories.make_contact(workspace, "b@firm.example", tags=["vip"])
    factories.make_contact(workspace, "c@own.example", verdict="")
    assert names(workspace, tag="VIP") == ["a"]
    assert names(workspace, reason="catch_all", verdict="valid") == ["a"]
    assert names(workspace, provider="gmail") == ["a", "b"]
    assert names(workspace, provider="other") == ["c"]
    assert names(workspace, provider="nobody") == []
    assert names(workspace, domain="@FIRM.example") == ["b"]
    assert names(workspace, verdict="none", provider="other", domain="own.example") == ["c"]


@pytest.mark.parametrize(("counted", "sorted_at_most"), [(10_000, 0), (5, 10_000), (5, 0)])
@pytest.mark.parametrize("sort", list(selectors.SORTS))
def test_pages_show_everybody_once(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    sort: str,
    counted: int,
    sorted_at_most: int,
) -> None:
    monkeypatch.setattr("apps.mailer.selectors.audience.COUNTED", counted)
    monkeypatch.setattr("apps.mailer.selectors.audience.SORTED_AT_MOST", sorted_at_most)
    now = timezone.now()
    for number in range(11):
        one = factories.make_contact(workspace, f"p{number * 7 % 11:02}@example.com")
        # Imports change many contacts at one moment.
        Contact.objects.filter(pk=one.pk).update(updated_at=now - timedelta(days=number // 4))
    seen: list[Contact] = []
    after = ""
    while True:
        found = selectors.contacts(workspace)
        page = selectors.contact_page(found, sort=sort, after=after, size=3)
        seen += page.rows
        assert (page.number, page.exact) == (min(11, counted), counted > 11)
        after = page.next_after
        if not after:
            break
    assert len(seen) == 11
    assert [one.pk for one in seen] == [
        one.pk for one in Contact.objects.order_by(*selectors.SORTS[sort])
    ]


@pytest.mark.parametrize("after", ["x", "9" * 30, "2026-01-01/x", "2026-01-01/5", "/", "٣", "\0"])
def test_a_place_that_is_none_is_ignored(workspace: Workspace, after: str) -> None:
    factories.make_contact(workspace, "ann@example.com")
    for sort in ("newest", "changed"):
        page = selectors.contact_page(selectors.contacts(workspace), sort=sort, after=after)
        assert len(page.rows) == 1


def test_numbers_beyond_what_is_counted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.mailer.selectors.audience.COUNTED", 2)
    for _number in range(2):
        factories.make_contact(workspace)
    assert selectors.number_of(selectors.contacts(workspace)) == (2, True)
    factories.make_contact(workspace)
    number, exact = selectors.number_of(selectors.contacts(workspace))
    assert number >= 2
    assert not exact


def test_columns_are_remembered(client: Client, workspace: Workspace) -> None:
    ContactField.objects.create(workspace=workspace, key="city", label="City <b>")
    factories.make_contact(workspace, "ann@example.com", fields={"city": "=Уфа<script>"})
    chosen = ["field:city", "lists", "field:unknown", "<script>"]
    answer = client.post(f"{URL}columns/", {"columns": chosen, "query": "sort=email"})
    assert answer["Location"] == f"{URL}?sort=email"
    text = client.get(URL).text
    assert "City &lt;b&gt;</th>" in text
    assert "=Уфа&lt;script&gt;" in text
    head = re.findall(r"<th scope=\"col\">([^<]*)</th>", text)
    assert head == ["Contact", "Lists", "City &lt;b&gt;"]


@pytest.mark.parametrize("query", ["\r\nSet-Cookie: a=b", "//evil.example", "x" * 5000])
def test_the_way_back_stays_on_the_page(client: Client, workspace: Workspace, query: str) -> None:
    answer = client.post(f"{URL}columns/", {"query": query})
    assert answer["Location"].startswith(URL)
    assert "\n" not in answer["Location"]


def test_columns_are_of_one_workspace(
    client_of: Callable[[User], Client], outsider: User, workspace: Workspace
) -> None:
    client = client_of(outsider)
    assert client.post(f"{URL}columns/", {"columns": ["lists"]}).status_code == 404
    client.post("/w/elsewhere/audience/columns/", {"columns": ["tags"]})
    assert list(client.session["contact_columns"].values()) == [["tags"]]


def test_the_search_has_an_index(db: None) -> None:
    found = Contact.objects.alias(text=SearchText()).filter(text__contains="ann")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "contact_search" in found.explain()
