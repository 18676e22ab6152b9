"""Every write to the ledger of deliveries. Each is one conditional statement over many rows.

queued → claimed → handing_off → sent | deferred | failed | unknown. A row that a process holds
carries its token and a lease; the sweeper takes back what nobody renews.

Rows are named by their keys wherever they are known: the statistics of a ledger that has just
grown are out of date, and the planner would walk a whole campaign to find fifty rows of it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
_LEASE: Any = LEASE  # as a parameter: the driver takes it, its type stubs do not know


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that this process holds. `attempts` counts the hand-offs before."""

    contact_id: int
    email: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one hand-off: the row's next status and the server's words.

    Deferred without a stage: its turn did not come, which counts as no attempt.
    """

    contact_id: int
    status: str
    stage: str = ""
    code: int | None = None
    reply: str = ""
    next_attempt_at: datetime | None = None


def snapshot(campaign_id: int) -> int:
    """Queue one row for each contact of the audience; a repetition adds nothing.

    Runs in the caller's transaction. Returns the number of rows added.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO campaigns_delivery (campaign_id, contact_id, email)
            SELECT campaign.id, contact.id, contact.email
            FROM campaigns_campaign campaign
            JOIN mailer_contact contact ON contact.workspace_id = campaign.workspace_id
            WHERE campaign.id = %s
              AND contact.status = 'subscribed'
              AND contact.verdict = ANY(campaign.include_verdicts)
              AND contact.id IN (
                  SELECT member.contact_id FROM mailer_listmember member
                  JOIN campaigns_campaign_lists target ON target.contactlist_id = member.list_id
                  WHERE target.campaign_id = campaign.id)
              AND NOT EXISTS (
                  SELECT FROM mailer_suppression never
                  WHERE never.workspace_id = campaign.workspace_id AND never.email = contact.email)
            ON CONFLICT DO NOTHING
            """,
            [campaign_id],
        )
        return int(cursor.rowcount)


def claim(campaign_id: int, token: uuid.UUID, limit: int) -> list[Claimed]:
    """Take up to `limit` queued rows of a campaign that is sending."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS MATERIALIZED (  -- run once: a rescan would lock other rows
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'queued'
                  AND EXISTS (SELECT FROM campaigns_campaign
                              WHERE id = %(campaign)s AND state = 'sending')
                ORDER BY contact_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = 'claimed', token = %(token)s, lease_until = now() + %(lease)s,
                updated_at = now()
            WHERE row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(ARRAY(SELECT contact_id FROM picked))
            RETURNING row.contact_id, row.email, row.attempts
            """,
            {"campaign": campaign_id, "token": token, "lease": _LEASE, "limit": limit},
        )
        return [Claimed(*row) for row in cursor.fetchall()]


def claim_one(campaign_id: int, contact_id: int, token: uuid.UUID) -> list[Claimed]:
    """Take one queued row, for a retry that a person asked for; the campaign may be over."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery
            SET status = 'claimed', token = %s, lease_until = now() + %s, updated_at = now()
            WHERE campaign_id = %s AND contact_id = %s AND status = 'queued'
            RETURNING contact_id, email, attempts
            """,
            [token, _LEASE, campaign_id, contact_id],
        )
        return [Claimed(*row) for row in cursor.fetchall()]


def hand_off(campaign_id: int, token: uuid.UUID, contact_ids: Sequence[int]) -> set[int]:
    """The last look before SMTP: of the rows held under the token, which may be sent now.

    Rows of people who have said no since become suppressed; rows of a paused campaign go back,
    of a cancelled one end. What is returned is committed as handing_off: from here on a row
    whose process dies is unknown, and is not sent again by itself.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery AS row
            SET status = next.status,
                token = CASE WHEN next.status = 'handing_off' THEN row.token END,
                lease_until = CASE WHEN next.status = 'handing_off' THEN now() + %(lease)s END,
                attempts = row.attempts + (next.status = 'handing_off')::int,
                updated_at = now()
            FROM (
                SELECT held.contact_id, CASE
                    WHEN contact.id IS NULL OR contact.status <> 'subscribed' OR EXISTS (
                        SELECT FROM mailer_suppression never
                        WHERE never.workspace_id = campaign.workspace_id
                          AND never.email = held.email)
                        THEN 'suppressed'
                    WHEN campaign.state = 'sending' THEN 'handing_off'
                    WHEN campaign.state IN ('cancelling', 'cancelled') THEN 'cancelled'
                    ELSE 'queued' END AS status
                FROM campaigns_delivery held
                JOIN campaigns_campaign campaign ON campaign.id = held.campaign_id
                LEFT JOIN mailer_contact contact ON contact.id = held.contact_id
                WHERE held.campaign_id = %(campaign)s AND held.contact_id = ANY(%(contacts)s)
                  AND held.token = %(token)s AND held.status = 'claimed'
            ) AS next
            WHERE row.campaign_id = %(campaign)s AND row.contact_id = ANY(%(contacts)s)
              AND row.contact_id = next.contact_id
              AND row.token = %(token)s AND row.status = 'claimed'
            RETURNING row.contact_id, row.status
            """,
            {
                "campaign": campaign_id,
                "token": token,
                "lease": _LEASE,
                "contacts": list(contact_ids),
            },
        )
        return {contact for contact, status in cursor.fetchall() if status == "handing_off"}


def renew(campaign_id: int, token: uuid.UUID, contact_ids: Sequence[int]) -> None:
    """Keep the lease of everything held while a slow server is being waited for."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery SET lease_until = now() + %s
            WHERE campaign_id = %s AND contact_id = ANY(%s) AND token = %s
              AND status IN ('claimed', 'handing_off')
            """,
            [_LEASE, campaign_id, list(contact_ids), token],
        )


def settle(campaign_id: int, token: uuid.UUID, results: Sequence[Result]) -> None:
    """Write what the server said. A row that the sweeper gave up meanwhile is still ours to tell.

    What would be tried again ends where the campaign was cancelled. A row that is not held under
    the token any more is an incident: logged, left as it is.
    """
    contact_ids = [result.contact_id for result in results]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery AS row
            SET status = CASE
                    WHEN new.status = 'deferred' AND campaign.state IN ('cancelling', 'cancelled')
                        THEN 'cancelled'
                    ELSE new.status END,
                attempts = row.attempts - (new.status = 'deferred' AND new.stage = '')::int,
                stage = new.stage, code = new.code, reply = new.reply,
                next_attempt_at = new.next_attempt_at, token = NULL, lease_until = NULL,
                updated_at = now()
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::int[], %s::text[],
                        %s::timestamptz[])
                AS new (contact_id, status, stage, code, reply, next_attempt_at),
                campaigns_campaign AS campaign
            WHERE campaign.id = %s AND row.campaign_id = %s AND row.contact_id = ANY(%s)
              AND row.contact_id = new.contact_id AND row.token = %s
              AND row.status IN ('claimed', 'handing_off', 'unknown')
            """,
            [
                contact_ids,
                [result.status for result in results],
                [result.stage for result in results],
                [result.code for result in results],
                [result.reply[:2000].replace("\0", "") for result in results],
                [result.next_attempt_at for result in results],
                campaign_id,
                campaign_id,
                contact_ids,
                token,
            ],
        )
        if cursor.rowcount != len(results):
            logger.error(
                "campaign %s: %s of %s results found no row held under token %s",
                campaign_id, len(results) - cursor.rowcount, len(results), token,
            )  # fmt: skip


def expire_leases() -> int:
    """Take back what dead processes held: claimed rows are queued again, hand-offs are unknown.

    The token stays on an unknown row: should its process live after all, it can still settle it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH expired AS MATERIALIZED (  -- never waits for a lock, so it cannot deadlock
                SELECT campaign_id, contact_id, status = 'claimed' AS untouched
                FROM campaigns_delivery
                WHERE status IN ('claimed', 'handing_off') AND lease_until < now()
                FOR UPDATE SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = CASE WHEN untouched THEN 'queued' ELSE 'unknown' END,
                token = CASE WHEN NOT untouched THEN token END,
                stage = CASE WHEN untouched THEN stage ELSE '' END,
                code = CASE WHEN untouched THEN code END,
                reply = CASE WHEN untouched THEN reply
                        ELSE 'The process that was sending it died; it may have been accepted.' END,
                lease_until = NULL, updated_at = now()
            FROM expired
            WHERE row.campaign_id = expired.campaign_id AND row.contact_id = expired.contact_id
            """
        )
        return int(cursor.rowcount)


def queue_due(campaign_id: int | None = None) -> int:
    """Queue deferred rows whose time has come, of one campaign or of all.

    A late answer can defer a row that was unknown when its campaign finished: the campaign is
    open again then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH due AS MATERIALIZED (  -- never waits for a lock, so it cannot deadlock
                SELECT campaign_id, contact_id FROM campaigns_delivery
                WHERE status = 'deferred' AND next_attempt_at <= now()
                  AND (%(campaign)s::bigint IS NULL OR campaign_id = %(campaign)s)
                FOR UPDATE SKIP LOCKED
            ), queued AS (
                UPDATE campaigns_delivery AS row
                SET status = CASE WHEN campaign.state IN ('cancelling', 'cancelled')
                        THEN 'cancelled' ELSE 'queued' END,
                    updated_at = now()
                FROM due JOIN campaigns_campaign campaign ON campaign.id = due.campaign_id
                WHERE row.campaign_id = due.campaign_id AND row.contact_id = due.contact_id
                RETURNING row.campaign_id
            ), opened AS (
                UPDATE campaigns_campaign SET state = 'sending', finished_at = NULL
                WHERE state = 'finished' AND id IN (SELECT campaign_id FROM queued)
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
            """
            UPDATE campaigns_delivery
            SET status = 'queued', token = NULL, next_attempt_at = NULL, updated_at = now()
            WHERE campaign_id = %s AND contact_id = %s AND status IN ('failed', 'unknown')
            """,
            [campaign_id, contact_id],
        )
        return bool(cursor.rowcount == 1)


def cancel_waiting(campaign_id: int) -> int:
    """End the rows that no process holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery SET status = 'cancelled', updated_at = now()
            WHERE campaign_id = %s AND status IN ('queued', 'deferred')
            """,
            [campaign_id],
        )
        return int(cursor.rowcount)


def suppress_waiting(workspace_id: int, email: str) -> int:
    """End the waiting rows of somebody who said no, in all the workspace's running campaigns."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery SET status = 'suppressed', updated_at = now()
            WHERE status IN ('queued', 'deferred') AND email = %s AND campaign_id IN (
                SELECT id FROM campaigns_campaign
                WHERE workspace_id = %s AND state IN ('sending', 'paused'))
              AND contact_id IN (
                SELECT id FROM mailer_contact WHERE workspace_id = %s AND email = %s)
            """,
            [email, workspace_id, workspace_id, email],
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
            WHERE id = %(campaign)s AND state IN ('sending', 'cancelling') AND (
                -- Ordered, so that it is looked up in the index and not hoped for in a scan.
                SELECT contact_id FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'queued'
                ORDER BY contact_id LIMIT 1) IS NULL
              AND NOT EXISTS (
                SELECT FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'deferred')
              AND NOT EXISTS (
                SELECT FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status IN ('claimed', 'handing_off'))
            """,
            {"campaign": campaign_id},
        )
        return bool(cursor.rowcount == 1)
