"""Queued rows that a process takes: locked, looked at once more, handed off."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.campaigns.services.ledger.leases import LEASE_PARAMETER
from apps.campaigns.services.ledger.plans import array_of, prepared_cursor


@dataclass(slots=True)
class Claimed:
    """A row that this process holds. `attempts` counts the hand-offs before; `variant` is 0 where
    the campaign has none.

    Names and fields are those of the contact; None where it has been erased.
    """

    contact_id: int
    email: str
    attempts: int
    variant: int = 0
    first_name: str | None = ""
    last_name: str | None = ""
    fields: dict[str, object] | None = field(default_factory=dict)


def claim(campaign_id: int, provider: str, limit: int) -> list[Claimed]:
    """Lock up to `limit` queued rows of one provider, of a campaign that is sending to it.

    They are the caller's until its transaction ends: handed off by then, or as they were.
    """
    return _claimed(
        """
        SELECT contact_id, email, attempts, variant FROM campaigns_delivery
        WHERE campaign_id = %(campaign)s AND provider = %(provider)s AND status = 'queued'
          AND EXISTS (SELECT FROM campaigns_campaign
                      WHERE id = %(campaign)s AND state = 'sending'
                        AND NOT paused_providers ? %(provider)s)
        ORDER BY contact_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"campaign": campaign_id, "provider": provider, "limit": limit},
    )


def claim_one(campaign_id: int, contact_id: int) -> list[Claimed]:
    """Lock one queued row, for a retry that a person asked for; with the conditions of `claim`."""
    return _claimed(
        """
        SELECT contact_id, email, attempts, variant FROM campaigns_delivery AS row
        WHERE campaign_id = %(campaign)s AND contact_id = %(contact)s AND status = 'queued'
          AND EXISTS (SELECT FROM campaigns_campaign
                      WHERE id = %(campaign)s AND state = 'sending'
                        AND NOT paused_providers ? row.provider)
        FOR UPDATE OF row SKIP LOCKED
        """,
        {"campaign": campaign_id, "contact": contact_id},
    )


def _claimed(rows: str, values: dict[str, Any]) -> list[Claimed]:
    with prepared_cursor() as cursor:
        cursor.execute(
            f"""
            WITH locked AS MATERIALIZED ({rows})  -- run once: a rescan would lock other rows
            SELECT locked.*, contact.first_name, contact.last_name, contact.fields
            FROM locked LEFT JOIN mailer_contact contact ON contact.id = locked.contact_id
            """,
            values,
        )
        return [Claimed(*row) for row in cursor.fetchall()]


def hand_off(campaign_id: int, token: uuid.UUID, contact_ids: Sequence[int]) -> set[int]:
    """The last look before SMTP: of the rows claimed in this transaction, which may be sent now.

    Rows of people who have said no since become suppressed; those of a campaign that is paused
    or cancelled stay. What is returned is handing_off once the transaction is committed: from
    then on a row whose process dies is unknown, and is not sent again by itself.
    """
    contact_ids = _without_seldom(campaign_id, contact_ids)
    with prepared_cursor() as cursor:
        # Sub-queries that give one value are looked up row by row in their index. As joins they
        # could become a walk through everybody who was ever suppressed.
        cursor.execute(
            """
            UPDATE campaigns_delivery AS row
            SET status = 'handing_off', token = %(token)s, lease_until = now() + %(lease)s,
                attempts = row.attempts + 1, updated_at = now()
            WHERE row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(%(contacts)s::text::bigint[]) AND row.status = 'queued'
              AND (SELECT state FROM campaigns_campaign WHERE id = %(campaign)s) = 'sending'
              AND (SELECT contact.status FROM mailer_contact contact
                   WHERE contact.id = row.contact_id) = 'subscribed'
              AND (SELECT never.id FROM mailer_suppression never
                   WHERE never.email IN (row.email, '@' || split_part(row.email, '@', -1))
                     AND never.workspace_id =
                        (SELECT workspace_id FROM campaigns_campaign WHERE id = %(campaign)s)
                   LIMIT 1) IS NULL
            RETURNING row.contact_id
            """,
            {
                "campaign": campaign_id,
                "token": token,
                "lease": LEASE_PARAMETER,
                "contacts": array_of(contact_ids),
            },
        )
        going = {contact for (contact,) in cursor.fetchall()}
    if len(going) < len(contact_ids):
        _suppress(campaign_id, [key for key in contact_ids if key not in going])
    return going


def _without_seldom(campaign_id: int, contact_ids: Sequence[int]) -> Sequence[int]:
    """Those named without people who asked for fewer letters and have had theirs.

    Whose turn it is takes it for this campaign, attempts to come included; the rows of the others
    end. A contact that somebody is changing just now is left for the next group: to wait for it
    could be a deadlock with an unsubscription, which changes the contact first and then its rows.
    """
    values = {"campaign": campaign_id, "contacts": array_of(contact_ids)}
    with prepared_cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM mailer_contact
            WHERE id = ANY(%(contacts)s::text::bigint[]) AND every_days IS NOT NULL
            """,
            values,
        )
        seldom = {contact for (contact,) in cursor.fetchall()}
        if not seldom:
            return contact_ids
        cursor.execute(
            f"""
            WITH free AS MATERIALIZED (
                SELECT id FROM mailer_contact contact
                WHERE id = ANY(%(contacts)s::text::bigint[]) AND every_days IS NOT NULL AND {_TURN}
                FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE mailer_contact contact
            SET quiet_campaign = %(campaign)s, quiet_until = now() + every_days * interval '1 day'
            FROM free WHERE contact.id = free.id AND {_TURN}
            RETURNING contact.id
            """,
            values,
        )
        waiting = seldom - {contact for (contact,) in cursor.fetchall()}
        if waiting:
            cursor.execute(
                f"""
                UPDATE campaigns_delivery row
                SET status = 'suppressed', fault = 'seldom', updated_at = now()
                WHERE campaign_id = %(campaign)s AND status = 'queued'
                  AND contact_id = ANY(%(waiting)s)
                  AND EXISTS (SELECT FROM mailer_contact contact WHERE contact.id = row.contact_id
                              AND contact.every_days IS NOT NULL AND NOT {_TURN})
                """,
                values | {"waiting": list(waiting)},
            )
    return [one for one in contact_ids if one not in waiting]


_TURN = (
    "(COALESCE(contact.quiet_until <= now(), true) "
    "OR COALESCE(contact.quiet_campaign = %(campaign)s, false))"
)


def _suppress(campaign_id: int, contact_ids: list[int]) -> None:
    """End the queued rows, of those named, of people who have said no."""
    with prepared_cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery AS row SET status = 'suppressed', updated_at = now()
            FROM campaigns_campaign AS campaign
            WHERE campaign.id = %(campaign)s AND row.campaign_id = %(campaign)s
              AND row.contact_id = ANY(%(contacts)s) AND row.status = 'queued'
              AND (COALESCE((SELECT contact.status FROM mailer_contact contact
                             WHERE contact.id = row.contact_id), '') <> 'subscribed'
                   OR (SELECT never.id FROM mailer_suppression never
                       WHERE never.email IN (row.email, '@' || split_part(row.email, '@', -1))
                         AND never.workspace_id = campaign.workspace_id
                       LIMIT 1) IS NOT NULL)
            """,
            {"campaign": campaign_id, "contacts": contact_ids},
        )
