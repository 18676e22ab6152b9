"""What came to be known of a letter after a server had accepted it."""

from __future__ import annotations

from django.db import connection

from apps.campaigns.models import Delivery
from apps.senders.stops import COMPLAINED

# The stage at which a letter failed that came back later.
STAGE = "report"


def is_being_handed_over(campaign_id: int, contact_id: int) -> bool:
    """Whether a process still holds the row: a fast server's report can come before its answer is
    written down."""
    held = Delivery.objects.filter(campaign_id=campaign_id, contact_id=contact_id)
    return held.filter(status=Delivery.Status.HANDING_OFF).exists()


def note_bounce(
    campaign_id: int, contact_id: int, *, fault: str, code: int | None, text: str
) -> bool:
    """An accepted or unknown letter failed after all; whether it was reported now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery
            SET status = 'failed', stage = %s, code = %s, fault = %s, reply = %s, token = NULL,
                updated_at = now()
            WHERE campaign_id = %s AND contact_id = %s AND status IN ('sent', 'unknown')
            """,
            [STAGE, code, fault[:16], text[:2000].replace("\0", ""), campaign_id, contact_id],
        )
        return bool(cursor.rowcount == 1)


def note_complaint(campaign_id: int, contact_id: int) -> bool:
    """Count a complaint, which says of an unknown letter that it arrived; whether there is such a
    letter. For the caller to see that it counts once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery
            SET status = 'sent', token = NULL, fault = '', updated_at = now(),
                reply = 'The recipient complained, so it was delivered.'
            WHERE campaign_id = %s AND contact_id = %s AND status = 'unknown'
            """,
            [campaign_id, contact_id],
        )
        cursor.execute(
            """
            INSERT INTO campaigns_tally (campaign_id, provider, status, fault, number)
            SELECT campaign_id, provider, %s, '', 1 FROM campaigns_delivery
            WHERE campaign_id = %s AND contact_id = %s AND status IN ('sent', 'failed')
            """,
            [COMPLAINED, campaign_id, contact_id],
        )
        return bool(cursor.rowcount == 1)
