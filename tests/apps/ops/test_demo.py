from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import letters
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact, Import, ImportedContact
from apps.ops import demo
from apps.sandbox.models import Message
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_user,
    make_workspace,
)


@pytest.fixture
def job(workspace: Workspace) -> Import:
    return Import.objects.create(
        workspace=workspace, state=Import.State.FINISHED, checkpoint=6, created=5, rejected=1
    )


@pytest.fixture
def campaign(workspace: Workspace, job: Import) -> Campaign:
    """Five contacts of the import, each with a sent letter in the inbox."""
    campaign = make_campaign(workspace, state=Campaign.State.FINISHED, launched_at=timezone.now())
    for _ in range(5):
        contact = make_contact(workspace, verified_at=timezone.now() - timedelta(minutes=1))
        ImportedContact.objects.create(of_import=job, contact=contact)
        make_delivery(campaign, contact, status=Delivery.Status.SENT)
        receive(campaign, contact)
    return campaign


def receive(campaign: Campaign, contact: Contact, **fields: str) -> None:
    Message.objects.create(
        **{
            "inbox": str(campaign.workspace_id),
            "envelope_from": campaign.from_email,
            "recipient": contact.email,
            "message_id": letters.message_id_of(campaign.pk, contact.pk, campaign.from_email),
            "data": b"",
        }
        | fields
    )


def a_row(campaign: Campaign) -> Delivery:
    return Delivery.objects.filter(campaign=campaign)[0]


def test_all_arrived_once(job: Import, campaign: Campaign) -> None:
    outcome = demo.compare(job, campaign)
    assert outcome.line == (
        "demo: imported 6 rejected 1 valid 5 sent 5 inbox 5 lost 0 duplicates 0"
    )
    assert outcome.passed


def test_a_sent_letter_that_the_inbox_has_not_is_lost(job: Import, campaign: Campaign) -> None:
    Message.objects.filter(recipient=a_row(campaign).email).delete()
    outcome = demo.compare(job, campaign)
    assert (outcome.lost, outcome.duplicates, outcome.passed) == (1, 0, False)


def test_a_letter_of_another_inbox_or_campaign_does_not_count(
    job: Import, campaign: Campaign
) -> None:
    row = a_row(campaign)
    Message.objects.filter(recipient=row.email).delete()
    receive(campaign, row.contact, inbox="999999")
    other = Campaign(pk=campaign.pk * 10 + 1, workspace=campaign.workspace, from_email="a@b.test")
    receive(other, row.contact)
    outcome = demo.compare(job, campaign)
    assert (outcome.lost, outcome.inbox) == (1, 4)


@pytest.mark.parametrize("status", Delivery.IN_MOTION)
def test_a_row_that_never_became_final_is_lost(
    job: Import, campaign: Campaign, status: str
) -> None:
    row = a_row(campaign)
    Delivery.objects.filter(campaign=campaign, contact_id=row.contact_id).update(status=status)
    Message.objects.filter(recipient=row.email).delete()
    outcome = demo.compare(job, campaign)
    assert (outcome.lost, outcome.sent) == (1, 4)


def test_a_valid_contact_without_a_row_is_lost(job: Import, campaign: Campaign) -> None:
    row = a_row(campaign)
    Delivery.objects.filter(campaign=campaign, contact_id=row.contact_id).delete()
    # Even where another contact's row makes up the number.
    make_delivery(campaign, make_contact(campaign.workspace), status=Delivery.Status.FAILED)
    assert demo.compare(job, campaign).lost == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_letter_that_arrived_again_is_a_duplicate(
    job: Import, campaign: Campaign, times: int
) -> None:
    for _ in range(times):
        receive(campaign, a_row(campaign).contact)
    outcome = demo.compare(job, campaign)
    assert (outcome.lost, outcome.duplicates, outcome.passed) == (0, times, False)


@pytest.mark.parametrize("arrived", [True, False])
def test_an_unknown_letter_is_neither_lost_nor_sent(
    job: Import, campaign: Campaign, arrived: bool
) -> None:
    row = a_row(campaign)
    Delivery.objects.filter(campaign=campaign, contact_id=row.contact_id).update(status="unknown")
    if not arrived:
        Message.objects.filter(recipient=row.email).delete()
    outcome = demo.compare(job, campaign)
    assert (outcome.lost, outcome.duplicates, outcome.sent) == (0, 0, 4)


def test_nothing_sent_is_no_success(job: Import, workspace: Workspace) -> None:
    campaign = make_campaign(workspace, launched_at=timezone.now())
    assert not demo.compare(job, campaign).passed


def test_a_fresh_workspace_is_empty_and_leaves_the_others_alone(
    owner: User, workspace: Workspace
) -> None:
    first = demo.fresh_workspace(owner)
    for one in (first, workspace):
        contact = make_contact(one, to=make_list(one))
        campaign = make_campaign(one)
        make_delivery(campaign, contact)
        receive(campaign, contact)
        job = Import.objects.create(workspace=one)
        ImportedContact.objects.create(of_import=job, contact=contact)
    second = demo.fresh_workspace(owner)
    assert second.pk != first.pk
    assert Membership.objects.get(workspace=second).is_owner
    for model in (Contact, Campaign, Import):
        assert list(model.objects.values_list("workspace_id", flat=True)) == [workspace.pk]
    assert Delivery.objects.count() == Message.objects.count() == 1


def test_the_demo_user_is_made_once(db: None) -> None:
    first = demo.demo_user("secret password")
    assert first.check_password("secret password")
    assert first.is_superuser
    assert demo.demo_user("another") == first
    assert demo.demo_user("another").check_password("secret password")


def test_the_sample_is_committed_or_made() -> None:
    with demo.sample_file(demo.SAMPLE_RECIPIENTS) as path:
        assert path == demo.SAMPLE
    with demo.sample_file(50) as path:
        assert path.stat().st_size > 0
        assert path != demo.SAMPLE
    assert not path.exists()
    assert demo.SAMPLE.exists()


def test_other_workspaces_are_not_taken_for_the_demos(owner: User) -> None:
    make_workspace(make_user(), name="Demo run")
    assert demo.fresh_workspace(owner).slug == "demo-run"
    assert Workspace.objects.filter(name="Demo run").count() == 2
