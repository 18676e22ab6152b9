"""What a letter's recipient did with it. Raw: mail programs and scanners open and click too."""

from __future__ import annotations

from typing import Literal

from django.db import connection, transaction

from apps.campaigns.selectors import CLICKED, OPENED

_SETTLED = {
    OPENED: "Opened, so it was accepted; the server's answer was lost.",
    CLICKED: "A link in it was followed, so it was accepted; the server's answer was lost.",
}


def note_open(campaign_id: int, contact_id: int) -> None:
    """Remember the first open of a letter; of an unknown one it says that it was accepted."""
    with transaction.atomic():
        _mark("opened_at", OPENED, campaign_id, contact_id)
        _settle(OPENED, campaign_id, contact_id)


def note_click(campaign_id: int, contact_id: int) -> None:
    """Remember the first click, which is an open as well: pictures may have been blocked."""
    with transaction.atomic():
        _mark("opened_at", OPENED, campaign_id, contact_id)
        _mark("clicked_at", CLICKED, campaign_id, contact_id)
        _settle(CLICKED, campaign_id, contact_id)


def _mark(
    column: Literal["opened_at", "clicked_at"], counted: str, campaign_id: int, contact_id: int
) -> None:
    """Set the time once, and count it with the same statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH first AS (
                UPDATE campaigns_delivery SET {column} = now()
                WHERE campaign_id = %s AND contact_id = %s AND {column} IS NULL
                RETURNING campaign_id, provider
            )
            INSERT INTO campaigns_tally (campaign_id, provider, status, fault, number)
            SELECT campaign_id, provider, %s, '', 1 FROM first
            """,
            [campaign_id, contact_id, counted],
        )


def _settle(by: str, campaign_id: int, contact_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery
            SET status = 'sent', token = NULL, fault = '', reply = %s, updated_at = now()
            WHERE campaign_id = %s AND contact_id = %s AND status = 'unknown'
            """,
            [_SETTLED[by], campaign_id, contact_id],
        )
