"""Campaigns for lists and segments, without those of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery, Engagement
from apps.campaigns.services import campaigns, launch
from apps.campaigns.services.ledger import audience
from apps.campaigns.targets import Targets
from apps.mailer.models import Contact, ContactField, ContactList, Segment
from apps.mailer.services import lists
from apps.mailer.services.segments import create_segment
from core.errors import Conflict, InvalidInput
from tests.support import engagement
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

pytestmark = pytest.mark.django_db

State = Campaign.State
ClientOf = Callable[[User], Client]


def tagged(workspace: Workspace, tag: str) -> Segment:
    rule = {"what": "tag", "operator": "any", "values": {"value": [tag]}}
    return create_segment(workspace=workspace, name=tag, rules={"match": "all", "rules": [rule]})


def sent_to(campaign: Campaign) -> set[int]:
    return set(Delivery.objects.filter(campaign=campaign).values_list("contact_id", flat=True))


def shown(campaign: Campaign) -> selectors.Audience:
    targets = Targets.of(campaign)
    return selectors.audience(
        campaign.workspace,
        list_ids=targets.list_ids,
        verdicts=campaign.include_verdicts,
        segments=targets.segments,
        excluded_list_ids=targets.excluded_list_ids,
        excluded_segments=targets.excluded_segments,
    )


@pytest.mark.parametrize("chunk", [1, 3, 20_000])
def test_each_contact_of_several_targets_once_and_none_of_the_excluded(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(audience, "CHUNK", chunk)
    first, second, out = (make_list(workspace) for _ in range(3))
    campaign = make_campaign(workspace, first, second, state=State.PREPARING)
    campaign.segments.set([tagged(workspace, "a"), tagged(workspace, "b")])
    campaign.excluded_lists.set([out])
    campaign.excluded_segments.set([tagged(workspace, "never")])
    expected, excluded = set(), 0
    for number in range(64):
        tags = [tag for bit, tag in enumerate(["a", "b", "never"]) if number >> bit & 1]
        contact = make_contact(workspace, tags=tags)
        chosen = [one for bit, one in enumerate([first, second, out]) if number >> (bit + 3) & 1]
        contact.lists.set(chosen)
        if {"a", "b"} & set(tags) or {first, second} & set(chosen):
            if "never" in tags or out in chosen:
                excluded += 1
            else:
                expected.add(contact.pk)
    make_contact(workspace, tags=["a"], status="unsubscribed")
    make_contact(workspace, tags=["b"], verdict="risky")
    found = shown(campaign)
    assert (found.sendable, found.left_out["excluded"]) == (len(expected), excluded)
    assert (found.left_out["unsubscribed"], found.left_out["risky"]) == (1, 1)
    reach = selectors.reach(campaign)
    assert reach.audience == found
    assert reach.by_provider == {"other": len(expected)}
    assert audience.snapshot(campaign.pk) == len(expected)
    assert sent_to(campaign) == expected
    assert audience.snapshot(campaign.pk) == 0


def test_a_campaign_for_one_segment_alone(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.PREPARING)
    campaign.segments.add(tagged(workspace, "a"))
    assert not selectors.has_audience(campaign)
    contact = make_contact(workspace, tags=["a"])
    make_contact(workspace)
    assert selectors.has_audience(campaign)
    launch.prepare_campaign(campaign.pk)
    assert sent_to(campaign) == {contact.pk}


def test_nothing_of_another_workspace_is_taken(workspace: Workspace) -> None:
    elsewhere = make_workspace()
    make_contact(elsewhere, tags=["a"])
    ours = make_contact(workspace, tags=["a"])
    campaign = make_campaign(workspace, state=State.PREPARING)
    theirs = tagged(elsewhere, "a")
    with pytest.raises(InvalidInput, match="does not exist"):
        campaigns.update_campaign(campaign=make_campaign(workspace), segments=[theirs])
    # Even where it got in by a mistake.
    campaign.segments.add(theirs)
    assert not selectors.has_audience(campaign)
    assert audience.snapshot(campaign.pk) == 0
    campaign.segments.add(tagged(workspace, "a"))
    campaign.excluded_segments.add(theirs)
    assert audience.snapshot(campaign.pk) == 1
    assert sent_to(campaign) == {ours.pk}


def test_a_segment_that_is_gone(workspace: Workspace) -> None:
    """Deleted past the service, which refuses it: the campaign has nobody to go to."""
    make_contact(workspace, tags=["a"])
    campaign = make_campaign(workspace)
    campaign.segments.add(tagged(workspace, "a"))
    assert launch.problems(campaign) == []
    Segment.objects.all().delete()
    assert launch.problems(campaign) == ["Choose at least one list or segment."]


def test_rules_that_are_outdated_stop_the_launch(workspace: Workspace) -> None:
    field = ContactField.objects.create(workspace=workspace, key="city", label="City")
    rule = {"what": "field:city", "operator": "is", "values": {"value": "Riga"}}
    segment = create_segment(
        workspace=workspace, name="In Riga", rules={"match": "all", "rules": [rule]}
    )
    chosen = make_list(workspace)
    make_contact(workspace, to=chosen)
    campaign = make_campaign(workspace, chosen)
    campaign.excluded_segments.add(segment)
    assert launch.problems(campaign) == []
    field.delete()
    [problem] = launch.problems(campaign)
    assert "“In Riga”: Condition 1" in problem
    with pytest.raises(InvalidInput):
        launch.launch_campaign(campaign=campaign, by=None)
    # Outdated after the launch: nothing is sent to those who should be left out.
    Campaign.objects.filter(pk=campaign.pk).update(state=State.PREPARING)
    launch.prepare_campaign(campaign.pk)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.audience) == (State.DRAFT, 0)
    assert "In Riga" in campaign.pause_reason
    assert sent_to(campaign) == set()


def test_a_list_that_a_draft_leaves_out_stays(workspace: Workspace) -> None:
    out = make_list(workspace)
    campaign = make_campaign(workspace, name="Autumn")
    campaign.excluded_lists.add(out)
    with pytest.raises(Conflict, match="Autumn"):
        lists.delete_list(contact_list=out)
    assert ContactList.objects.filter(pk=out.pk).exists()
    Campaign.objects.update(state=State.FINISHED)
    lists.delete_list(contact_list=out)


def test_a_copy_has_the_same_targets(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, make_list(workspace))
    campaign.segments.add(tagged(workspace, "a"))
    campaign.excluded_lists.add(make_list(workspace))
    campaign.excluded_segments.add(tagged(workspace, "b"))
    copy = campaigns.duplicate_campaign(campaign=campaign, by=None)
    assert Targets.of(copy) == Targets.of(campaign)


# Engagement


def test_opens_and_clicks_are_kept_newest_first(workspace: Workspace) -> None:
    contact = make_contact(workspace)
    letters = [make_campaign(workspace) for _ in range(23)]
    for campaign in letters:
        make_delivery(campaign, contact, status="sent")
    engagement.note_click(letters[0].pk, contact.pk)
    engagement.note_open(letters[0].pk, contact.pk)
    one = Engagement.objects.get(contact=contact)
    assert (len(one.opened), len(one.clicked)) == (1, 1)
    for campaign in letters:
        engagement.note_open(campaign.pk, contact.pk)
        engagement.note_open(campaign.pk, contact.pk)
    one.refresh_from_db()
    assert (len(one.opened), len(one.clicked)) == (Engagement.KEPT, 1)
    assert one.opened == sorted(one.opened, reverse=True)
    late = make_delivery(
        make_campaign(workspace), contact, status="sent",
        opened_at=timezone.now().replace(year=2001),
    )  # fmt: skip
    one.refresh_from_db()
    assert late.opened_at not in one.opened
    assert one.workspace_id == workspace.pk


def test_engagement_goes_with_its_contact(workspace: Workspace) -> None:
    contact = make_contact(workspace)
    first, second = make_campaign(workspace), make_campaign(workspace)
    for campaign in (first, second):
        make_delivery(campaign, contact, status="sent")
    engagement.note_open(first.pk, contact.pk)
    pk = contact.pk
    contact.delete()
    assert not Engagement.objects.exists()
    # The ledger stays, and so may a letter that is opened later.
    engagement.note_open(second.pk, pk)
    assert Delivery.objects.get(campaign=second).opened_at is not None
    assert not Engagement.objects.exists()


# Pages


def test_the_editor_takes_targets_and_counts_them(
    owner: User, workspace: Workspace, client_of: ClientOf
) -> None:
    client = client_of(owner)
    make_contact(workspace, tags=["a"])
    make_contact(workspace, tags=["a", "never"])
    segment, never, chosen = (
        tagged(workspace, "a"),
        tagged(workspace, "never"),
        make_list(workspace),
    )
    campaign = make_campaign(workspace)
    address = f"/w/shop/campaigns/{campaign.pk}/"
    editor = client.get(f"{address}edit/")
    assert b"Segments to leave out" in editor.content
    content: dict[str, Any] = {
        "name": "Autumn", "subject": "Hi", "from_email": "news@inbox.sandbox.test",
        "text": "Hi", "segments": [segment.pk], "excluded_segments": [never.pk],
        "excluded_lists": [chosen.pk], "include_verdicts": ["valid"],
        "version": editor.context["form"]["version"].value(),
    }  # fmt: skip
    counted = client.get("/w/shop/campaigns/audience/", content).content.decode()
    assert "contact gets the letter" in counted
    assert "in a list or segment that is left out" in counted
    assert client.post(f"{address}edit/", content).status_code == 302
    assert Targets.of(campaign) == Targets((), (segment,), (chosen.pk,), (never,))
    launching = client.get(f"{address}launch/").content.decode()
    assert "Launch to 1 contact" in launching
    assert "Segments to leave out" in launching
    Campaign.objects.update(state=State.FINISHED)
    report = client.get(address).content.decode()
    assert f"/audience/segments/{segment.pk}/" in report
    assert "left out" in client.get(f"{address}left-out/").content.decode()
    assert Contact.objects.count() == 2


def test_pages_with_outdated_rules(owner: User, workspace: Workspace, client_of: ClientOf) -> None:
    segment = tagged(workspace, "a")
    Segment.objects.update(
        rules=json.loads(json.dumps(segment.rules).replace('"tag"', '"field:gone"'))
    )
    campaign = make_campaign(workspace)
    campaign.segments.add(segment)
    client, address = client_of(owner), f"/w/shop/campaigns/{campaign.pk}/"
    counted = client.get("/w/shop/campaigns/audience/", {"segments": [segment.pk]})
    assert "not exist any more" in counted.content.decode()
    assert "not exist any more" in client.get(f"{address}launch/").content.decode()
    Campaign.objects.update(state=State.FINISHED)
    assert client.get(address).status_code == 200
    assert "not exist any more" in client.get(f"{address}left-out/").content.decode()


def test_a_large_list_is_not_looked_up_member_by_member(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "LARGE", 3)
    large, small = make_list(workspace), make_list(workspace)
    for _number in range(4):
        make_contact(workspace, to=large)
    make_contact(workspace, to=small)
    statement = "EXPLAIN SELECT reason, count(*) FROM ({reasons}) AS reasoned GROUP BY 1"
    plans = {}
    for one in (large, small):
        targets = Targets(list_ids=(one.pk,))
        rows = selectors._ask(statement, workspace, targets, ["valid"], None, [])
        plans[one] = "\n".join(line for (line,) in rows)
    assert "Nested Loop" not in plans[large], plans[large]
    assert "Nested Loop" in plans[small], plans[small]


def test_a_list_of_another_workspace_has_nobody(workspace: Workspace) -> None:
    elsewhere = make_list(make_workspace())
    make_contact(elsewhere.workspace, to=elsewhere)
    found = selectors.audience(workspace, list_ids=[elsewhere.pk], verdicts=["valid"])
    assert found.total == 0
