"""Sending again what failed or is unknown, because a person asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign
from apps.campaigns.services import launch
from apps.campaigns.services.ledger import queueing
from core import queues
from core.errors import Conflict

State = Campaign.State
CHUNK = 1000


def retry_delivery(*, campaign: Campaign, contact_id: int) -> None:
    """Queue one failed or unknown row; a finished campaign is open again until it is final.

    Raises Conflict for a row in any other status and for a cancelled campaign.
    """
    from apps.campaigns.tasks import send_single_email

    with transaction.atomic():
        if not _open_again(campaign.pk) or not queueing.queue_again(campaign.pk, contact_id):
            transaction.set_rollback(True)
            raise Conflict(_("This letter cannot be sent again: look at its status."))
        transaction.on_commit(
            lambda: queues.ring(send_single_email, campaign_id=campaign.pk, contact_id=contact_id)
        )


def retry_unknown(*, campaign: Campaign) -> int:
    """Queue all unknown rows; how many. A second click finds none left: 0.

    Those that become unknown meanwhile are left alone. Raises Conflict for a campaign that is
    neither being sent nor paused nor finished.
    """
    return _retry(campaign, queueing.queue_unknown)


def retry_failed(*, campaign: Campaign, faults: Sequence[str]) -> int:
    """Queue all rows that failed by one of these faults; how many. As retry_unknown otherwise."""
    return _retry(campaign, partial(queueing.queue_failed, faults=faults))


def _retry(campaign: Campaign, queue: Callable[..., list[int]]) -> int:
    queued, after = 0, 0
    while True:
        with transaction.atomic():
            if not _open_again(campaign.pk):
                raise Conflict(_("The campaign is in another state by now: look at it again."))
            contact_ids = queue(campaign.pk, after=after, limit=CHUNK)
            if not contact_ids:
                transaction.set_rollback(True)  # it stays finished
                break
        queued, after = queued + len(contact_ids), max(contact_ids)
    if queued:
        launch.ring_sending([campaign.pk])
    return queued


def _open_again(campaign_id: int) -> bool:
    """Hold the campaign's row, so that it does not finish in between; whether it can send."""
    current = Campaign.objects.select_for_update().only("state").get(pk=campaign_id)
    if current.state == State.FINISHED:
        Campaign.objects.filter(pk=campaign_id).update(
            state=State.SENDING, finished_at=None, moved_at=timezone.now()
        )
    return current.state in {State.FINISHED, State.SENDING, State.PAUSED}
