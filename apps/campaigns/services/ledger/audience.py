"""The audience of a campaign, queued row by row when it is prepared."""

from __future__ import annotations

from typing import Any

from django.db import connection

from apps.campaigns.models import Campaign
from apps.campaigns.services import gathered
from apps.campaigns.targets import Targets
from mailkit import providers


def snapshot(campaign_id: int) -> int:
    """Queue one row for each contact of the audience; a repetition adds nothing.

    Where the campaign begins in each recipient's own time, a row waits until then; where variants
    are tested, those outside the test share wait for the winner. Runs in the caller's transaction.
    Returns the number of rows added. Raises InvalidInput where the rules of a segment are
    outdated.
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
        **(_PLAIN if campaign.test_share is None else _tested(campaign, repeated=repeated)),
    }
    added = 0
    with connection.cursor() as cursor:
        for source, list_id in sources:
            statement = _SNAPSHOT.format(source=source, **options)
            last: int | None = 0
            while last is not None:
                cursor.execute(statement, values | {"list": list_id, "last": last, "added": added})
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
            (campaign_id, contact_id, email, provider, status, next_attempt_at, variant)
        SELECT %(campaign)s, contact.id, contact.email,
               COALESCE(known.provider, NULLIF(fact.provider, ''), 'other'),
               CASE WHEN {waits} THEN 'waiting' WHEN start.at > now() THEN 'deferred'
                    ELSE 'queued' END,
               CASE WHEN start.at > now() THEN start.at END, {variant}
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
          {not_opened} {not_excluded} {not_known}
        {window}
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
_PLAIN = {"waits": "false", "variant": "0", "window": "", "not_known": ""}


def _tested(campaign: Campaign, *, repeated: bool) -> dict[str, str]:
    """Pieces of the statement for a campaign with variants.

    The rows of a chunk are numbered in the order of a hash of contact and campaign, which is the
    same in a repetition and has nothing to do with who they are, and on from chunk to chunk. By
    the number, each row that takes the test share past a whole letter is in the test, and the
    variants take turns: both shares are exact to one letter, however many there are.
    """
    order = f"hashint8extended(contact.id, {campaign.pk}), contact.id"
    number = "(%(added)s + row_number() OVER by_chance)"
    share, variants = int(campaign.test_share or 0), campaign.variants.count()
    tested = f"({number} * {share} / 100)"
    waits = f"{tested} = (({number} - 1) * {share} / 100)"
    return {
        "waits": waits,
        "variant": f"CASE WHEN {waits} THEN 0 ELSE 1 + ({tested} - 1) %% {variants} END",
        "window": f"WINDOW by_chance AS (ORDER BY {order})",
        # A row that is left out by a conflict would still have its number.
        "not_known": _NOT_KNOWN if repeated else "",
    }


_NOT_KNOWN = """
    AND NOT EXISTS (
        SELECT FROM campaigns_delivery known
        WHERE known.campaign_id = %(campaign)s AND known.contact_id = contact.id)
"""
