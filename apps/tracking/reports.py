"""The report of one campaign, from counters alone: it costs the same however large it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from apps.campaigns import selectors as campaign_selectors
from apps.campaigns.messages import fault_label
from apps.campaigns.models import Campaign
from apps.campaigns.selectors import Tallied, provider_label
from apps.tracking.counts import NONE, Counts, Figures, clicks_by_link, counts_of, total
from apps.tracking.messages import axis_label
from apps.tracking.rates import Rates, Usual, usual_before

HOURS, DAYS = 48, 60
# Faults of which a second attempt may come to another end.
TEMPORARY = ("full", "rate", "network", "relay")
SERIES = ("sent", "open", "click", "unsubscribe", "complaint", "bounce")
Label = str | Promise
Moments = dict[datetime, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a property, with the letters that were accepted where the ledger knows it."""

    key: str
    label: Label
    accepted: int | None
    opens: Figures
    clicks: Figures
    unsubscribed: int
    complained: int


@dataclass(frozen=True, slots=True)
class Link:
    number: int
    url: str
    clicks: Figures


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in an hour or a day; opens and clicks by people. `iso` is for machines."""

    label: str
    iso: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """Letters that did not arrive for one reason; `query` finds them among the deliveries."""

    label: Label
    number: int
    query: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    tallied: Tallied
    rates: Rates
    usual: Usual
    opens: Figures
    clicks: Figures
    total: int
    handed_over: int
    waiting: int
    returned: list[tuple[Label, int]]
    reasons: list[tuple[Label, int]]
    machines: list[tuple[Label, int, int]]
    missed: list[Missed]
    links: list[Link]
    providers: list[Row]
    variants: list[Row]
    devices: list[Row]
    countries: list[Row]
    hours: list[Point]
    days: list[Point]

    @property
    def not_opened(self) -> int:
        return max(self.rates.accepted - self.opens.people, 0)

    @property
    def temporary(self) -> int:
        """Letters that failed for reasons which pass."""
        return sum(row.number for row in self.missed if row.temporary)


def report_of(campaign: Campaign) -> Report:
    tallied = campaign_selectors.tallied(campaign)
    counts = counts_of(campaign)
    status = tallied.counts
    opens, clicks = total(counts, "open"), total(counts, "click")
    rates = Rates(
        accepted=status["sent"],
        bounced=status["failed"],
        hard=tallied.faults.get("mailbox", {}).get("failed", 0),
        opened=opens.people,
        clicked=clicks.people,
        unsubscribed=total(counts, "unsubscribe").events,
        complained=total(counts, "complaint").events,
        track_opens=campaign.track_opens,
        track_clicks=campaign.track_clicks,
    )
    by_provider = {key: row.get("sent", 0) for key, row in tallied.providers.items()}
    by_variant = {key: row.events for key, row in counts.get(("sent", "variant"), {}).items()}
    variants = _rows(counts, "variant", by_variant)
    zone = campaign_selectors.zone_of(campaign.workspace)
    moments = _moments(counts, zone)
    return Report(
        tallied=tallied,
        rates=rates,
        usual=usual_before(campaign),
        opens=opens,
        clicks=clicks,
        total=sum(status.values()),
        handed_over=status["sent"] + status["failed"] + status["unknown"],
        waiting=status["queued"] + status["handing_off"] + status["deferred"],
        returned=_details(counts, "bounce"),
        reasons=_details(counts, "unsubscribe"),
        machines=_machines(counts),
        missed=_missed(tallied),
        links=link_rows(campaign, counts),
        providers=_rows(counts, "provider", by_provider),
        variants=variants if len(variants) > 1 else [],
        devices=_rows(counts, "device"),
        countries=_rows(counts, "country"),
        hours=_hours(campaign, moments, zone),
        days=_days(campaign, moments, zone),
    )


def _rows(counts: Counts, axis: str, accepted: Mapping[str, int] | None = None) -> list[Row]:
    """The values of a property, the most letters or else the most opens and clicks first."""
    keys = set(accepted or ())
    for kind in ("open", "click", "unsubscribe", "complaint"):
        keys |= counts.get((kind, axis), {}).keys()

    def of(kind: str, key: str) -> Figures:
        return counts.get((kind, axis), {}).get(key, NONE)

    rows = [
        Row(
            key,
            provider_label(key) if axis == "provider" else axis_label(axis, key),
            None if accepted is None else accepted.get(key, 0),
            of("open", key),
            of("click", key),
            of("unsubscribe", key).events,
            of("complaint", key).events,
        )
        for key in keys
    ]
    if axis == "variant":
        return sorted(rows, key=lambda row: row.key)
    return sorted(
        rows,
        key=lambda row: (-(row.accepted or row.opens.by_people + row.clicks.by_people), row.key),
    )


def _details(counts: Counts, kind: str) -> list[tuple[Label, int]]:
    """Events of a kind by what is known of them; those of which nothing is known come last."""
    known = counts.get((kind, "detail"), {})
    rows: list[tuple[Label, int]] = [
        (axis_label(kind, key), row.events)
        for key, row in sorted(known.items(), key=lambda item: (-item[1].events, item[0]))
    ]
    rest = total(counts, kind).events - sum(number for _label, number in rows)
    return [*rows, (axis_label(kind, ""), rest)] if rest else rows


def _machines(counts: Counts) -> list[tuple[Label, int, int]]:
    """(who, opens, clicks) of each sort of machine."""
    opens, clicks = counts.get(("open", "machine"), {}), counts.get(("click", "machine"), {})
    return [
        (
            axis_label("machine", key),
            opens.get(key, NONE).events,
            clicks.get(key, NONE).events,
        )
        for key in sorted(opens.keys() | clicks.keys())
    ]


def _missed(tallied: Tallied) -> list[Missed]:
    rows = [
        Missed(
            fault_label(fault),
            by["failed"],
            f"status=failed&fault={fault or campaign_selectors.NO_FAULT}",
            fault in TEMPORARY,
        )
        for fault, by in tallied.faults.items()
        if by.get("failed")
    ]
    others = (
        ("deferred", _("Waiting for another attempt: the server said “later”")),
        ("unknown", _("Unknown: the connection ended before the server's answer")),
        ("suppressed", _("Unsubscribed or suppressed before their turn came")),
        ("cancelled", _("The campaign was cancelled before their turn came")),
    )
    rows += [
        Missed(label, tallied.counts[status], f"status={status}")
        for status, label in others
        if tallied.counts[status]
    ]
    return sorted(rows, key=lambda row: (-row.number, row.query))


def link_rows(campaign: Campaign, counts: Counts) -> list[Link]:
    """The letter's links in its order; links without a click as well."""
    clicks = clicks_by_link(counts)
    rows = campaign.links.order_by("number").values_list("number", "url")
    return [Link(number, url, clicks.get(number, NONE)) for number, url in rows]


def _moments(counts: Counts, zone: ZoneInfo) -> Moments:
    """By hour, in the workspace's time zone."""
    found: dict[datetime, dict[str, int]] = defaultdict(dict)
    for kind in SERIES:
        for key, row in counts.get((kind, "hour"), {}).items():
            found[hour_of(key).astimezone(zone)][kind] = row.by_people
    return found


def hour_of(key: str) -> datetime:
    """Of a counter's key; strptime takes ten times as long."""
    return datetime(int(key[:4]), int(key[4:6]), int(key[6:8]), int(key[8:10]), tzinfo=UTC)


def _values(rows: list[dict[str, int]]) -> tuple[int, ...]:
    return tuple(sum(row.get(kind, 0) for row in rows) for kind in SERIES)


def _hours(campaign: Campaign, moments: Moments, zone: ZoneInfo) -> list[Point]:
    """The first 48 hours, up to now."""
    if not campaign.launched_at or not moments:
        return []
    start = campaign.launched_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    points = []
    for number in range(HOURS):
        hour = (start + timedelta(hours=number)).astimezone(zone)
        if hour > timezone.now():
            break
        label = f"{short(hour)} {hour:%H:%M}"
        points.append(Point(label, hour.isoformat(), _values([moments.get(hour, {})])))
    return points


def _days(campaign: Campaign, moments: Moments, zone: ZoneInfo) -> list[Point]:
    """The first sixty days, up to the last thing that happened, and all that came later."""
    by_day: dict[int, list[dict[str, int]]] = defaultdict(list)
    if not campaign.launched_at or not moments:
        return []
    first = min(campaign.launched_at.astimezone(zone).date(), min(moments).date())
    for hour, values in moments.items():
        by_day[min((hour.date() - first).days, DAYS)].append(values)
    points = [
        Point(short(day), day.isoformat(), _values(by_day.get(number, [])))
        for number in range(min(max(by_day) + 1, DAYS))
        for day in [first + timedelta(days=number)]
    ]
    later = Point(_("Later"), _("Later"), _values(by_day.get(DAYS, [])))
    return [*points, later] if DAYS in by_day else points


def short(day: date) -> str:
    """ "13 Nov", in the language of the page."""
    return formats.date_format(day, "j M")
