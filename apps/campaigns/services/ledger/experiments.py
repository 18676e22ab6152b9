"""The rows of a campaign whose variants are tested."""

from __future__ import annotations

import time

from django.db import connection

CHUNK = 20_000


def any_waiting(campaign_id: int) -> bool:
    """Whether rows wait for the winner, or for being given it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT contact_id FROM campaigns_delivery
            WHERE campaign_id = %s AND status = 'waiting' ORDER BY contact_id LIMIT 1
            """,
            [campaign_id],
        )
        return cursor.fetchone() is not None


def any_to_begin(campaign_id: int) -> bool:
    """Whether deferred rows were never handed over: they wait for an hour or a turn, where the
    others wait because of what a server said."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM campaigns_delivery
                           WHERE campaign_id = %s AND status = 'deferred' AND attempts = 0)
            """,
            [campaign_id],
        )
        return bool(cursor.fetchone()[0])


def release(campaign_id: int, seconds: float = float("inf")) -> int:
    """Give the rows that wait the winner and queue them, chunk by chunk, for about so long.

    A repetition goes on with the rest; nothing is released before a winner is chosen, or of a
    campaign that is neither being sent nor paused. Returns how many rows it was.
    """
    until, released = time.monotonic() + seconds, 0
    while True:
        number = _release_some(campaign_id)
        released += number
        if number < CHUNK or time.monotonic() > until:
            return released


def _release_some(campaign_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'waiting'
                ORDER BY contact_id LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET variant = campaign.winner, updated_at = now(),
                status = CASE WHEN row.next_attempt_at > now() THEN 'deferred' ELSE 'queued' END
            FROM campaigns_campaign AS campaign
            WHERE campaign.id = %(campaign)s AND campaign.winner IS NOT NULL
              AND campaign.state IN ('sending', 'paused')
              AND row.campaign_id = %(campaign)s AND row.status = 'waiting'
              AND row.contact_id = ANY(ARRAY(SELECT contact_id FROM picked))
            """,
            {"campaign": campaign_id, "chunk": CHUNK},
        )
        return int(cursor.rowcount)
