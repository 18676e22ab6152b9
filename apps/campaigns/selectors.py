"""Reads of campaigns and of the ledger; every one takes the workspace or an object of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.core.cache import cache
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.targets import Targets
from apps.mailer.models import ListMember, Segment, Verdict
from apps.mailer.segments.counting import limited
from apps.senders.models import Relay, SendingPolicy
from apps.senders.stops import COMPLAINED
from mailkit import providers

FINAL = ("sent", "failed", "unknown", "suppressed", "cancelled")
# What has a class of fault.
TROUBLED = ("failed", "deferred", "unknown")
# Counted in the tally beside the statuses: rows whose letter was opened, and clicked in.
OPENED, CLICKED = "opened", "clicked"
# Asks for the rows whose fault has no class.
NO_FAULT = "none"

# Members of lists from which on contacts are read in one go and not each by its key.
LARGE = 50_000
RATE_SECONDS = 30
LEAST_RATE_SECONDS = 5
SHOWN_REASONS = 20
# Rows that the servers' words are taken from.
SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Audience:
    """How many contacts of some lists would get a letter, and why the others would not."""

    sendable: int
    left_out: dict[str, int]

    @property
    def total(self) -> int:
        return self.sendable + sum(self.left_out.values())


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a draft would reach: how many of its audience each mailbox provider has, and how many
    have which verdict for which reason."""

    audience: Audience
    by_provider: dict[str, int]
    findings: dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Tallied:
    """Rows of a campaign's ledger: by status, by provider and status, by fault and status, and
    by all three."""

    counts: dict[str, int]
    providers: dict[str, dict[str, int]]
    faults: dict[str, dict[str, int]]
    opens: int
    clicks: int
    by_kind: dict[tuple[str, str, str], int]


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of one provider, or of one class of fault, by status."""

    key: str
    total: int
    counts: dict[str, int]

    @property
    def waiting(self) -> int:
        return sum(self.counts.get(status, 0) for status in ("waiting", "queued", "deferred"))


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """`final` of `total` rows; `rate` in rows a second; `seconds_left` None when unknown."""

    total: int
    final: int
    counts: dict[str, int]
    rate: float
    seconds_left: float | None


def campaigns(workspace: Workspace, *, search: str = "", state: str = "") -> QuerySet[Campaign]:
    """The workspace's campaigns, newest first."""
    found = Campaign.objects.filter(workspace=workspace)
    for word in search.split():
        found = found.filter(name__icontains=word)
    if state:
        found = found.filter(state=state)
    return found.order_by("-id")


def status_counts(campaign: Campaign) -> dict[str, int]:
    """Rows of the ledger by status; statuses without rows are 0."""
    return tallied(campaign).counts


def tallied(campaign: Campaign) -> Tallied:
    """What the ledger's counters say, at one moment; costs the same however large it is."""
    with connection.cursor() as cursor:
        # Leased rows count as queued in the tally. They are few, and OFFSET keeps the condition
        # on the campaign out of their look-up: the planner would walk through its whole ledger.
        cursor.execute(
            """
            SELECT provider, status, fault, sum(number)
            FROM campaigns_tally WHERE campaign_id = %(campaign)s GROUP BY 1, 2, 3
            UNION ALL
            SELECT NULL, status, '', count(*)
            FROM (SELECT campaign_id, status FROM campaigns_delivery
                  WHERE lease_until IS NOT NULL ORDER BY lease_until OFFSET 0) AS held
            WHERE campaign_id = %(campaign)s AND status = 'handing_off' GROUP BY 2
            """,
            {"campaign": campaign.pk},
        )
        rows = [(*key, int(number)) for *key, number in cursor.fetchall()]
    counts = dict.fromkeys(Delivery.Status.values, 0)
    by_provider: dict[str, dict[str, int]] = {}
    by_fault: dict[str, dict[str, int]] = {}
    by_kind: dict[tuple[str, str, str], int] = {}
    opens = clicks = 0
    for provider, status, fault, number in rows:
        if provider is None:
            counts[status] += number
            counts[Delivery.Status.QUEUED] -= number
        elif status == OPENED:
            opens += number
        elif status == CLICKED:
            clicks += number
        elif status == COMPLAINED:
            by_kind[provider, status, fault] = number
        else:
            counts[status] += number
            by_kind[provider, status, fault] = number
            _add(by_provider, provider, status, number)
            if status in TROUBLED:
                _add(by_fault, fault, status, number)
    return Tallied(counts, by_provider, by_fault, opens, clicks, by_kind)


def _add(table: dict[str, dict[str, int]], key: str, status: str, number: int) -> None:
    row = table.setdefault(key, {})
    row[status] = row.get(status, 0) + number


def breakdown(found: Tallied) -> tuple[list[Share], list[Share]]:
    """(by provider, by class of fault), the largest first."""

    def shares(table: dict[str, dict[str, int]]) -> list[Share]:
        rows = [Share(key, sum(counts.values()), counts) for key, counts in table.items()]
        return sorted((row for row in rows if row.total), key=lambda row: (-row.total, row.key))

    return shares(found.providers), shares(found.faults)


def progress(campaign: Campaign, found: Tallied | None = None) -> CampaignProgress:
    """The rate is that of the last seconds while it is being sent, else that of all of it."""
    counts = (found or tallied(campaign)).counts
    final = sum(counts[status] for status in FINAL)
    total = sum(counts.values())
    rate = 0.0
    if campaign.launched_at:
        seconds = ((campaign.finished_at or timezone.now()) - campaign.launched_at).total_seconds()
        rate = final / seconds if seconds > 0 else 0.0
        if campaign.state == Campaign.State.SENDING:
            rate = _recent_rate(campaign, final, rate)
    going = total - final - counts[Delivery.Status.WAITING]
    left = going / rate if rate and going > 0 else None
    return CampaignProgress(total, final, counts, rate, left)


def _recent_rate(campaign: Campaign, final: int, otherwise: float) -> float:
    """Rows a second since the oldest of the looks of the last half minute, kept in the cache."""
    key, now = f"campaign-looks:{campaign.pk}", time.time()
    looks = [look for look in cache.get(key) or [] if now - RATE_SECONDS < look[0] <= now]
    if not looks or now - looks[-1][0] >= 1:
        cache.set(key, [*looks, (now, final)], RATE_SECONDS)
    if not looks or now - looks[0][0] < LEAST_RATE_SECONDS:
        return otherwise
    then, before = looks[0]
    return float(max(final - before, 0) / (now - then))


# Why a contact of the chosen lists would not get the letter; empty for those who would.
_REASONS = """
    SELECT contact.domain, contact.verdict, contact.reason AS finding,
           contact.first_name, contact.last_name, contact.fields, CASE
        WHEN contact.status <> 'subscribed' THEN 'unsubscribed'
        WHEN never.id IS NOT NULL OR of_domain.id IS NOT NULL THEN 'suppressed'
        {excluded}
        WHEN contact.verdict <> ALL(%(verdicts)s)
            THEN COALESCE(NULLIF(contact.verdict, ''), 'unverified')
        WHEN contact.reason = ANY(%(left_out_reasons)s) THEN 'reasons'
        WHEN %(earlier)s::bigint IS NOT NULL AND NOT EXISTS (
            SELECT FROM campaigns_delivery earlier
            WHERE earlier.campaign_id = %(earlier)s AND earlier.contact_id = contact.id
              AND earlier.status = 'sent' AND earlier.opened_at IS NULL) THEN 'opened'
        ELSE '' END AS reason
    FROM mailer_contact contact
    LEFT JOIN mailer_suppression never
      ON never.workspace_id = contact.workspace_id AND never.email = contact.email
    LEFT JOIN mailer_suppression of_domain
      ON of_domain.workspace_id = contact.workspace_id
     AND of_domain.email = '@' || contact.domain
    {left_out}
    WHERE contact.workspace_id = %(workspace)s AND contact.id IN ({taken})
"""
_EXCLUDED = "WHEN left_out.contact_id IS NOT NULL THEN 'excluded'"
_LEFT_OUT = """
    LEFT JOIN (SELECT DISTINCT contact_id FROM ({ids}) AS found (contact_id)) AS left_out
      ON left_out.contact_id = contact.id
"""


def _ask(
    statement: str,
    workspace: Workspace,
    targets: Targets,
    verdicts: Iterable[str],
    not_opened: Campaign | None,
    left_out_reasons: Iterable[str],
    *,
    seconds: float | None = None,
    **values: Any,
) -> list[Any]:
    """The rows of a statement over `{reasons}`. Raises QueryTooSlow after so many seconds."""
    taken = targets.taken(workspace)
    params = taken.params | {
        "workspace": workspace.pk,
        "verdicts": list(verdicts),
        "left_out_reasons": list(left_out_reasons),
        "earlier": not_opened.pk if not_opened else None,
    }
    excluded = left_out = ""
    if targets.excluding:
        ids = targets.left_out(workspace)
        excluded, left_out = _EXCLUDED, _LEFT_OUT.format(ids=ids.sql)
        params |= ids.params
    reasons = _REASONS.format(excluded=excluded, left_out=left_out, taken=taken.sql)
    # The planner takes a list for one of usual size: each member of a large one would be looked up.
    hashed = not targets.simple or _is_large(targets.list_ids)
    with limited(seconds, hashed=hashed) as cursor:
        cursor.execute(statement.format(reasons=reasons), params | values)
        return list(cursor.fetchall())


def _is_large(list_ids: Iterable[int]) -> bool:
    """Whether lists have more than LARGE members together; it does not count further."""
    members = ListMember.objects.filter(list__in=list(list_ids))
    return members.order_by().values("pk")[: LARGE + 1].count() > LARGE


def audience(
    workspace: Workspace,
    *,
    list_ids: Iterable[int],
    verdicts: Iterable[str],
    not_opened: Campaign | None = None,
    segments: Iterable[Segment] = (),
    excluded_list_ids: Iterable[int] = (),
    excluded_segments: Iterable[Segment] = (),
    left_out_reasons: Iterable[str] = (),
    seconds: float | None = None,
) -> Audience:
    """Whom the ledger's snapshot would take, by the same conditions, and whom it would leave.

    Reasons, the first that holds: unsubscribed (and bounced, complained), suppressed, excluded
    (in a list or segment that is left out), the verdicts that are not included (`unverified`
    stands for none), `reasons` (what verification found about them is left out), and for a resend
    `opened`: those who were not sent the earlier campaign or have opened it. Raises QueryTooSlow
    after so many seconds.
    """
    targets = Targets(
        tuple(list_ids), tuple(segments), tuple(excluded_list_ids), tuple(excluded_segments)
    )
    statement = "SELECT reason, count(*) FROM ({reasons}) AS reasoned GROUP BY 1"
    counts = dict(
        _ask(statement, workspace, targets, verdicts, not_opened, left_out_reasons, seconds=seconds)
    )
    return _audience(counts)


def _audience(counts: Mapping[str, int]) -> Audience:
    """`counts`: by the reason, which is empty for those who would get it."""
    return Audience(
        counts.get("", 0), {reason: counts[reason] for reason in _IN_ORDER if reason in counts}
    )


_IN_ORDER = (
    *("unsubscribed", "suppressed", "excluded"),
    *(*Verdict.values, "unverified", "reasons"),
    "opened",
)


def has_audience(campaign: Campaign) -> bool:
    """Whether anybody would get a draft: found at the first one, however many there are."""
    return bool(
        _ask(
            "SELECT 1 FROM ({reasons}) AS reasoned WHERE reason = '' LIMIT 1",
            campaign.workspace,
            Targets.of(campaign),
            campaign.include_verdicts,
            campaign.not_opened,
            campaign.left_out_reasons,
        )
    )


def waits_for(campaign: Campaign) -> str:
    """Why a campaign that is being sent stands still by rights: `hours`, `relay` or `limits`.

    Empty where it should move. With hours of the recipients' own the rows have due times.
    """
    if campaign.hours_from is not None and not campaign.recipient_time:
        hour = timezone.localtime(timezone=zone_of(campaign.workspace)).hour
        if not campaign.hours_from <= hour < (campaign.hours_until or 24):
            return "hours"
    relays = list(Relay.objects.filter(workspace=campaign.workspace).only("enabled", "retry_at"))
    now = timezone.now()
    if relays and not any(one.enabled and (one.retry_at or now) <= now for one in relays):
        return "relay"
    return "limits" if cache.get(wait_key(campaign.pk)) else ""


def wait_key(campaign_id: int) -> str:
    """Where services.monitoring notes in the cache that limits hold a campaign up."""
    return f"campaign-waits:{campaign_id}"


def zone_of(workspace: Workspace) -> ZoneInfo:
    """The time zone in which a workspace's hours and dates are meant."""
    policy = SendingPolicy.objects.filter(workspace=workspace).only("time_zone").first()
    return ZoneInfo(policy.time_zone if policy else "UTC")


def provider_label(key: str) -> str:
    """The name of a mailbox provider as people know it."""
    if key == providers.OTHER:
        return _("All others")
    provider = providers.PROVIDERS.get(key)
    return provider.label if provider else key


def reach(campaign: Campaign, *, seconds: float | None = None) -> Reach:
    """Counted in one go. Raises QueryTooSlow after so many seconds, and InvalidInput where the
    rules of a segment are outdated."""
    known = [
        (domain, provider.key)
        for provider in providers.PROVIDERS.values()
        for domain in provider.domains
    ]
    rows = _ask(
        """
        SELECT reason, verdict, finding,
               COALESCE(known.provider, NULLIF(fact.provider, ''), %(other)s), sum(number)
        FROM (SELECT reason, verdict, finding, domain, count(*) AS number
              FROM ({reasons}) AS reasoned GROUP BY 1, 2, 3, 4) AS counted
        LEFT JOIN unnest(%(domains)s::text[], %(providers)s::text[])
            AS known (domain, provider) ON known.domain = counted.domain
        LEFT JOIN mailer_domainfact fact
            ON fact.domain = counted.domain AND NOT fact.sandbox
        GROUP BY 1, 2, 3, 4
        """,
        campaign.workspace,
        Targets.of(campaign),
        campaign.include_verdicts,
        campaign.not_opened,
        campaign.left_out_reasons,
        seconds=seconds,
        other=providers.OTHER,
        domains=[domain for domain, _key in known],
        providers=[key for _domain, key in known],
    )
    by_reason: Counter[str] = Counter()
    by_provider: Counter[str] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for reason, verdict, finding, provider, number in rows:
        by_reason[reason] += int(number)
        if not reason:
            by_provider[provider] += int(number)
            found[verdict, finding] += int(number)
    return Reach(_audience(by_reason), dict(by_provider), dict(found))


def empty_fields(campaign: Campaign, names: Sequence[str], seconds: float) -> dict[str, int]:
    """For how many recipients of a draft each of these fields is empty.

    Raises QueryTooSlow where it takes longer than that, and InvalidInput.
    """
    if not names:
        return {}
    own = ("first_name", "last_name")
    counts = ", ".join(
        f"count(*) FILTER (WHERE {name} = '')"
        if name in own
        else f"count(*) FILTER (WHERE coalesce(fields->>%(field{number})s, '') = '')"
        for number, name in enumerate(names)
    )
    ((*numbers,),) = _ask(
        f"SELECT {counts} FROM ({{reasons}}) AS reasoned WHERE reason = ''",
        campaign.workspace,
        Targets.of(campaign),
        campaign.include_verdicts,
        campaign.not_opened,
        campaign.left_out_reasons,
        seconds=seconds,
        **{f"field{number}": name for number, name in enumerate(names)},
    )
    return dict(zip(names, map(int, numbers), strict=True))


def failure_reasons(campaign: Campaign) -> list[tuple[str, int | None, str, int]]:
    """The 20 most frequent (stage, code, server's words, rows) of what is not sent.

    Of a sample: the first thousand rows of each status, which their indexes find.
    """
    reasons: Counter[tuple[str, int | None, str]] = Counter()
    for status in TROUBLED:
        rows = Delivery.objects.filter(campaign=campaign, status=status)
        if status != Delivery.Status.DEFERRED:  # the index of those is in no order
            rows = rows.order_by("status", "contact_id")
        reasons.update(rows.values_list("stage", "code", "reply")[:SAMPLE])
    ordered = sorted(reasons.items(), key=lambda found: (-found[1], found[0][2]))
    return [(*reason, number) for reason, number in ordered[:SHOWN_REASONS]]
