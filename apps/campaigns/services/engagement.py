"""What people did with their letters, as far as the ledger keeps it; machines do not count."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from django.db import connection

from apps.campaigns.selectors import CLICKED, OPENED

Letter = tuple[int, int]

_SETTLED = "It was opened, so it was accepted; the server's answer was lost."


class Engaged(NamedTuple):
    """When a letter was first opened and clicked in. A click is an open as well: pictures may have
    been blocked."""

    campaign_id: int
    contact_id: int
    opened_at: datetime
    clicked_at: datetime | None = None


def note(engaged: Sequence[Engaged]) -> None:
    """Remember first opens and clicks; what is known already stays. In a transaction.

    One statement sets both times and counts them: the ledger's triggers run once for a row.
    """
    if not engaged:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {_LETTERS}, first AS MATERIALIZED (
                SELECT row.campaign_id, row.contact_id, row.provider,
                       CASE WHEN row.opened_at IS NULL THEN letter.at END AS opened,
                       CASE WHEN row.clicked_at IS NULL THEN letter.clicked END AS clicked
                FROM campaigns_delivery AS row JOIN letter USING (campaign_id, contact_id)
                WHERE row.opened_at IS NULL
                   OR (row.clicked_at IS NULL AND letter.clicked IS NOT NULL)
                FOR UPDATE OF row
            ), marked AS (
                UPDATE campaigns_delivery AS row
                SET opened_at = COALESCE(row.opened_at, first.opened),
                    clicked_at = COALESCE(row.clicked_at, first.clicked)
                FROM first
                WHERE row.campaign_id = first.campaign_id AND row.contact_id = first.contact_id
            )
            INSERT INTO campaigns_tally (campaign_id, provider, status, fault, number)
            SELECT campaign_id, provider, counted, '', number
            FROM (SELECT campaign_id, provider, count(opened) AS opens, count(clicked) AS clicks
                  FROM first GROUP BY 1, 2) AS firsts,
            LATERAL (VALUES (%(opened)s, opens), (%(clicked)s, clicks)) AS kind (counted, number)
            WHERE number > 0
            """,
            {"letters": _text(engaged), "opened": OPENED, "clicked": CLICKED},
        )


def take_back(letters: Collection[Letter]) -> None:
    """Forget opens and clicks of letters: they turned out to be machines'. In a transaction."""
    _unmark("opened_at", "opened", OPENED, letters)
    _unmark("clicked_at", "clicked", CLICKED, letters)


def settle_unknown(letters: Collection[Letter]) -> None:
    """Somebody has these letters, so their servers accepted them.

    `updated_at` stays: it is when the letter was handed over.
    """
    if letters:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                {_LETTERS}
                UPDATE campaigns_delivery AS row
                SET status = 'sent', token = NULL, fault = '', reply = %(reply)s
                FROM letter
                WHERE row.campaign_id = letter.campaign_id AND row.contact_id = letter.contact_id
                  AND row.status = 'unknown'
                """,
                {"letters": _text(letters), "reply": _SETTLED},
            )


# Materialized: the planner is to look the rows up by their keys, not to walk through the ledger.
_LETTERS = """
    WITH letter AS MATERIALIZED (
        SELECT (pair ->> 0)::bigint AS campaign_id, (pair ->> 1)::bigint AS contact_id,
               (pair ->> 2)::timestamptz AS at, (pair ->> 3)::timestamptz AS clicked
        FROM json_array_elements(%(letters)s::json) AS pair
    )
"""


def _unmark(
    column: Literal["opened_at", "clicked_at"],
    newest: Literal["opened", "clicked"],
    counted: str,
    letters: Collection[Letter],
) -> None:
    """Undo `note` and what the ledger's trigger did after it."""
    if not letters:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {_LETTERS}, was AS MATERIALIZED (
                SELECT row.campaign_id, row.contact_id, row.provider, row.{column} AS at
                FROM campaigns_delivery AS row JOIN letter USING (campaign_id, contact_id)
                WHERE row.{column} IS NOT NULL
                FOR UPDATE OF row
            ), undone AS (
                UPDATE campaigns_delivery AS row SET {column} = NULL FROM was
                WHERE row.campaign_id = was.campaign_id AND row.contact_id = was.contact_id
            ), gone AS (
                SELECT contact_id, array_agg(at) AS times FROM was GROUP BY 1
            ), forgotten AS (
                UPDATE campaigns_engagement AS known
                SET {newest} = ARRAY(
                    SELECT at FROM unnest(known.{newest}) AS at
                    WHERE at <> ALL(gone.times) ORDER BY at DESC)
                FROM gone WHERE known.contact_id = gone.contact_id
            )
            INSERT INTO campaigns_tally (campaign_id, provider, status, fault, number)
            SELECT campaign_id, provider, %(counted)s, '', -count(*) FROM was GROUP BY 1, 2
            """,
            {"letters": _text(letters), "counted": counted},
        )


def _text(rows: Collection[Letter] | Sequence[Engaged]) -> str:
    return json.dumps(list(rows), default=str)
