"""Writing down what happened to letters."""

from __future__ import annotations

import secrets

from django.db import connection

from apps.tracking.models import Event


def record(
    kind: Event.Kind, *, campaign_id: int, contact_id: int, detail: str = "", machine: str = ""
) -> bool:
    """Note now one thing that happened to a delivery, in the caller's transaction.

    Whether there is such a delivery.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            {
                "number": secrets.randbits(48),
                "campaign": campaign_id,
                "contact": contact_id,
                "kind": kind,
                "detail": detail[:40],
                "machine": machine,
            },
        )
        return bool(cursor.rowcount)


_RECORD = """
INSERT INTO tracking_event
    (at, number, workspace_id, campaign_id, contact_id, kind, machine, variant, provider, detail)
SELECT date_trunc('milliseconds', clock_timestamp()), %(number)s, campaign.workspace_id,
       row.campaign_id, row.contact_id, %(kind)s, %(machine)s, row.variant, row.provider,
       %(detail)s
FROM campaigns_delivery row JOIN campaigns_campaign campaign ON campaign.id = row.campaign_id
WHERE row.campaign_id = %(campaign)s AND row.contact_id = %(contact)s
"""


def explain(*, campaign_id: int, contact_id: int, reason: str) -> bool:
    """Note why somebody unsubscribed by a letter; whether they had."""
    changed = Event.objects.filter(
        campaign_id=campaign_id, contact_id=contact_id, kind=Event.Kind.UNSUBSCRIBE
    ).update(detail=reason[:40])
    return bool(changed)
