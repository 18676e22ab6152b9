"""The pages of variants and of their test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch
from apps.campaigns.services.campaigns import duplicate_campaign, resend_campaign
from tests.apps.campaigns.pages import ClientOf, conflict, url
from tests.apps.campaigns.rows import statuses
from tests.apps.campaigns.tested import by_variant, make_tested, prepared
from tests.support.factories import make_campaign, make_contact, make_list

State = Campaign.State
Status = Delivery.Status
OTHER = {"subject": "Other"}


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)


@pytest.fixture
def draft(workspace: Workspace) -> Campaign:
    chosen = make_list(workspace)
    make_contact(workspace, to=chosen)
    return make_campaign(workspace, chosen)


@pytest.fixture
def running(workspace: Workspace) -> Campaign:
    campaign = prepared(make_tested(workspace, 40, OTHER, share=50))
    Delivery.objects.filter(status=Status.QUEUED).update(status=Status.SENT)
    Delivery.objects.filter(variant=2).update(opened_at=timezone.now())
    return campaign


@pytest.fixture(params=["owner", "teammate"])
def member(request: pytest.FixtureRequest, client_of: ClientOf) -> Client:
    person: User = request.getfixturevalue(request.param)
    return client_of(person)


def variants_of(campaign: Campaign) -> list[tuple[int, str]]:
    return list(campaign.variants.order_by("number").values_list("number", "subject"))


def save(client: Client, campaign: Campaign, number: int, **fields: Any) -> Any:
    campaign.refresh_from_db()
    variant = campaign.variants.get(number=number)
    data = {"version": version(campaign), "variant": variant.pk, **fields}
    return client.post(url(campaign, f"variants/{number}/"), data)


def test_a_test_from_the_first_variant_to_the_plan(member: Client, draft: Campaign) -> None:
    assert "Set up a test" in member.get(url(draft, "variants/section/")).content.decode()
    assert "Nothing is tested yet" in member.get(url(draft, "variants/")).content.decode()
    assert member.post(url(draft, "variants/add/")).status_code == 302
    assert variants_of(draft) == [(1, ""), (2, "")]
    assert save(member, draft, 2, subject="Other", from_name="Olga").status_code == 302
    member.post(url(draft, "variants/add/"))
    assert save(member, draft, 3, next="copy").status_code == 302
    saved = save(member, draft, 3, html="<p>Own {{ first_name }}</p>", text="")
    assert saved.status_code == 302
    page = member.get(url(draft, "variants/")).content.decode()
    assert "subject “Other”, sender Olga" in page
    assert "its own content" in page
    test = {"share": 30, "winner_by": "clicks", "winner_after": 60}
    assert member.post(url(draft, "variants/"), test).status_code == 302
    draft.refresh_from_db()
    assert (draft.test_share, draft.winner_by, draft.winner_after) == (30, "clicks", 60)
    launch_page = member.get(url(draft, "launch/")).content.decode()
    assert "most clicks, chosen 1 hour after" in launch_page
    assert "a variant goes to nobody" in launch_page  # one contact
    assert "30 % of the recipients" in member.get(url(draft, "variants/section/")).content.decode()
    preview = member.get(url(draft, "variants/3/preview/"))
    assert b"Own " in preview.content
    assert "sandbox" in preview["Content-Security-Policy"]


@pytest.mark.parametrize(
    "fields",
    [
        {"share": 0, "winner_by": "opens", "winner_after": 60},
        {"share": 101, "winner_by": "opens", "winner_after": 60},
        {"share": 20, "winner_by": "luck", "winner_after": 60},
        {"share": 20, "winner_by": "opens", "winner_after": 61},
        {},
    ],
)
def test_a_wrong_test_is_not_saved(
    client_of: ClientOf, owner: User, workspace: Workspace, fields: dict[str, Any]
) -> None:
    campaign = make_tested(workspace, 1, OTHER, share=40)
    response = client_of(owner).post(url(campaign, "variants/"), fields)
    campaign.refresh_from_db()
    assert campaign.test_share == 40
    assert response.status_code in (200, 422)


@pytest.mark.parametrize(
    "fields",
    [{"subject": "two\nlines"}, {"from_email": "nobody"}, {"subject": "x" * 501}],
)
def test_a_wrong_variant_is_not_saved(
    client_of: ClientOf, owner: User, workspace: Workspace, fields: dict[str, str]
) -> None:
    campaign = make_tested(workspace, 1, OTHER)
    assert save(client_of(owner), campaign, 2, **fields).status_code == 422
    assert variants_of(campaign)[1] == (2, "Other")


def test_four_variants_at_most(client_of: ClientOf, owner: User, workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, OTHER, OTHER, OTHER)
    client = client_of(owner)
    assert "Add a variant" not in client.get(url(campaign, "variants/")).content.decode()
    assert conflict(client, url(campaign, "variants/add/"))


def test_removing_moves_the_others_up_and_ends_with_the_last(
    client_of: ClientOf, owner: User, workspace: Workspace
) -> None:
    campaign = make_tested(workspace, 1, {"subject": "B"}, {"subject": "C"}, {"subject": "D"})
    client = client_of(owner)
    assert "move up" in client.get(url(campaign, "variants/2/remove/")).content.decode()
    client.post(url(campaign, "variants/2/remove/"))
    assert variants_of(campaign) == [(1, ""), (2, "C"), (3, "D")]
    client.post(url(campaign, "variants/3/remove/"))
    assert "the test ends" in client.get(url(campaign, "variants/2/remove/")).content.decode()
    client.post(url(campaign, "variants/2/remove/"))
    campaign.refresh_from_db()
    assert variants_of(campaign) == []
    assert campaign.test_share is None
    assert client.post(url(campaign, "variants/1/remove/")).status_code == 404


def test_the_first_variant_is_the_campaigns_own_letter(
    client_of: ClientOf, owner: User, workspace: Workspace
) -> None:
    campaign = make_tested(workspace, 1, OTHER)
    response = client_of(owner).get(url(campaign, "variants/1/"))
    assert response["Location"] == url(campaign, "edit/")


def test_nothing_changes_after_the_launch(
    client_of: ClientOf, owner: User, running: Campaign
) -> None:
    client = client_of(owner)
    for page in ("variants/add/", "variants/2/remove/", "variants/2/start-from/"):
        assert conflict(client, url(running, page), {"campaign": "copy"})
    assert client.post(url(running, "variants/2/"), {"subject": "New"})["Location"] == url(running)
    test = {"share": 10, "winner_by": "hand", "winner_after": 60}
    assert client.post(url(running, "variants/"), test)["Location"] == url(running)
    running.refresh_from_db()
    assert running.test_share == 50
    assert variants_of(running) == [(1, ""), (2, "Other")]


def test_the_report_and_a_choice_by_hand(member: Client, running: Campaign) -> None:
    assert "variants/report/" in member.get(url(running)).content.decode()
    page = member.get(url(running, "variants/report/")).content.decode()
    assert "20 contacts wait for the winner" in page
    assert "The time runs once all test letters have gone out" in page
    assert "100 % (72.2 to 100)" in page
    assert "0 % (0 to 27.8)" in page
    assert "B is ahead of A by 100 points, more than chance explains" in page
    asked = member.get(url(running, "variants/1/choose/")).content.decode()
    assert "Send variant A to the 20 contacts who wait?" in asked
    assert statuses(running)["waiting"] == 20
    member.post(url(running, "variants/1/choose/"))
    assert by_variant(running) == {1: 30, 2: 10}
    assert conflict(member, url(running, "variants/2/choose/"))
    assert member.get(url(running, "variants/2/choose/"))["Location"] == url(running)
    page = member.get(url(running, "variants/report/")).content.decode()
    assert "Variant A was chosen." in page
    assert "Choose variant" not in page
    # The figures are those of the test, without the twenty.
    assert page.count('d-md-table-cell">10</td>') == 4


def test_those_who_wait_stand_in_the_report(
    client_of: ClientOf, owner: User, running: Campaign
) -> None:
    client = client_of(owner)
    assert 'id="figure-waiting"' in client.get(url(running)).content.decode()
    found = client.get(url(running, "deliveries/?status=waiting")).content.decode()
    assert "Waits for the winner" in found


def test_what_is_said_without_opens_and_by_hand(
    client_of: ClientOf, owner: User, running: Campaign
) -> None:
    Delivery.objects.update(opened_at=None)
    Campaign.objects.update(winner_by="hand", tested_at=timezone.now(), winner_after=1)
    client = client_of(owner)
    page = client.get(url(running, "variants/report/")).content.decode()
    assert "Nobody has opened it so far" in page
    assert "You choose it." in page
    Campaign.objects.update(tested_at=timezone.now() - timedelta(hours=1))
    page = client.get(url(running, "variants/report/")).content.decode()
    assert "choose the winner" in page


def test_without_variants_there_is_nothing_to_report(
    client_of: ClientOf, owner: User, draft: Campaign
) -> None:
    Campaign.objects.filter(pk=draft.pk).update(state=State.SENDING)
    client = client_of(owner)
    assert "variants/report/" not in client.get(url(draft)).content.decode()
    assert client.get(url(draft, "variants/report/")).status_code == 200
    assert client.get(url(draft, "variants/2/choose/")).status_code == 404


def test_copies(workspace: Workspace, owner: User, running: Campaign) -> None:
    same = duplicate_campaign(campaign=running, by=owner)
    assert variants_of(same) == [(1, ""), (2, "Other")]
    assert (same.test_share, same.winner, same.tested_at) == (50, None, None)
    assert not same.variants.exclude(accepted=0).exists()
    Campaign.objects.filter(pk=running.pk).update(state=State.FINISHED, winner=2)
    running.refresh_from_db()
    again = resend_campaign(campaign=running, by=owner)
    assert again.subject == "Other"
    assert again.test_share is None
    assert not variants_of(again)
    assert again.not_opened == running
