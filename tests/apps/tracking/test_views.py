from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors, tokens
from apps.campaigns.models import Campaign, CampaignLink, Delivery
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


URL = "https://shop.test/a%20b?q=%7B1%7D&x=[1]|{2}~#top"


@pytest.fixture
def sent(letter: tuple[Campaign, Contact, str]) -> tuple[Campaign, Contact]:
    campaign, contact, _ = letter
    Delivery.objects.update(status="sent")
    for number, url in ((1, URL), (2, "https://пример.test/путь")):
        CampaignLink.objects.create(campaign=campaign, number=number, url=url)
    return campaign, contact


def test_a_click_leads_on_and_counts_once(sent: tuple[Campaign, Contact]) -> None:
    campaign, contact = sent
    path = f"/c/{tokens.sign(Kind.CLICK, campaign.pk, contact.pk, 1)}"
    head = Client().head(path)
    assert (head.status_code, head["Location"]) == (302, URL)
    assert Delivery.objects.get().clicked_at is None
    client = Client(enforce_csrf_checks=True)
    response = client.get(path + "?url=https://evil.test/", headers={"host": "127.0.0.1"})
    assert (response.status_code, response["Location"]) == (302, URL)
    assert not response.cookies
    assert "no-store" in response["Cache-Control"]
    first = Delivery.objects.get()
    assert first.clicked_at is not None
    assert first.opened_at is not None
    client.get(path)
    assert Delivery.objects.get().clicked_at == first.clicked_at
    found = selectors.tallied(campaign)
    assert (found.opens, found.clicks) == (1, 1)
    assert Client().post(path).status_code == 405


def test_an_address_beyond_ascii_is_written_as_headers_take_it(
    sent: tuple[Campaign, Contact],
) -> None:
    campaign, contact = sent
    response = Client().get(f"/c/{tokens.sign(Kind.CLICK, campaign.pk, contact.pk, 2)}")
    assert response["Location"].isascii()
    assert response["Location"].endswith("/%D0%BF%D1%83%D1%82%D1%8C")


def test_links_that_are_not_ours_lead_nowhere(sent: tuple[Campaign, Contact]) -> None:
    campaign, contact = sent
    good = tokens.sign(Kind.CLICK, campaign.pk, contact.pk, 1)
    for bad in (
        good[:-1],
        good + "A",
        "test",
        "%00",
        tokens.sign(Kind.CLICK, campaign.pk, contact.pk, 3),
        tokens.sign(Kind.OPEN, campaign.pk, contact.pk, 1),
        tokens.sign(Kind.CLICK, 10**9, contact.pk, 1),
    ):
        response = Client().get(f"/c/{bad}")
        assert response.status_code == 404, bad
        assert "This link does not work" in response.content.decode()
        assert not response.cookies
    assert Delivery.objects.get().clicked_at is None


def test_the_pixel_is_one_picture_for_everybody(sent: tuple[Campaign, Contact]) -> None:
    campaign, contact = sent
    path = f"/o/{tokens.sign(Kind.OPEN, campaign.pk, contact.pk)}.gif"
    assert Client().head(path).status_code == 200
    assert Delivery.objects.get().opened_at is None
    answers = [Client().get(path), Client().get("/o/test.gif"), Client().get(path)]
    for response in answers:
        assert response.status_code == 200
        assert response["Content-Type"] == "image/gif"
        assert response.content == answers[0].content
        assert response.content.startswith(b"GIF89a")
        assert "no-store" in response["Cache-Control"]
        assert not response.cookies
    assert Delivery.objects.get().opened_at is not None
    assert selectors.tallied(campaign).opens == 1


@pytest.mark.parametrize("path", ["c", "o"])
def test_whoever_opens_an_unknown_letter_was_sent_it(
    sent: tuple[Campaign, Contact], path: str
) -> None:
    campaign, contact = sent
    Delivery.objects.update(status="unknown", fault="network", token=uuid.uuid4())
    kind, end = (Kind.CLICK, "") if path == "c" else (Kind.OPEN, ".gif")
    Client().get(f"/{path}/{tokens.sign(kind, campaign.pk, contact.pk, int(path == 'c'))}{end}")
    row = Delivery.objects.get()
    assert (row.status, row.fault, row.token) == ("sent", "", None)
    assert "accepted" in row.reply
    assert selectors.status_counts(campaign)["unknown"] == 0


@pytest.mark.parametrize("status", ["deferred", "failed", "suppressed", "sent"])
def test_an_open_says_nothing_else_of_a_status(sent: tuple[Campaign, Contact], status: str) -> None:
    campaign, contact = sent
    Delivery.objects.update(status=status, reply="as it was")
    Client().get(f"/o/{tokens.sign(Kind.OPEN, campaign.pk, contact.pk)}.gif")
    row = Delivery.objects.get()
    assert (row.status, row.reply) == (status, "as it was")
