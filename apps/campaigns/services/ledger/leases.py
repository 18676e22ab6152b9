"""Leases of the rows that are being handed over."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection

from apps.campaigns.services.ledger.plans import prepared_cursor

LEASE = timedelta(seconds=30)
LEASE_PARAMETER: Any = LEASE  # as a parameter: the driver takes it, its type stubs do not know


def renew(campaign_id: int, token: uuid.UUID, contact_ids: Sequence[int]) -> None:
    """Keep the lease of everything held while a slow server is being waited for."""
    with prepared_cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery SET lease_until = now() + %s
            WHERE campaign_id = %s AND contact_id = ANY(%s) AND token = %s
              AND status = 'handing_off'
            """,
            [LEASE_PARAMETER, campaign_id, list(contact_ids), token],
        )


def expire_leases() -> int:
    """What dead processes were handing over is unknown; how many rows.

    The token stays on an unknown row: should its process live after all, it can still settle it.
    """
    expired = 0
    while True:
        number = _expire_some()
        expired += number
        if number < EXPIRED_AT_ONCE:
            return expired


# So few that the planner looks them up by their keys, whatever it believes of the leases.
EXPIRED_AT_ONCE = 100


def _expire_some() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH expired AS MATERIALIZED (  -- never waits for a lock, so it cannot deadlock
                SELECT campaign_id, contact_id FROM campaigns_delivery
                WHERE lease_until < now()
                ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
            )
            UPDATE campaigns_delivery AS row
            SET status = CASE WHEN row.opened_at IS NOT NULL THEN 'sent'  -- somebody has read it
                    ELSE 'unknown' END,
                stage = '', code = NULL, fault = '',
                reply = 'The process that was sending it died; it may have been accepted.',
                lease_until = NULL, updated_at = now()
            FROM expired
            WHERE row.campaign_id = expired.campaign_id AND row.contact_id = expired.contact_id
            """,
            [EXPIRED_AT_ONCE],
        )
        return int(cursor.rowcount)
