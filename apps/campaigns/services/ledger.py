"""Every write to the ledger of deliveries. Each is one conditional statement over many rows.

queued → handing_off → sent | deferred | failed | unknown. Rows are claimed by locks, which end
with their process; those being handed over carry its token and a lease, and the sweeper gives up
what nobody renews.

Rows are named by their keys wherever they are known: the statistics of a ledger that has just
grown are out of date, and the planner would walk a whole campaign to find fifty rows of it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import connection, transaction
from psycopg.types.json import JsonbLoader

from apps.campaigns.models import Campaign
from apps.campaigns.services import gathered
from apps.campaigns.targets import Targets
from mailkit import providers

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
_LEASE: Any = LEASE  # as a parameter: the driver takes it, its type stubs do not know


@dataclass(slots=True)
class Claimed:
    """A row that this process holds. `attempts` counts the hand-offs before.

    Names and fields are those of the contact; None where it has been erased.
    """

    contact_id: int
    email: str
    attempts: int
    first_name: str | None = ""
    last_name: str | None = ""
    fields: dict[str, object] | None = field(default_factory=dict)


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


class _Prepared(psycopg.Cursor[Any]):
    """Has the server prepare its statements: planning each anew for every group of rows would
    cost more than running it."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> _Prepared:
        return super().execute(query, params, prepare=True, **options)


@contextmanager
def _cursor() -> Iterator[_Prepared]:
    connection.ensure_connection()
    with connection.wrap_database_errors, _Prepared(connection.connection) as cursor:
        cursor.adapters.register_loader("jsonb", JsonbLoader)  # Django leaves JSON as text
        yield cursor


def plan_anew() -> None:
    """Forget the plans of prepared statements: those made while the ledger was small stay in use
    for as long as the connection, and would read all of a large one."""
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS")


def snapshot(campaign_id: int) -> int:
    """Queue one row for each contact of the audience; a repetition adds nothing.

    Where the campaign begins in each recipient's own time, a row waits until then. Runs in the
    caller's transaction. Returns the number of rows added. Raises InvalidInput where the rules
    of a segment are outdated.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    values: dict[str, Any] = {
        "campaign": campaign_id,
        "workspace": campaign.workspace_id,
        "verdicts": campaign.include_verdicts,
        "left_out_reasons": campaign.left_out_reasons,
        "earlier": campaign.not_opened_id,
        "begin": campaign.scheduled_at,
        "chunk": CHUNK,
    }
    for provider in providers.PROVIDERS.values():
        for domain in provider.domains:
            values.setdefault("domains", []).append(domain)
            values.setdefault("providers", []).append(provider.key)
    start = _AT_LOCAL_TIME if campaign.recipient_time else _AT_ONCE
    not_opened = _NOT_OPENED if campaign.not_opened_id else ""
    targets = Targets.of(campaign)
    gathered.gather(campaign.workspace, targets)
    sources = [(_OF_LIST, list_id) for list_id in targets.list_ids]
    if targets.segments:
        sources.append((_OF_SEGMENTS, 0))
    # To look for each row costs a quarter of the time, and most campaigns go to one list, once.
    repeated = len(sources) > 1 or campaign.deliveries.exists()
    options = {
        "start": start,
        "not_opened": not_opened,
        "not_excluded": gathered.NOT_EXCLUDED if targets.excluding else "",
        "conflict": "ON CONFLICT DO NOTHING" if repeated else "",
    }
    added = 0
    with connection.cursor() as cursor:
        for source, list_id in sources:
            statement = _SNAPSHOT.format(source=source, **options)
            last: int | None = 0
            while last is not None:
                cursor.execute(statement, values | {"list": list_id, "last": last})
                last, number = cursor.fetchone()
                added += number
    if not targets.simple:
        gathered.forget()
    return added


# A chunk of the members of one list, or of all segments, by their key: a plan that does not depend
# on how many there are, and memory that does not grow with them.
CHUNK = 20_000
_OF_LIST = "mailer_listmember WHERE list_id = %(list)s AND"
_OF_SEGMENTS = f"{gathered.TAKEN} WHERE"
_SNAPSHOT = """
    WITH chunk AS MATERIALIZED (
        SELECT contact_id FROM {source} contact_id > %(last)s
        ORDER BY contact_id LIMIT %(chunk)s
    ), known AS MATERIALIZED (
        SELECT * FROM unnest(%(domains)s::text[], %(providers)s::text[])
            AS known (domain, provider)
    ), added AS (
        INSERT INTO campaigns_delivery
            (campaign_id, contact_id, email, provider, status, next_attempt_at)
        SELECT %(campaign)s, contact.id, contact.email,
               COALESCE(known.provider, NULLIF(fact.provider, ''), 'other'),
               CASE WHEN start.at > now() THEN 'deferred' ELSE 'queued' END,
               CASE WHEN start.at > now() THEN start.at END
        FROM chunk JOIN mailer_contact contact ON contact.id = chunk.contact_id
        LEFT JOIN known ON known.domain = contact.domain
        LEFT JOIN mailer_domainfact fact ON fact.domain = contact.domain AND NOT fact.sandbox
        {start}
        -- In this form no index serves the condition: the contacts are looked up by their keys.
        WHERE contact.workspace_id IS NOT DISTINCT FROM %(workspace)s
          AND contact.status = 'subscribed' AND contact.verdict = ANY(%(verdicts)s)
          AND contact.reason <> ALL(%(left_out_reasons)s)
          AND (SELECT never.id FROM mailer_suppression never
               WHERE never.workspace_id = %(workspace)s
                 AND never.email IN (contact.email, '@' || contact.domain) LIMIT 1) IS NULL
          {not_opened} {not_excluded}
        ORDER BY contact.id
        {conflict}
        RETURNING 1
    )
    SELECT (SELECT max(contact_id) FROM chunk), (SELECT count(*) FROM added)
"""
_AT_ONCE = "CROSS JOIN (SELECT NULL::timestamptz AS at) AS start"
# The moment as the workspace's clock shows it, where the recipient's clock shows the same.
_AT_LOCAL_TIME = """
    LEFT JOIN senders_sendingpolicy policy ON policy.workspace_id = %(workspace)s
    LEFT JOIN pg_timezone_names zone
        ON zone.name = COALESCE(contact.fields->>'timezone', contact.fields->>'time_zone')
    LEFT JOIN LATERAL (
        SELECT (%(begin)s::timestamptz AT TIME ZONE COALESCE(policy.time_zone, 'UTC'))
               AT TIME ZONE COALESCE(zone.name, policy.time_zone, 'UTC') AS at
    ) AS start ON true
"""
_NOT_OPENED = """
    AND EXISTS (
        SELECT FROM campaigns_delivery earlier
        WHERE earlier.campaign_id = %(earlier)s AND earlier.contact_id = contact.id
          AND earlier.status = 'sent' AND earlier.opened_at IS NULL)
"""


def queued_providers(campaign_id: int) -> list[str]:
    """The providers of a campaign's queued rows: one look into the index for each."""
    with _cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE found AS (
                (SELECT provider FROM campaigns_delivery
                 WHERE campaign_id = %(campaign)s AND status = 'queued'
                 ORDER BY provider LIMIT 1)
                UNION ALL
                SELECT (SELECT provider FROM campaigns_delivery
                        WHERE campaign_id = %(campaign)s AND status = 'queued'
                          AND provider > found.provider
                        ORDER BY provider LIMIT 1)
                FROM found WHERE found.provider IS NOT NULL
            )
            SELECT provider FROM found WHERE provider IS NOT NULL
            """,
            {"campaign": campaign_id},
        )
        return [provider for (provider,) in cursor.fetchall()]


def claim(campaign_id: int, provider: str, limit: int) -> list[Claimed]:
    """Lock up to `limit` queued rows of one provider, of a campaign that is sending to it.

    They are the caller's until its transaction ends: handed off by then, or as they were.
    """
    return _claimed(
        """
        SELECT contact_id, email, attempts FROM campaigns_delivery
        WHERE campaign_id = %(campaign)s AND provider = %(provider)s AND status = 'queued'
          AND EXISTS (SELECT FROM campaigns_campaign
                      WHERE id = %(campaign)s AND state = 'sending'
                        AND NOT paused_providers ? %(provider)s)
        ORDER BY contact_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"campaign": campaign_id, "provider": provider, "limit": limit},
    )


def claim_one(campaign_id: int, contact_id: int) -> list[Claimed]:
    """Lock one queued row, for a retry that a person asked for."""
    return _claimed(
        """
        SELECT contact_id, email, attempts FROM campaigns_delivery
        WHERE campaign_id = %(campaign)s AND contact_id = %(contact)s AND status = 'queued'
        FOR UPDATE SKIP LOCKED
        """,
        {"campaign": campaign_id, "contact": contact_id},
    )


def _claimed(rows: str, values: dict[str, Any]) -> list[Claimed]:
    with _cursor() as cursor:
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
    with _cursor() as cursor:
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
                "lease": _LEASE,
                "contacts": _ids(contact_ids),
            },
        )
        going = {contact for (contact,) in cursor.fetchall()}
    if len(going) < len(contact_ids):
        _suppress(campaign_id, [key for key in contact_ids if key not in going])
    return going


def _suppress(campaign_id: int, contact_ids: list[int]) -> None:
    """End the queued rows, of those named, of people who have said no."""
    with _cursor() as cursor:
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


def renew(campaign_id: int, token: uuid.UUID, contact_ids: Sequence[int]) -> None:
    """Keep the lease of everything held while a slow server is being waited for."""
    with _cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_delivery SET lease_until = now() + %s
            WHERE campaign_id = %s AND contact_id = ANY(%s) AND token = %s
              AND status = 'handing_off'
            """,
            [_LEASE, campaign_id, list(contact_ids), token],
        )


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
    with _cursor() as cursor:
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
                "contacts": _ids([result.contact_id for result in results]),
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


def _ids(contact_ids: Sequence[int]) -> str:
    return f"{{{','.join(map(str, contact_ids))}}}"


def _text(reply: str) -> str:
    return reply[:2000].replace("\0", "").replace(_SEPARATOR, " ")


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
            )
            UPDATE campaigns_delivery SET status = 'cancelled', updated_at = now()
            WHERE campaign_id = %(campaign)s AND contact_id = ANY(ARRAY(
                SELECT contact_id FROM queued UNION ALL SELECT contact_id FROM deferred))
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
            WHERE status IN ('queued', 'deferred') AND campaign_id IN (
                SELECT id FROM campaigns_campaign
                WHERE workspace_id = %s AND state IN ('sending', 'paused'))
              AND contact_id IN (
                SELECT id FROM mailer_contact WHERE workspace_id = %s AND {column} = %s)
            """,
            [workspace_id, workspace_id, email.removeprefix("@")],
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
                ORDER BY provider LIMIT 1) IS NULL
              AND NOT EXISTS (
                SELECT FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND status = 'deferred')
              AND NOT EXISTS (
                SELECT FROM campaigns_delivery
                WHERE campaign_id = %(campaign)s AND lease_until IS NOT NULL)
            """,
            {"campaign": campaign_id},
        )
        return bool(cursor.rowcount == 1)
