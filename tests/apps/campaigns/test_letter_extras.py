from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import User, Workspace
from apps.campaigns import letters, tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.campaigns import duplicate_campaign, update_campaign
from core.errors import InvalidInput
from tests.apps.campaigns.pages import ClientOf, url
from tests.support.factories import make_campaign, make_contact, make_delivery

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)


def message_of(campaign: Campaign, **values: object) -> EmailMessage:
    made = letters.compiled(campaign).letter(5, "anna@x.test", values, date=AT)
    data = re.sub(rb"(?m)^\.\.", b".", made.stuffed)
    assert len(data) == made.size
    return message_from_bytes(data, policy=policy.default)


def part(letter: EmailMessage, kind: str) -> str:
    body = letter.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_preheader_comes_first_and_is_not_in_the_text(workspace: Workspace) -> None:
    campaign = make_campaign(
        workspace,
        html="<html><body class='x'><p>Hello</p></body></html>",
        text="",
        preheader="Only for {{ first_name }}",
    )
    letter = message_of(campaign, first_name="<Anna>")
    html = part(letter, "html")
    assert "Only for &lt;Anna&gt;&#847;" in html
    assert html.index("<body") < html.index("Only for") < html.index("<p>Hello")
    assert "Only" not in part(letter, "plain")


def test_a_fault_in_the_preheader_says_so(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match=r"Preheader, line 1: .*\(\{\{ a b \}\}\)"):
        letters.compiled(make_campaign(workspace, preheader="{{ a b }}"))


def test_lines_of_faults_are_the_authors(workspace: Workspace) -> None:
    campaign = make_campaign(
        workspace,
        preheader="Hi",
        view_online=True,
        html="<style>p{color:red}</style>\n<p>\n{{ a b }}</p>",
    )
    with pytest.raises(InvalidInput, match="HTML, line 3"):
        letters.compiled(campaign)


def test_links_carry_the_parameters_counted_or_not(workspace: Workspace) -> None:
    html = (
        '<a href="https://x.test/?a=1&amp;b=%7E#top">x</a><a href="{{ link }}">y</a>'
        '<a href="mailto:a@x.test">z</a><a href="https://y.test/?utm_source=own">o</a>'
    )
    campaign = make_campaign(workspace, html=html, utm={"utm_source": "news", "utm_medium": "a b"})
    assert letters.compiled(campaign).links == (
        "https://x.test/?a=1&b=%7E&utm_medium=a%20b&utm_source=news#top",
        "https://y.test/?utm_source=own&utm_medium=a%20b",
    )
    campaign.track_clicks = False
    found = part(message_of(campaign, link="https://l.test/"), "html")
    assert (
        'href="https://x.test/?a=1&amp;b=%7E&amp;utm_medium=a%20b&amp;utm_source=news#top"' in found
    )
    assert 'href="https://l.test/"' in found
    assert 'href="mailto:a@x.test"' in found


def test_styles_are_inlined_for_all_recipients(workspace: Workspace) -> None:
    campaign = make_campaign(
        workspace, html="<style>p{color:red}@media print{p{top:0}}</style><p>{{ first_name }}</p>"
    )
    html = part(message_of(campaign, first_name="Anna"), "html")
    assert re.search(r'<p style="color: ?red;?">Anna</p>', html)
    assert "@media print" in html


@pytest.mark.parametrize("own", [True, False])
def test_a_letter_has_a_page_in_the_browser(
    workspace: Workspace, own: bool, client: Client
) -> None:
    html = '<p>Hello {{ first_name }} <a href="https://x.test/">x</a></p>'
    if own:
        html += '<a href="{{ view_url }}">look</a>'
    campaign = make_campaign(workspace, html=html, view_online=True)
    contact = make_contact(workspace, first_name="Anna")
    make_delivery(campaign, contact)
    letter = letters.compiled(campaign).letter(
        contact.pk, contact.email, {"first_name": "Anna"}, date=AT
    )
    data = message_from_bytes(letter.stuffed, policy=policy.default)
    found = re.findall(r'href="([^"]*/v/[^"]*)"', part(data, "html"))
    assert len(found) == 1
    page = client.get("/v/" + found[0].rpartition("/")[2])
    body = page.content.decode()
    assert page.status_code == 200
    assert "Hello Anna" in body
    assert "/o/" not in body
    assert 'href="https://x.test/"' in body
    assert found[0] in body
    assert "script" not in page["Content-Security-Policy"]
    assert "sandbox" in page["Content-Security-Policy"]
    assert not page.cookies
    assert Delivery.objects.get(contact=contact).opened_at is None
    assert contact.status == "subscribed"
    assert client.post("/v/" + found[0].rpartition("/")[2]).status_code == 405


def test_the_page_of_an_erased_contact_is_a_friendly_one(
    workspace: Workspace, client: Client
) -> None:
    campaign = make_campaign(workspace)
    contact = make_contact(workspace)
    make_delivery(campaign, contact)
    token = tokens.sign_view(campaign.pk, contact.pk)
    assert client.get(f"/v/{token}").status_code == 200
    contact.delete()
    page = client.get(f"/v/{token}")
    assert page.status_code == 404
    assert "not here any more" in page.content.decode()
    assert client.get("/v/test").status_code == 404


def test_only_our_tokens_open_it(workspace: Workspace, client: Client) -> None:
    campaign, other = make_campaign(workspace), make_campaign(workspace)
    contact = make_contact(workspace)
    make_delivery(campaign, contact)
    token = tokens.sign_view(campaign.pk, contact.pk)
    unsent = tokens.sign_view(other.pk, contact.pk)
    unsubscribe = tokens.sign(tokens.Kind.UNSUBSCRIBE, campaign.pk, contact.pk)
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for forged in (unsent, unsubscribe, flipped, token + "=", token[1:], "é" * 30, "." * 30):
        assert client.get(f"/v/{forged}").status_code == 404
    assert tokens.read(tokens.Kind.UNSUBSCRIBE, token) is None


@given(st.text(max_size=70))
def test_no_token_raises(token: str) -> None:
    assert tokens.read_view(token) is None


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_view_tokens_come_back(campaign: int, contact: int) -> None:
    assert tokens.read_view(tokens.sign_view(campaign, contact)) == (campaign, contact)


OPTIONS = {
    "preheader": "Soon in {{ city }}",
    "view_online": "on",
    "utm_source": "news",
    "utm_campaign": "spring",
}


def form(campaign: Campaign, **changes: Any) -> dict[str, Any]:
    return {
        "name": campaign.name,
        "html": "<p>Hi</p>",
        "version": campaign.updated_at.isoformat(),
        **OPTIONS,
    } | changes


def test_the_editor_keeps_the_options(
    workspace: Workspace, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    campaign = make_campaign(workspace)
    assert client_of(outsider).post(url(campaign, "edit/"), form(campaign)).status_code == 404
    client = client_of(teammate)
    assert client.post(url(campaign, "edit/"), form(campaign)).status_code == 302
    campaign.refresh_from_db()
    assert campaign.preheader == "Soon in {{ city }}"
    assert campaign.view_online
    assert campaign.utm == {"utm_source": "news", "utm_campaign": "spring"}
    page = client.get(url(campaign, "edit/")).content.decode()
    assert 'value="spring"' in page
    assert '<details class="mb-3" open' in page
    refused = client.post(url(campaign, "edit/"), form(campaign, utm_source="a\nb" * 80))
    assert refused.status_code == 422
    copy = duplicate_campaign(campaign=campaign, by=teammate)
    assert (copy.preheader, copy.utm, copy.view_online) == (
        campaign.preheader,
        campaign.utm,
        True,
    )


@pytest.mark.parametrize(
    "utm", [{"utm_source": "a\r\nb"}, {"source": "x"}, {"utm_term": "x" * 151}]
)
def test_parameters_are_checked_by_the_service_too(
    workspace: Workspace, utm: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        update_campaign(campaign=make_campaign(workspace), utm=utm)
