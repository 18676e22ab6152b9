"""The bounce forecast at the launch, and the gate that it closes."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import bounces
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign
from apps.senders.models import SendingPolicy
from core.errors import NotAllowed
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft(workspace: Workspace) -> Campaign:
    """To 10 that exist and 40 that nobody could check."""
    to = factories.make_list(workspace)
    for number in range(50):
        verdict, reason = (
            ("valid", "mailbox_exists") if number < 10 else ("unknown", "connection_failed")
        )
        contact = factories.make_contact(
            workspace, f"p{number}@shop.example", verdict=verdict, reason=reason
        )
        to.contacts.add(contact)
    campaign = factories.make_campaign(workspace, to)
    campaign.include_verdicts = ["valid", "risky", "unknown"]
    campaign.save()
    return campaign


def launch(client: Client, campaign: Campaign, **extra: str) -> int:
    campaign.refresh_from_db()
    address = reverse("campaigns:launch", args=[campaign.workspace.slug, campaign.pk])
    answer = client.post(address, {"version": version(campaign), "when": "now", **extra})
    campaign.refresh_from_db()
    return answer.status_code


def test_a_launch_beyond_the_limit_takes_an_owners_word(
    client: Client, owner: User, draft: Campaign
) -> None:
    client.force_login(owner)
    page = client.get(reverse("campaigns:launch", args=[draft.workspace.slug, draft.pk]))
    assert b"confirm-bounces" in page.content
    assert launch(client, draft) == 422
    assert draft.state == Campaign.State.DRAFT
    assert launch(client, draft, confirm_bounces="on") == 302
    assert draft.state == Campaign.State.PREPARING


def test_a_teammate_cannot_give_it(client: Client, teammate: User, draft: Campaign) -> None:
    client.force_login(teammate)
    page = client.get(reverse("campaigns:launch", args=[draft.workspace.slug, draft.pk]))
    assert b"confirm-bounces" not in page.content
    launch(client, draft, confirm_bounces="on")
    assert draft.state == Campaign.State.DRAFT


def test_scheduling_is_held_up_too(client: Client, owner: User, draft: Campaign) -> None:
    client.force_login(owner)
    later = {"when": "later", "date": "2099-01-01", "time": "10:00"}
    assert launch(client, draft, **later) == 422
    assert draft.state == Campaign.State.DRAFT


def test_the_risky_part_is_left_out_with_one_click(
    client: Client, teammate: User, draft: Campaign
) -> None:
    client.force_login(teammate)
    gate = bounces.gate_of(draft)
    assert (gate.closed, gate.left_out, gate.without.letters) == (True, ("unknown",), 10)
    address = reverse("campaigns:leave_out", args=[draft.workspace.slug, draft.pk])
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == 302
    draft.refresh_from_db()
    assert draft.include_verdicts == ["valid", "risky"]
    assert not bounces.gate_of(draft).closed
    assert launch(client, draft) == 302


def test_the_limit_is_the_workspaces(draft: Campaign) -> None:
    SendingPolicy.objects.create(workspace=draft.workspace, forecast_percent=90)
    assert not bounces.gate_of(draft).closed


def test_an_outsider_sees_nothing(client: Client, outsider: User, draft: Campaign) -> None:
    client.force_login(outsider)
    address = reverse("campaigns:leave_out", args=[draft.workspace.slug, draft.pk])
    assert client.post(address).status_code == 404
    draft.refresh_from_db()
    assert "unknown" in draft.include_verdicts


def test_confirming_below_the_limit_needs_no_owner(draft: Campaign) -> None:
    draft.include_verdicts = ["valid"]
    bounces.require_few_bounces(draft, by=None, confirmed=False)


def test_only_this_workspaces_owner_counts(draft: Campaign, outsider: User) -> None:
    stranger = Membership(workspace=factories.make_workspace(), user=outsider, role="owner")
    with pytest.raises(NotAllowed):
        bounces.require_few_bounces(draft, by=stranger, confirmed=True)
