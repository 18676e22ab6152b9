from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Campaign
from apps.tracking import trends
from apps.tracking.models import Event
from apps.tracking.services import events
from tests.support.factories import make_campaign, make_contact

ClientOf = Callable[[User], Client]


def send(campaign: Campaign, number: int, *, provider: str, days: int = 1, hard: int = 0) -> None:
    """Letters accepted some days ago, and so many to mailboxes that do not exist."""
    known = campaign.deliveries.order_by("-contact_id").first()
    contact = known.contact_id if known else make_contact(campaign.workspace).pk
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status, fault, "
            "provider, attempts, stage, reply, updated_at) SELECT %s, %s + n, n || '@x.test', "
            "CASE WHEN n <= %s THEN 'failed' ELSE 'sent' END, "
            "CASE WHEN n <= %s THEN 'mailbox' ELSE '' END, %s, 1, '', '', %s "
            "FROM generate_series(1, %s) n",
            [
                campaign.pk, contact, hard, hard, provider,
                timezone.now() - timedelta(days=days), number + hard,
            ],
        )  # fmt: skip


def complain(campaign: Campaign, provider: str, number: int) -> None:
    rows = campaign.deliveries.filter(provider=provider, status="sent")[:number]
    for row in rows:
        assert events.record(
            Event.Kind.COMPLAINT, campaign_id=campaign.pk, contact_id=row.contact_id
        )


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=Campaign.State.FINISHED)


def test_levels_by_provider(workspace: Workspace, campaign: Campaign) -> None:
    send(campaign, 1000, provider="gmail", hard=10)
    send(campaign, 500, provider="mailru", hard=15)
    send(campaign, 50, provider="other", hard=10)
    send(campaign, 900, provider="yandex", days=40, hard=500)  # long ago
    complain(campaign, "gmail", 3)
    complain(campaign, "other", 1)
    elsewhere = make_campaign(workspace, state=Campaign.State.FINISHED)
    assert elsewhere.pk
    found = trends.trends_of(workspace)
    by_key = {one.key: one for one in found.standings}
    assert set(by_key) == {"", "gmail", "mailru", "other"}
    assert found.standings[0].key == ""
    assert (by_key["gmail"].complaint_level, by_key["gmail"].hard_level) == ("danger", "good")
    assert (by_key["mailru"].complaint_level, by_key["mailru"].hard_level) == ("good", "warning")
    assert (by_key["other"].complaint_level, by_key["other"].hard_level) == ("", "")
    assert (by_key[""].accepted, by_key[""].hard, by_key[""].complained) == (1550, 35, 4)
    assert by_key[""].complaint_level == "warning"
    assert [one.key for one in found.warned] == ["", "gmail", "mailru"]
    assert found.sums["sent"] == 1550
    assert found.sums["complaint"] == 4
    assert len(found.days) == trends.DAYS


def test_the_dashboard_warns_and_names_the_source(
    workspace: Workspace, campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    send(campaign, 1000, provider="gmail")
    complain(campaign, "gmail", 3)
    page = client_of(owner).get("/w/shop/").content.decode()
    assert "Reputation: Gmail" in page
    assert "0.30%" in page
    assert "support.google.com" in page


def test_nothing_sent_says_so(
    workspace: Workspace, campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get("/w/shop/").content.decode()
    assert "Nothing was sent in these days" in page
    assert "Reputation" not in page


def test_others_are_not_counted(workspace: Workspace, outsider: User) -> None:
    theirs = make_campaign(outsider.workspaces.get(), state=Campaign.State.FINISHED)
    send(theirs, 200, provider="gmail")
    found = trends.trends_of(workspace)
    assert found.standings == []
    assert not any(found.sums.values())
