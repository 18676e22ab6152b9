"""Sending again what failed or is unknown, because a person asked for it."""

from __future__ import annotations

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign
from apps.campaigns.services import launch, ledger
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
        if not _open_again(campaign.pk) or not ledger.queue_again(campaign.pk, contact_id):
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
    queued, after = 0, 0
    while True:
        with transaction.atomic():
            if not _open_again(campaign.pk):
                raise Conflict(_("The campaign is in another state by now: look at it again."))
            contact_ids = _queue_unknown(campaign.pk, after)
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


def _queue_unknown(campaign_id: int, after: int) -> list[int]:
    """The next chunk of unknown rows by contact, queued. The server's words about them stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'unknown'
                  AND contact_id > %(after)s
                ORDER BY status, contact_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = 'queued', token = NULL, next_attempt_at = NULL, updated_at = now()
            WHERE row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(ARRAY(SELECT contact_id FROM picked))
            RETURNING row.contact_id
            """,
            {"campaign": campaign_id, "after": after, "limit": CHUNK},
        )
        return [contact for (contact,) in cursor.fetchall()]
