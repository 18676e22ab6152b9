"""Folding the counters of reports, so that reading them stays cheap."""

from __future__ import annotations

from django.db import connection

# Rows at once: what a sweep leaves, the next one takes.
LARGEST_PASS = 100_000


def fold(limit: int = LARGEST_PASS) -> int:
    """Add what triggers appended to the row of its key; how many were taken.

    One statement: whoever reads meanwhile sees the rows before or their sum, never both. A second
    process takes other rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS MATERIALIZED (
                SELECT id FROM tracking_count WHERE NOT folded
                ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
            ), taken AS (
                DELETE FROM tracking_count AS row USING picked WHERE row.id = picked.id
                RETURNING row.*
            ), added AS (
                INSERT INTO tracking_count AS kept
                    (workspace_id, campaign_id, kind, axis, key, events, machines, people, letters,
                     folded)
                SELECT workspace_id, campaign_id, kind, axis, key, sum(events), sum(machines),
                       sum(people), sum(letters), true
                FROM taken GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 4, 5, 3, 1
                ON CONFLICT (campaign_id, axis, key, kind, workspace_id) WHERE folded
                DO UPDATE SET events = kept.events + EXCLUDED.events,
                    machines = kept.machines + EXCLUDED.machines,
                    people = kept.people + EXCLUDED.people,
                    letters = kept.letters + EXCLUDED.letters
            )
            SELECT count(*) FROM taken
            """,
            [limit],
        )
        return int(cursor.fetchone()[0])
