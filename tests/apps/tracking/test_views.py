from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.tokens import Kind
from apps.mailer.models import Contact, Import, Suppression
from tests.support.factories import make_campaign, make_contact, make_delivery, make_list

ClientOf = Callable[[User], Client]


@pytest.fixture
def letter(workspace: Workspace) -> tuple[Campaign, Contact, str]:
    """A launched campaign, one of its recipients and the path of the unsubscribe link."""
    to = make_list(workspace)
    contact = make_contact(workspace, "anna@inbox.sandbox.test", to=to)
    campaign = make_campaign(workspace, to, state=Campaign.State.SENDING)
    make_delivery(campaign, contact)
    return campaign, contact, f"/u/{tokens.sign(Kind.UNSUBSCRIBE, campaign.pk, contact.pk)}"


def test_dashboard_is_for_members(
    workspace: Workspace, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    for path in ("/w/shop/", "/w/shop/now/"):
        assert client_of(owner).get(path).status_code == 200
        assert client_of(teammate).get(path).status_code == 200
        assert client_of(outsider).get(path).status_code == 404
        assert Client().get(path).status_code == 302


def test_an_empty_dashboard_shows_the_three_steps(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get("/w/shop/").content.decode()
    assert "Three steps to your first campaign" in page
    assert "/w/shop/audience/imports/new/" in page
    assert "/w/shop/campaigns/new/" in page
    assert 'hx-trigger="every' not in page


def test_the_steps_lead_to_the_draft_and_go_after_the_launch(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    draft = make_campaign(workspace)
    assert (
        f"/w/shop/campaigns/{draft.pk}/launch/" in client_of(owner).get("/w/shop/").content.decode()
    )
    Campaign.objects.filter(pk=draft.pk).update(state=Campaign.State.FINISHED)
    assert "Three steps" not in client_of(owner).get("/w/shop/").content.decode()


def test_figures_lead_to_their_rows(
    workspace: Workspace, outsider: User, owner: User, client_of: ClientOf
) -> None:
    for verdict in ("valid", "valid", "risky", ""):
        make_contact(workspace, verdict=verdict)
    elsewhere = outsider.workspaces.get()
    make_contact(elsewhere, "secret@inbox.sandbox.test")
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    make_delivery(campaign, make_contact(workspace), status="sent")
    make_delivery(campaign, make_contact(workspace), status="failed")
    response = client_of(owner).get("/w/shop/")
    page = response.content.decode()
    health = response.context["health"]
    assert health.total == 6
    assert {code: count for code, _, count in health.verdicts}["valid"] == 4
    assert health.unverified == 1
    assert "/w/shop/audience/?verdict=risky" in page
    assert f"/w/shop/campaigns/{campaign.pk}/deliveries/?status=failed" in page
    assert 'hx-get="/w/shop/now/"' in page


def test_running_imports_show_and_finished_ones_do_not(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    Import.objects.create(workspace=workspace, name="now.csv", state=Import.State.RUNNING)
    Import.objects.create(workspace=workspace, name="old.csv", state=Import.State.FINISHED)
    page = client_of(owner).get("/w/shop/now/").content.decode()
    assert "now.csv" in page
    assert "old.csv" not in page


def test_looking_at_the_unsubscribe_page_changes_nothing(
    letter: tuple[Campaign, Contact, str],
) -> None:
    _, contact, path = letter
    for response in (Client().get(path), Client().head(path), Client().get(path + "/")):
        assert response.status_code == 200
        assert not response.cookies
        assert response["Referrer-Policy"] == "no-referrer"
    assert "Unsubscribe?" in Client().get(path).content.decode()
    contact.refresh_from_db()
    assert contact.status == Contact.Status.SUBSCRIBED
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_click_needs_neither_cookie_nor_csrf_token_and_works_twice(
    letter: tuple[Campaign, Contact, str], slash: str
) -> None:
    _, contact, path = letter
    client = Client(enforce_csrf_checks=True)
    for _ in range(2):
        response = client.post(path + slash, {"List-Unsubscribe": "One-Click"})
        assert response.status_code == 200
        assert not response.cookies
    contact.refresh_from_db()
    assert contact.status == Contact.Status.UNSUBSCRIBED
    assert Suppression.objects.get().email == contact.email
    assert Delivery.objects.get().status == Delivery.Status.SUPPRESSED


def test_one_click_as_a_urlencoded_body(letter: tuple[Campaign, Contact, str]) -> None:
    _, contact, path = letter
    response = Client(enforce_csrf_checks=True).post(
        path,
        "List-Unsubscribe=One-Click",
        content_type="application/x-www-form-urlencoded",
    )
    assert response.status_code == 200
    contact.refresh_from_db()
    assert contact.status == Contact.Status.UNSUBSCRIBED


def test_the_button_unsubscribes_and_a_second_one_takes_it_back(
    letter: tuple[Campaign, Contact, str],
) -> None:
    _, contact, path = letter
    client = Client(enforce_csrf_checks=True)
    page = client.post(path, {"action": "unsubscribe"}).content.decode()
    assert "You are unsubscribed" in page
    assert contact.email in page
    page = client.post(path, {"action": "resubscribe"}).content.decode()
    assert "You are subscribed again" in page
    contact.refresh_from_db()
    assert contact.status == Contact.Status.SUBSCRIBED
    assert not Suppression.objects.exists()


def test_a_token_that_is_not_ours_gets_a_helpful_page(
    letter: tuple[Campaign, Contact, str],
) -> None:
    campaign, contact, path = letter
    stranger = make_contact(campaign.workspace)
    cut, changed = path[:-3], path[:-20] + ("A" if path[-20] != "A" else "B") + path[-19:]
    unsent = f"/u/{tokens.sign(Kind.UNSUBSCRIBE, campaign.pk, stranger.pk)}"
    for bad in (cut, changed, unsent, "/u/test", "/u/%00%ff"):
        for response in (Client().get(bad), Client().post(bad, {"List-Unsubscribe": "One-Click"})):
            assert response.status_code == 404, bad
            assert "unsubscribe link from the letter" in response.content.decode()
    contact.refresh_from_db()
    assert contact.status == Contact.Status.SUBSCRIBED
