"""A draft's letter in each of the four ways: what its page saves, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign
from apps.campaigns.services.campaigns import duplicate_campaign, update_campaign
from tests.apps.campaigns.pages import ClientOf
from tests.support.factories import make_campaign

MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ first_name }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
JSON = {"Accept": "application/json"}


@pytest.fixture
def client(teammate: User, client_of: ClientOf) -> Client:
    return client_of(teammate)


def made(workspace: Workspace, editor: str, design: str) -> Campaign:
    campaign = make_campaign(workspace, editor=editor, html="", text="")
    return update_campaign(campaign=campaign, design=design)


def page(campaign: Campaign, name: str = "edit") -> str:
    return f"/w/shop/campaigns/{campaign.pk}/{name}/"


def values(campaign: Campaign, **changes: Any) -> dict[str, Any]:
    saved = {"name": campaign.name, "subject": "News", "version": version(campaign)}
    return saved | changes


@pytest.mark.parametrize(
    ("editor", "design"),
    [("mjml", MJML), ("builder", MJML), ("rich", "<p>Hello {{ first_name }}</p>")],
)
def test_the_html_is_made_at_every_save(workspace: Workspace, editor: str, design: str) -> None:
    campaign = made(workspace, editor, design)
    assert "Hello {{ first_name }}" in campaign.html
    assert campaign.html.startswith("<!doctype html>")
    copy = duplicate_campaign(campaign=campaign, by=None)
    assert (copy.editor, copy.design, copy.html) == (editor, campaign.design, campaign.html)


def test_the_page_of_a_builders_letter_leaves_the_letter_alone(
    workspace: Workspace, client: Client
) -> None:
    campaign = made(workspace, "builder", MJML)
    shown = client.get(page(campaign)).content.decode()
    assert "Open the builder" in shown
    assert 'name="html"' not in shown
    assert 'name="design"' not in shown
    response = client.post(page(campaign), values(campaign, next="builder"))
    assert response.headers["Location"] == page(campaign, "builder")
    campaign.refresh_from_db()
    assert campaign.subject == "News"
    assert campaign.design == MJML
    assert "Hello" in campaign.html


def test_saving_by_itself(workspace: Workspace, client: Client) -> None:
    campaign = made(workspace, "mjml", MJML)
    first = client.post(
        page(campaign), values(campaign, design=MJML.replace("Hello", "Good day")), headers=JSON
    )
    assert first.status_code == 200
    late = client.post(page(campaign), values(campaign, design=MJML), headers=JSON)
    assert late.status_code == 409
    campaign.refresh_from_db()
    assert first.json() == {"version": version(campaign)}
    assert "Good day" in campaign.html
    broken = client.post(
        page(campaign), values(campaign, design=MJML.replace("mj-text", "mj-txt")), headers=JSON
    )
    assert broken.status_code == 422
    assert "Line 1: " in broken.json()["error"]["message"]
    unnamed = client.post(page(campaign), values(campaign, name=""), headers=JSON)
    assert unnamed.status_code == 422
    assert "name" in unnamed.json()["errors"]
    campaign.refresh_from_db()
    assert "Good day" in campaign.html


def test_the_preview_is_of_what_is_written(workspace: Workspace, client: Client) -> None:
    campaign = made(workspace, "mjml", MJML)
    shown = client.post(page(campaign, "preview"), {"design": MJML.replace("Hello", "Dear")})
    assert "Dear Anna" in shown.content.decode()
    fault = client.post(page(campaign, "preview"), {"design": MJML.replace("mj-text", "mj-txt")})
    assert "Line 1: " in fault.content.decode()
    campaign.refresh_from_db()
    assert "Hello" in campaign.html


def test_go_on_in_another_way(workspace: Workspace, client: Client) -> None:
    campaign = made(workspace, "builder", MJML)
    for editor in ("mjml", "builder", "html", "rich", "html"):
        client.post(page(campaign, "mode"), {"editor": editor})
        campaign.refresh_from_db()
        assert campaign.editor == editor
        assert "Hello {{ first_name }}" in campaign.html
    assert campaign.design == ""


def test_a_launched_letter_cannot_change(workspace: Workspace, client: Client) -> None:
    campaign = made(workspace, "builder", MJML)
    Campaign.objects.filter(pk=campaign.pk).update(state="sending")
    for name, posted in (
        ("builder", {"design": "<mjml></mjml>", "version": version(campaign)}),
        ("mode", {"editor": "html"}),
        ("start-from", {"starter": "sale"}),
    ):
        assert client.post(page(campaign, name), posted, headers=JSON).status_code == 409
    campaign.refresh_from_db()
    assert (campaign.editor, campaign.design) == ("builder", MJML)
