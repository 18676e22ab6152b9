"""The bounce forecast at the launch, and the gate that it closes."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import bounces, selectors
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign
from apps.campaigns.services import campaigns, notices, schedule
from apps.campaigns.services.launch import launch_campaign, prepare_campaign
from apps.senders.models import SendingPolicy
from core.errors import InvalidInput, NotAllowed
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


def worsen(campaign: Campaign) -> None:
    """As many again whose server was silent: 24 % expected become 27 %."""
    add(campaign, 50, "unknown", "connection_failed")


def add(campaign: Campaign, number: int, verdict: str, reason: str) -> None:
    for _ in range(number):
        factories.make_contact(
            campaign.workspace, to=campaign.lists.get(), verdict=verdict, reason=reason
        )


def refused(campaign: Campaign, **values: Any) -> None:
    campaign.refresh_from_db()
    with pytest.raises((InvalidInput, NotAllowed)):
        launch_campaign(campaign=campaign, **values)
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.DRAFT
    assert campaign.bounces_accepted is None


def plan(campaign: Campaign, **accepts: Any) -> None:
    campaign.refresh_from_db()
    wall = (timezone.now() + timedelta(hours=1)).replace(tzinfo=None)
    schedule.schedule_campaign(campaign=campaign, wall=wall, zone="UTC", **accepts)
    Campaign.objects.update(scheduled_at=timezone.now())


def test_a_launch_beyond_the_limit_takes_an_owners_word(
    client: Client, owner: User, draft: Campaign
) -> None:
    client.force_login(owner)
    page = client.get(reverse("campaigns:launch", args=[draft.workspace.slug, draft.pk]))
    assert b'name="accept_bounces" value="25"' in page.content
    assert launch(client, draft) == 422
    assert launch(client, draft, accept_bounces="no") == 422
    assert draft.state == Campaign.State.DRAFT
    assert launch(client, draft, accept_bounces="25") == 302
    assert draft.state == Campaign.State.PREPARING
    assert (draft.bounces_accepted, draft.bounces_accepted_by) == (25, owner)
    assert draft.bounces_accepted_at is not None
    page = client.get(reverse("campaigns:detail", args=[draft.workspace.slug, draft.pk]))
    assert b"Up to 25 %" in page.content


def test_a_word_about_fewer_bounces_is_none(client: Client, owner: User, draft: Campaign) -> None:
    client.force_login(owner)
    worsen(draft)  # after the page was shown
    assert launch(client, draft, accept_bounces="25") == 422
    assert draft.state == Campaign.State.DRAFT


def test_a_teammate_cannot_give_it(client: Client, teammate: User, draft: Campaign) -> None:
    client.force_login(teammate)
    page = client.get(reverse("campaigns:launch", args=[draft.workspace.slug, draft.pk]))
    assert b"accept_bounces" not in page.content
    launch(client, draft, accept_bounces="100")
    assert draft.state == Campaign.State.DRAFT


def test_the_service_asks_whoever_calls_it(
    draft: Campaign, owner: User, teammate: User, outsider: User
) -> None:
    refused(draft, by=None)
    refused(draft, by=owner)
    refused(draft, by=owner, accept_bounces=24)  # it is 24.1
    for by in (None, teammate, outsider):
        refused(draft, by=by, accept_bounces=100)
    launch_campaign(campaign=draft, by=owner, accept_bounces=25)


def test_the_command_asks_too(draft: Campaign, owner: User) -> None:
    with pytest.raises(CommandError, match="expected to bounce"):
        call_command("launch_campaign", str(draft.pk))
    with pytest.raises(CommandError):
        call_command("launch_campaign", str(draft.pk), "--by", "nobody@shop.example")
    draft.refresh_from_db()
    assert draft.state == Campaign.State.DRAFT
    accepting = ("--by", owner.email, "--accept-bounces", "30")
    call_command("launch_campaign", str(draft.pk), *accepting, stdout=StringIO())
    draft.refresh_from_db()
    assert (draft.bounces_accepted, draft.bounces_accepted_by) == (25, owner)


def test_scheduling_is_held_up_too(client: Client, owner: User, draft: Campaign) -> None:
    client.force_login(owner)
    day = (timezone.now() + timedelta(days=30)).date().isoformat()
    later = {"when": "later", "date": day, "time": "10:00"}
    assert launch(client, draft, **later) == 422
    assert draft.state == Campaign.State.DRAFT
    assert launch(client, draft, **later, accept_bounces="25") == 302
    assert (draft.state, draft.bounces_accepted_by) == (Campaign.State.SCHEDULED, owner)


def test_what_was_accepted_holds_at_its_time(draft: Campaign, owner: User) -> None:
    plan(draft, by=owner, accept_bounces=25)
    assert schedule.launch_due() == 1


def test_one_whose_forecast_got_worse_is_a_draft_with_the_reason(
    client: Client, draft: Campaign, owner: User, mailoutbox: list[Any]
) -> None:
    plan(draft, by=owner, accept_bounces=25)
    worsen(draft)
    assert schedule.launch_due() == 0
    draft.refresh_from_db()
    assert (draft.state, draft.scheduled_at) == (Campaign.State.DRAFT, None)
    assert "27.0 %" in draft.pause_reason
    assert notices.tell_owners(draft.pk) == len(mailoutbox) == 1
    assert "27.0 %" in mailoutbox[0].body
    client.force_login(owner)
    page = client.get(reverse("campaigns:edit", args=[draft.workspace.slug, draft.pk]))
    assert "27.0 %" in page.content.decode()
    # What was accepted before is no word for the next launch.
    draft.refresh_from_db()
    with pytest.raises(InvalidInput):
        launch_campaign(campaign=draft, by=owner)


def test_one_that_came_beyond_the_limit_while_it_waited_does_not_begin(draft: Campaign) -> None:
    draft.include_verdicts = ["valid"]
    draft.save()
    plan(draft)
    draft.lists.get().contacts.update(verdict="valid", reason="role")
    SendingPolicy.objects.update(forecast_percent=0.5)
    assert schedule.launch_due() == 0
    draft.refresh_from_db()
    assert draft.state == Campaign.State.DRAFT


def test_the_risky_part_is_left_out_with_one_click(
    client: Client, teammate: User, draft: Campaign
) -> None:
    """By its reasons: those of the same verdict who bounce less stay."""
    add(draft, 10, "unknown", "greylisted")
    client.force_login(teammate)
    gate = bounces.gate_of(draft)
    assert gate.closed
    assert (gate.left_out, gate.leaves_out) == ((("connection_failed", 40),), 40)
    assert gate.without.letters == 20
    shown = reverse("campaigns:launch", args=[draft.workspace.slug, draft.pk])
    assert "Without 40 contacts" in client.get(shown).content.decode()
    address = reverse("campaigns:leave_out", args=[draft.workspace.slug, draft.pk])
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == 302
    draft.refresh_from_db()
    assert draft.left_out_reasons == ["connection_failed"]
    assert draft.include_verdicts == ["valid", "risky", "unknown"]
    assert not bounces.gate_of(draft).closed
    found = selectors.audience(
        draft.workspace, list_ids=[draft.lists.get().pk], verdicts=draft.include_verdicts,
        left_out_reasons=draft.left_out_reasons,
    )  # fmt: skip
    assert (found.sendable, found.left_out) == (20, {"reasons": 40})
    for name in ("launch", "edit"):
        page = client.get(reverse(f"campaigns:{name}", args=[draft.workspace.slug, draft.pk]))
        assert page.status_code == 200
        assert b"left out" in page.content.lower()
    assert campaigns.duplicate_campaign(campaign=draft, by=teammate).left_out_reasons
    assert launch(client, draft) == 302
    prepare_campaign(draft.pk)
    draft.refresh_from_db()
    assert draft.audience == 20


def test_they_are_taken_back_with_another(client: Client, teammate: User, draft: Campaign) -> None:
    bounces.leave_out(campaign=draft)
    client.force_login(teammate)
    address = reverse("campaigns:include_all", args=[draft.workspace.slug, draft.pk])
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == 302
    draft.refresh_from_db()
    assert draft.left_out_reasons == []
    owner = draft.workspace.memberships.get(role="owner").user
    launch_campaign(campaign=draft, by=owner, accept_bounces=25)
    before = Campaign.objects.values_list("left_out_reasons", "updated_at").get()
    client.post(address)
    assert Campaign.objects.values_list("left_out_reasons", "updated_at").get() == before


def test_the_limit_is_the_workspaces(draft: Campaign) -> None:
    SendingPolicy.objects.create(workspace=draft.workspace, forecast_percent=90)
    assert not bounces.gate_of(draft).closed


def test_an_outsider_sees_nothing(client: Client, outsider: User, draft: Campaign) -> None:
    client.force_login(outsider)
    for name in ("leave_out", "include_all"):
        address = reverse(f"campaigns:{name}", args=[draft.workspace.slug, draft.pk])
        assert client.post(address).status_code == 404
    draft.refresh_from_db()
    assert draft.left_out_reasons == []


def test_below_the_limit_it_needs_no_owner_and_nothing_is_noted(draft: Campaign) -> None:
    draft.include_verdicts = ["valid"]
    draft.save()
    launch_campaign(campaign=draft, by=None, accept_bounces=50)
    draft.refresh_from_db()
    assert (draft.bounces_accepted, draft.bounces_accepted_at) == (None, None)
