"""Contacts whose letters keep failing, although no server says that the mailbox is gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import connection

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.services import contacts

# So many failed letters in a row, the first and the last of them so far apart, are a bounce. Any
# letter that a server kept ends the row. Mailbox providers close a full or unused mailbox after
# weeks; a holiday or an outage is over sooner.
LETTERS = 5
APART = timedelta(days=15)
# What counts: about the mailbox or the way to it. A block or a rule says nothing of the contact.
FAULTS = ("full", "network", "other")
# Of a workspace, the newest: older letters say little.
CAMPAIGNS = 100


def review(workspace: Workspace, contact_ids: Sequence[int]) -> int:
    """Mail no more to those of these contacts that have bounced too often; how many they are."""
    campaigns = list(
        Campaign.objects.filter(workspace=workspace, launched_at__isnull=False)
        .order_by("-pk")
        .values_list("pk", flat=True)[:CAMPAIGNS]
    )
    if len(campaigns) < LETTERS:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH letters AS MATERIALIZED (
                SELECT row.contact_id, row.status, row.fault, row.updated_at,
                       max(row.updated_at) FILTER (WHERE row.status = 'sent')
                           OVER (PARTITION BY row.contact_id) AS accepted_at
                FROM unnest(%s::bigint[]) AS campaign (id)
                CROSS JOIN unnest(%s::bigint[]) AS contact (id)
                JOIN campaigns_delivery row
                    ON row.campaign_id = campaign.id AND row.contact_id = contact.id
                WHERE row.status IN ('sent', 'failed')
            )
            SELECT contact_id FROM letters
            WHERE status = 'failed' AND fault = ANY(%s)
              AND updated_at > COALESCE(accepted_at, '-infinity')
            GROUP BY contact_id
            HAVING count(*) >= %s AND max(updated_at) - min(updated_at) >= %s
            """,
            [campaigns, list(contact_ids), list(FAULTS), LETTERS, APART],  # type: ignore[list-item]
        )
        found = [contact for (contact,) in cursor.fetchall()]
    return contacts.mark_bounced(workspace, found) if found else 0
