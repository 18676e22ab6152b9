"""Sending again what failed or is unknown, because a person asked for it."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign
from apps.campaigns.services import ledger
from core.errors import Conflict

State = Campaign.State


def retry_delivery(*, campaign: Campaign, contact_id: int) -> None:
    """Queue one failed or unknown row; a finished campaign is open again until it is final.

    Raises Conflict for a row in any other status and for a cancelled campaign.
    """
    from apps.campaigns.tasks import send_single_email

    with transaction.atomic():
        # Held to the end: the campaign must not finish in between.
        current = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if current.state == State.FINISHED:
            Campaign.objects.filter(pk=campaign.pk).update(
                state=State.SENDING, finished_at=None, moved_at=timezone.now()
            )
        open_again = current.state in {State.FINISHED, State.SENDING, State.PAUSED}
        if not open_again or not ledger.queue_again(campaign.pk, contact_id):
            transaction.set_rollback(True)
            raise Conflict(_("This letter cannot be sent again: look at its status."))
        transaction.on_commit(
            lambda: send_single_email.delay(campaign_id=campaign.pk, contact_id=contact_id)
        )
