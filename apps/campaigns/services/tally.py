"""Adding up the ledger's counters, so that reading them stays cheap."""

from __future__ import annotations

from django.db import connection

# Rows at once: what a sweep leaves, the next one takes.
LARGEST_PASS = 200_000
# Campaigns that are over change now and then, by an open or a late answer.
NEWEST = 1000


def compact(limit: int = LARGEST_PASS) -> int:
    """Put one row in place of the many with the same key; how many fewer rows there are now.

    Of the campaigns in motion and of those that changed last. One statement: whoever reads
    meanwhile sees the rows before or their sum, never both. A second process takes other rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH active AS (
                SELECT id FROM campaigns_campaign
                WHERE state IN ('preparing', 'sending', 'cancelling')
                UNION
                SELECT campaign_id FROM (
                    SELECT campaign_id FROM campaigns_tally ORDER BY id DESC LIMIT %(newest)s
                ) AS newest
            ), many AS (
                SELECT campaign_id FROM campaigns_tally
                WHERE campaign_id IN (SELECT id FROM active)
                GROUP BY 1 HAVING count(*) > count(DISTINCT (provider, status, fault))
            ), picked AS MATERIALIZED (
                SELECT id FROM campaigns_tally
                WHERE campaign_id IN (SELECT campaign_id FROM many)
                LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            ), taken AS (
                DELETE FROM campaigns_tally AS row USING picked WHERE row.id = picked.id
                RETURNING row.campaign_id, row.provider, row.status, row.fault, row.number
            ), added AS (
                INSERT INTO campaigns_tally (campaign_id, provider, status, fault, number)
                SELECT campaign_id, provider, status, fault, sum(number)
                FROM taken GROUP BY 1, 2, 3, 4 HAVING sum(number) <> 0
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM added)
            """,
            {"newest": NEWEST, "limit": limit},
        )
        return int(cursor.fetchone()[0])
