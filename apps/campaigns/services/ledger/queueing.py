"""Rows that are to be sent now: those that are queued, and those that join them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from apps.campaigns.services.ledger.plans import prepared_cursor


def queued_providers(campaign_id: int) -> list[str]:
    """The providers of a campaign's queued rows: one look into the index for each."""
    with prepared_cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE found AS (
                (SELECT provider FROM campaigns_delivery
                 WHERE campaign_id = %(campaign)s AND status = 'queued'
                 ORDER BY provider LIMIT 1)
                UNION ALL
                SELECT (SELECT provider FROM campaigns_delivery
                        WHERE campaign_id = %(campaign)s AND status = 'queued'
                          AND provider > found.provider
                        ORDER BY provider LIMIT 1)
                FROM found WHERE found.provider IS NOT NULL
            )
            SELECT provider FROM found WHERE provider IS NOT NULL
            """,
            {"campaign": campaign_id},
        )
        return [provider for (provider,) in cursor.fetchall()]


# Nobody gets a letter again who has left the campaign's lists since. Of whom a segment took, and
# where the lists are deleted, that cannot be told.
_STILL_MEANT = """
    (EXISTS (SELECT FROM campaigns_campaign_segments WHERE campaign_id = row.campaign_id)
     OR NOT EXISTS (SELECT FROM campaigns_campaign_lists WHERE campaign_id = row.campaign_id)
     OR EXISTS (SELECT FROM campaigns_campaign_lists target
                JOIN mailer_listmember member ON member.list_id = target.contactlist_id
                WHERE target.campaign_id = row.campaign_id
                  AND member.contact_id = row.contact_id))
"""


def queue_due(campaign_id: int | None = None) -> int:
    """Queue deferred rows whose time has come, of one campaign or of all.

    Who left the campaign's lists while the letter was on its way ends here. A late answer can
    defer a row that was unknown when its campaign finished: the campaign is open again then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH due AS MATERIALIZED (  -- never waits for a lock, so it cannot deadlock
                SELECT campaign_id, contact_id FROM campaigns_delivery
                WHERE status = 'deferred' AND next_attempt_at <= now()
                  AND (%(campaign)s::bigint IS NULL OR campaign_id = %(campaign)s)
                FOR UPDATE SKIP LOCKED
            ), queued AS (
                UPDATE campaigns_delivery AS row
                SET status = judged.status,
                    fault = CASE judged.status WHEN 'suppressed' THEN 'left_list'
                        ELSE row.fault END,
                    updated_at = now()
                FROM (
                    SELECT row.campaign_id, row.contact_id, CASE
                        WHEN campaign.state IN ('cancelling', 'cancelled') THEN 'cancelled'
                        WHEN {_STILL_MEANT} THEN 'queued' ELSE 'suppressed' END AS status
                    FROM due AS row JOIN campaigns_campaign campaign
                      ON campaign.id = row.campaign_id) AS judged
                WHERE row.campaign_id = judged.campaign_id AND row.contact_id = judged.contact_id
                RETURNING row.campaign_id, row.status
            ), opened AS (
                UPDATE campaigns_campaign SET state = 'sending', finished_at = NULL
                WHERE state = 'finished'
                  AND id IN (SELECT campaign_id FROM queued WHERE status = 'queued')
            )
            SELECT count(*) FROM queued
            """,
            {"campaign": campaign_id},
        )
        return int(cursor.fetchone()[0])


def queue_again(campaign_id: int, contact_id: int) -> bool:
    """Queue a failed or unknown row once more, because a person asked for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE campaigns_delivery AS row
            SET status = 'queued', token = NULL, next_attempt_at = NULL, updated_at = now()
            WHERE campaign_id = %(campaign)s AND contact_id = %(contact)s
              AND status IN ('failed', 'unknown') AND {_STILL_MEANT}
            """,
            {"campaign": campaign_id, "contact": contact_id},
        )
        return bool(cursor.rowcount == 1)


def queue_unknown(campaign_id: int, *, after: int, limit: int) -> list[int]:
    """Queue the unknown rows of the next contacts; the server's words about them stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH picked AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery AS row
                WHERE campaign_id = %(campaign)s AND status = 'unknown'
                  AND contact_id > %(after)s AND {_STILL_MEANT}
                ORDER BY status, contact_id LIMIT %(limit)s FOR UPDATE OF row SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = 'queued', token = NULL, next_attempt_at = NULL, updated_at = now()
            WHERE row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(ARRAY(SELECT contact_id FROM picked))
            RETURNING row.contact_id
            """,
            {"campaign": campaign_id, "after": after, "limit": limit},
        )
        return [contact for (contact,) in cursor.fetchall()]


def queue_failed(campaign_id: int, *, faults: Sequence[str], after: int, limit: int) -> list[int]:
    """Queue what failed by these faults of the next contacts; the server's words stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH picked AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery AS row
                WHERE campaign_id = %(campaign)s AND status = 'failed'
                  AND contact_id > %(after)s AND fault = ANY(%(faults)s) AND {_STILL_MEANT}
                ORDER BY status, contact_id LIMIT %(limit)s FOR UPDATE OF row SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = 'queued', token = NULL, next_attempt_at = NULL, updated_at = now()
            WHERE row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(ARRAY(SELECT contact_id FROM picked))
            RETURNING row.contact_id
            """,
            {
                "campaign": campaign_id,
                "faults": list(faults),
                "after": after,
                "limit": limit,
            },
        )
        return [contact for (contact,) in cursor.fetchall()]
