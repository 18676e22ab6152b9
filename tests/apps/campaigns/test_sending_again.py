from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import tasks
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.retry import retry_delivery, retry_failed, retry_unknown
from apps.campaigns.services.sending import batches
from apps.mailer.models import ListMember, Segment
from core.errors import Conflict
from tests.apps.campaigns.letters_out import (
    only_row,
    queue,
)
from tests.apps.campaigns.rows import statuses
from tests.support.factories import (
    make_campaign,
    make_list,
)
from tests.support.sandbox import Sandbox

State = Campaign.State
Status = Delivery.Status


# Once more, because a person asked


@pytest.mark.parametrize("status", ["failed", "unknown"])
def test_a_retry_opens_a_finished_campaign_until_it_is_final(
    campaign: Campaign,
    sandbox: Sandbox,
    status: str,
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rung: list[dict[str, int]] = []
    monkeypatch.setattr(tasks.send_single_email, "delay", lambda **ids: rung.append(ids))
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=status, attempts=1)
    Campaign.objects.update(state=State.FINISHED, finished_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        retry_delivery(campaign=campaign, contact_id=contact.pk)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.finished_at) == (State.SENDING, None)
    assert rung == [{"campaign_id": campaign.pk, "contact_id": contact.pk}]
    tasks.send_single_email(**rung[0])
    tasks.send_single_email(**rung[0])
    assert len(sandbox.messages) == 1
    row = only_row(campaign)
    assert (row.status, row.attempts) == ("sent", 2)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert campaign.finished_at is not None


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *(("sending", status) for status in Status.values if status not in {"failed", "unknown"}),
        ("cancelling", "failed"),
        ("cancelled", "failed"),
        ("preparing", "failed"),
    ],
)
def test_other_rows_are_not_sent_again(workspace: Workspace, state: str, status: str) -> None:
    campaign = make_campaign(workspace, state=state)
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=status)
    with pytest.raises(Conflict):
        retry_delivery(campaign=campaign, contact_id=contact.pk)
    campaign.refresh_from_db()
    assert campaign.state == state
    assert only_row(campaign).status == status


def test_who_has_left_the_list_is_not_written_to_again(workspace: Workspace) -> None:
    news = make_list(workspace)
    campaign = make_campaign(workspace, news, state=State.FINISHED)
    left, stayed, failed = queue(campaign, "a@x.test", "b@x.test", "c@x.test", status="unknown")
    campaign.deliveries.filter(contact=failed.pk).update(status="failed", fault="other")
    ListMember.objects.create(list=news, contact=stayed)
    with pytest.raises(Conflict):
        retry_delivery(campaign=campaign, contact_id=left.pk)
    assert retry_failed(campaign=campaign, faults=["other"]) == 0
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert retry_unknown(campaign=campaign) == 1
    assert campaign.deliveries.get(status="queued").contact_id == stayed.pk
    # A segment may take them whatever lists they are in.
    campaign.segments.add(Segment.objects.create(workspace=workspace, name="All", rules={}))
    assert (
        retry_unknown(campaign=campaign),
        retry_failed(campaign=campaign, faults=["other"]),
    ) == (1, 1)


def test_a_retry_of_nobody_leaves_a_finished_campaign_finished(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.FINISHED)
    with pytest.raises(Conflict):
        retry_delivery(campaign=campaign, contact_id=1)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


def test_a_retry_in_a_paused_campaign_waits_for_its_end(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    campaign = make_campaign(workspace, state=State.PAUSED)
    (contact,) = queue(campaign, "anna@inbox.sandbox.test", status=Status.FAILED)
    retry_delivery(campaign=campaign, contact_id=contact.pk)
    batches.send_one(campaign.pk, contact.pk)
    assert statuses(campaign) == {"queued": 1}
    assert sandbox.messages == []


def test_a_retry_to_a_paused_provider_waits_for_it(workspace: Workspace, sandbox: Sandbox) -> None:
    campaign = make_campaign(workspace, state=State.SENDING, paused_providers=["gmail"])
    contact, other = queue(
        campaign, "anna@inbox.sandbox.test", "boris@inbox.sandbox.test", status=Status.FAILED
    )
    campaign.deliveries.filter(contact=contact.pk).update(provider="gmail")
    for one in (contact, other):
        retry_delivery(campaign=campaign, contact_id=one.pk)
        batches.send_one(campaign.pk, one.pk)
    assert statuses(campaign) == {"queued": 1, "sent": 1}
    Campaign.objects.update(paused_providers=[])
    batches.send_one(campaign.pk, contact.pk)
    assert statuses(campaign) == {"sent": 2}
