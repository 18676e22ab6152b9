"""The ends of rows that wait, and of campaigns all of whose rows have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.db import connection, transaction

CHUNK = 20_000


def cancel_waiting(campaign_id: int, seconds: float = float("inf")) -> None:
    """End the rows that wait, chunk by chunk, for about so long; a repetition ends the rest."""
    until = time.monotonic() + seconds
    while _cancel_some(campaign_id) == CHUNK and time.monotonic() < until:
        pass


def _cancel_some(campaign_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH queued AS MATERIALIZED (  -- in the order of its index
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'queued'
                ORDER BY provider, contact_id LIMIT %(chunk)s FOR UPDATE
            ), deferred AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'deferred'
                LIMIT %(chunk)s - (SELECT count(*) FROM queued) FOR UPDATE
            ), undecided AS MATERIALIZED (
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'waiting'
                ORDER BY contact_id
                LIMIT %(chunk)s - (SELECT count(*) FROM queued) - (SELECT count(*) FROM deferred)
                FOR UPDATE
            )
            UPDATE campaigns_delivery SET status = 'cancelled', updated_at = now()
            WHERE campaign_id = %(campaign)s AND contact_id = ANY(ARRAY(
                SELECT contact_id FROM queued UNION ALL SELECT contact_id FROM deferred
                UNION ALL SELECT contact_id FROM undecided))
            """,
            {"campaign": campaign_id, "chunk": CHUNK},
        )
        return int(cursor.rowcount)


def suppress_waiting(workspace_id: int, email: str) -> int:
    """End the waiting rows of somebody who said no, in all the workspace's running campaigns.

    "@domain" stands for everybody there.
    """
    column = "domain" if email.startswith("@") else "email"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE campaigns_delivery SET status = 'suppressed', updated_at = now()
            WHERE status IN ('queued', 'deferred', 'waiting') AND campaign_id IN (
                SELECT id FROM campaigns_campaign
                WHERE workspace_id = %s AND state IN ('sending', 'paused'))
              AND contact_id IN (
                SELECT id FROM mailer_contact WHERE workspace_id = %s AND {column} = %s)
            """,
            [workspace_id, workspace_id, email.removeprefix("@")],
        )
        return int(cursor.rowcount)


def suppress_of_lists(workspace_id: int, contact_id: int, list_ids: Sequence[int]) -> int:
    """End the waiting rows of somebody who left lists, in running campaigns to these lists.

    A campaign to another list in which the person stays goes on.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery
            SET status = 'suppressed', fault = 'left_list', updated_at = now()
            WHERE contact_id = %(contact)s AND status IN ('queued', 'deferred', 'waiting')
              AND campaign_id IN (
                SELECT campaign.id FROM campaigns_campaign campaign
                WHERE workspace_id = %(workspace)s AND state IN ('sending', 'paused')
                  AND EXISTS (SELECT FROM campaigns_campaign_lists target
                              WHERE target.campaign_id = campaign.id
                                AND target.contactlist_id = ANY(%(lists)s))
                  AND NOT EXISTS (SELECT FROM campaigns_campaign_lists target
                                  JOIN mailer_listmember member
                                    ON member.list_id = target.contactlist_id
                                  WHERE target.campaign_id = campaign.id
                                    AND member.contact_id = %(contact)s))
            """,
            {"contact": contact_id, "workspace": workspace_id, "lists": list(list_ids)},
        )
        return int(cursor.rowcount)


def finish(campaign_id: int) -> bool:
    """The campaign's final state, once every row of it is final; whether it was reached now."""
    with transaction.atomic(), connection.cursor() as cursor:
        # A retry holds the campaign's row while it queues a row of the ledger. Wait for it first:
        # one statement that has to wait goes on with the ledger as it saw it before.
        cursor.execute(
            "SELECT FROM campaigns_campaign "
            "WHERE id = %s AND state IN ('sending', 'cancelling') FOR UPDATE",
            [campaign_id],
        )
        cursor.execute(
            """
            UPDATE campaigns_campaign
            SET state = CASE state WHEN 'cancelling' THEN 'cancelled' ELSE 'finished' END,
                finished_at = now()
            WHERE id = %(campaign)s AND state IN ('sending', 'cancelling') AND NOT EXISTS (
                -- Not the rows: of a large campaign that has just been sent, the index of those
                -- that are being handed over is full of what was handed over.
                SELECT FROM campaigns_tally
                WHERE campaign_id = %(campaign)s AND status IN ('queued', 'deferred', 'waiting')
                HAVING sum(number) > 0)
            """,
            {"campaign": campaign_id},
        )
        return bool(cursor.rowcount == 1)
