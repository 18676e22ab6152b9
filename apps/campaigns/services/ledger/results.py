"""What servers said of the rows, written down."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.campaigns.services.ledger.plans import array_of, prepared_cursor

logger = logging.getLogger(__name__)


@dataclass(slots=True)
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
    fault: str = ""


def settle(
    campaign_id: int,
    token: uuid.UUID | None,
    results: Sequence[Result],
    relay_id: int | None = None,
) -> None:
    """Write what the server said. A row that the sweeper gave up meanwhile is still ours to tell.

    Without a token: of rows claimed in this transaction, which are not handed off. What would be
    tried again ends where the campaign was cancelled. A row that is not held under the token any
    more is an incident: logged, left as it is.
    """
    with prepared_cursor() as cursor:
        cursor.execute(
            """
            WITH new AS MATERIALIZED (  -- with the campaign in it there is no way but the key
                SELECT %(campaign)s::bigint AS campaign_id, results.*
                FROM unnest(%(contacts)s::text::bigint[],
                            string_to_array(%(statuses)s, E'\\x1f'),
                            string_to_array(%(stages)s, E'\\x1f'),
                            string_to_array(%(codes)s, E'\\x1f', '')::int[],
                            string_to_array(%(replies)s, E'\\x1f'),
                            string_to_array(%(faults)s, E'\\x1f'),
                            string_to_array(%(due)s, E'\\x1f', '')::timestamptz[])
                    AS results (contact_id, status, stage, code, reply, fault, next_attempt_at)
            )
            UPDATE campaigns_delivery AS row
            SET status = CASE
                    WHEN new.status = 'deferred' AND
                        (SELECT state FROM campaigns_campaign WHERE id = %(campaign)s)
                            IN ('cancelling', 'cancelled')
                        THEN 'cancelled'
                    ELSE new.status END,
                attempts = row.attempts - (row.status <> 'queued' AND new.status = 'deferred'
                                           AND COALESCE(new.stage, '') = '')::int,
                stage = COALESCE(new.stage, ''), code = new.code,
                reply = COALESCE(new.reply, ''), fault = COALESCE(new.fault, ''),
                relay_id = COALESCE(%(relay)s::bigint, row.relay_id),
                next_attempt_at = new.next_attempt_at, token = NULL, lease_until = NULL,
                updated_at = now()
            FROM new
            WHERE row.campaign_id = new.campaign_id AND row.contact_id = new.contact_id
              AND row.token IS NOT DISTINCT FROM %(token)s
              AND row.status IN ('queued', 'handing_off', 'unknown')
            """,
            {
                "campaign": campaign_id,
                "token": token,
                "relay": relay_id,
                "contacts": array_of([result.contact_id for result in results]),
                "statuses": _SEPARATOR.join([result.status for result in results]),
                "stages": _SEPARATOR.join([result.stage for result in results]),
                "codes": _SEPARATOR.join([str(result.code or "") for result in results]),
                "replies": _SEPARATOR.join([_text(result.reply) for result in results]),
                "faults": _SEPARATOR.join([result.fault for result in results]),
                "due": _SEPARATOR.join([str(result.next_attempt_at or "") for result in results]),
            },
        )
        settled = cursor.rowcount
    if settled != len(results):
        logger.error(
            "campaign %s: %s of %s results found no row held under token %s",
            campaign_id, len(results) - settled, len(results), token,
        )  # fmt: skip


# Columns of a group as one text each: the driver takes twenty times as long over lists.
_SEPARATOR = "\x1f"


def _text(reply: str) -> str:
    return reply[:2000].replace("\0", "").replace(_SEPARATOR, " ")
