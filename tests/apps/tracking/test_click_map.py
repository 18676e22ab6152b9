"""The click map of a campaign with variants: each letter with the clicks of its own readers."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch
from apps.tracking.counts import clicking_people, counts_of
from apps.tracking.models import Event
from apps.tracking.services import shares
from tests.apps.campaigns.pages import ClientOf
from tests.apps.campaigns.tested import make_tested, prepared

LINK = '<a href="https://shop.test/{0}">{0}</a>'
# Numbers in all variants together: first 1, all 2, other 3.
A = LINK.format("first") + LINK.format("all")
C = LINK.format("other") + LINK.format("all")
BADGE = re.compile(r">(\w+)</a><span[^>]*>([^<]*)</span>")


@pytest.fixture
def campaign(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Two letters of each variant: A, B with another subject, C with a letter of its own."""
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)
    draft = make_tested(workspace, 6, {"subject": "B"}, {"html": C}, share=100, html=A, text="")
    return prepared(draft)


def click(campaign: Campaign, variant: int, link: int, machine: str = "", place: int = 0) -> None:
    rows = Delivery.objects.filter(campaign=campaign, variant=variant).order_by("contact_id")
    Event.objects.create(
        at=timezone.now(),
        number=Event.objects.count() + 1,
        workspace_id=campaign.workspace_id,
        campaign_id=campaign.pk,
        contact_id=rows[place].contact_id,
        kind="click",
        variant=variant,
        link=link,
        machine=machine,
    )


@pytest.fixture
def clicked(campaign: Campaign) -> Campaign:
    click(campaign, 1, 1)
    click(campaign, 1, 1)
    click(campaign, 1, 2)
    click(campaign, 1, 2, place=1)
    click(campaign, 2, 1)
    click(campaign, 3, 2)
    click(campaign, 3, 3)
    click(campaign, 3, 2, machine="scanner", place=1)
    return campaign


def badges(client_of: ClientOf, person: User, campaign: Campaign, query: str) -> list[str]:
    page = client_of(person).get(f"/w/shop/reports/{campaign.pk}/click-map/{query}")
    assert page.status_code == 200
    return [f"{word}: {badge}" for word, badge in BADGE.findall(page.content.decode())]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?variant=1", ["first: 1 · 50.0%", "all: 2 · 100%"]),
        ("?variant=2", ["first: 1 · 100%", "all: 0"]),
        ("?variant=3", ["other: 1 · 100%", "all: 1 · 100%"]),
        # Nobody chose one: the campaign's own letter, with all clicks on its links.
        ("", ["first: 2 · 50.0%", "all: 3 · 75.0%"]),
    ],
)
def test_each_variant_has_the_clicks_of_its_own_readers(
    client_of: ClientOf, teammate: User, clicked: Campaign, query: str, shown: list[str]
) -> None:
    assert badges(client_of, teammate, clicked, query) == shown


def test_the_report_offers_each_variant(
    client_of: ClientOf, owner: User, outsider: User, clicked: Campaign
) -> None:
    page = client_of(owner).get(f"/w/shop/reports/{clicked.pk}/").content.decode()
    for number in (1, 2, 3):
        assert f"click-map/?variant={number}" in page
    path = f"/w/shop/reports/{clicked.pk}/click-map/"
    for query in ("?variant=4", "?variant=x"):
        assert client_of(owner).get(path + query).status_code == 404
    assert client_of(outsider).get(path + "?variant=1").status_code == 404


def test_without_variants_there_is_one_map(
    client_of: ClientOf, owner: User, clicked: Campaign
) -> None:
    Campaign.objects.update(test_share=None)
    page = client_of(owner).get(f"/w/shop/reports/{clicked.pk}/").content.decode()
    assert "click-map/" in page
    assert "click-map/?variant" not in page


def test_a_shared_report_offers_them_too(
    client_of: ClientOf, owner: User, clicked: Campaign
) -> None:
    path = shares.path_of(shares.share(campaign=clicked, by=owner, days=7))
    visitor = client_of(owner)
    visitor.logout()
    assert "click-map/?variant=3" in visitor.get(path).content.decode()
    assert b"other" in visitor.get(f"{path}click-map/?variant=3").content


def test_who_clicked_in_a_variant(clicked: Campaign) -> None:
    assert clicking_people(counts_of(clicked), 3) == {0: 1, 2: 1, 3: 1}
