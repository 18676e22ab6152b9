"""The workspace's last thirty days, and how its letters stand with the mailbox providers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.campaigns.selectors import provider_label, zone_of
from apps.tracking.counts import of_workspace
from apps.tracking.reports import Point, hour_of, short

DAYS = 30
SERIES = ("sent", "open", "click", "unsubscribe", "complaint", "bounced")
# A share of fewer letters than these is chance.
LEAST_LETTERS = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """From `warning` on it is watched, from `danger` on letters are blocked; shares of 1."""

    warning: float
    danger: float
    source: str
    url: str


# https://support.google.com/a/answer/81126: below 0.1 %, never 0.3 % or more.
COMPLAINTS = Limit(0.001, 0.003, "Gmail, Yahoo", "https://support.google.com/a/answer/81126")
# "Bounce rate" there counts hard bounces: below 2 %, under review at 5 %.
HARD_BOUNCES = Limit(
    0.02,
    0.05,
    "Amazon SES",
    "https://docs.aws.amazon.com/ses/latest/dg/reputation-dashboard-dg.html",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Letters of thirty days, at one provider or (key '') at all of them."""

    key: str
    label: str | Promise
    accepted: int
    hard: int
    complained: int

    @property
    def enough(self) -> bool:
        return self.accepted + self.hard >= LEAST_LETTERS

    @property
    def complaint_rate(self) -> float | None:
        return self.complained / self.accepted if self.accepted else None

    @property
    def hard_rate(self) -> float | None:
        tried = self.accepted + self.hard
        return self.hard / tried if tried else None

    @property
    def complaint_level(self) -> str:
        return _level(self.complaint_rate, COMPLAINTS) if self.enough else ""

    @property
    def hard_level(self) -> str:
        return _level(self.hard_rate, HARD_BOUNCES) if self.enough else ""


def _level(rate: float | None, limit: Limit) -> str:
    if rate is None or rate < limit.warning:
        return "good"
    return "danger" if rate >= limit.danger else "warning"


@dataclass(frozen=True, slots=True)
class Trends:
    """Points of each day, their sums in the order of SERIES, and the standing by provider."""

    days: list[Point]
    sums: dict[str, int]
    standings: list[Standing]

    @property
    def warned(self) -> list[Standing]:
        return [
            one
            for one in self.standings
            if {one.complaint_level, one.hard_level} & {"warning", "danger"}
        ]


def trends_of(workspace: Workspace) -> Trends:
    """Days are those of the workspace's time zone; providers' days are UTC's."""
    zone = zone_of(workspace)
    today = timezone.localtime(timezone=zone).date()
    first = today - timedelta(days=DAYS - 1)
    start = datetime(first.year, first.month, first.day, tzinfo=zone).astimezone(UTC)
    by_day = _by_day(workspace, zone, start)
    days = [first + timedelta(days=number) for number in range(DAYS)]
    points = [
        Point(
            short(day),
            day.isoformat(),
            tuple(by_day[day.toordinal()].get(kind, 0) for kind in SERIES),
        )
        for day in days
    ]
    sums = {kind: sum(point.values[place] for point in points) for place, kind in enumerate(SERIES)}
    return Trends(points, sums, _standings(workspace, f"{start:%Y%m%d}"))


def _by_day(workspace: Workspace, zone: ZoneInfo, start: datetime) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for kind, key, row in of_workspace(workspace.pk, "hour", f"{start:%Y%m%d%H}"):
        hour = hour_of(key).astimezone(zone)
        # What came back later is among the failed letters of the ledger.
        series = "bounced" if kind in {"hard", "failed"} else kind
        found[hour.date().toordinal()][series] += row.by_people
    return found


def _standings(workspace: Workspace, since: str) -> list[Standing]:
    """All together first, then the providers with the most letters."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for kind, key, row in of_workspace(workspace.pk, "provider_day", since):
        for provider in ("", key.partition(" ")[2]):
            found[provider][kind] += row.events
    rows = [
        Standing(
            key,
            provider_label(key) if key else _("All providers"),
            by["sent"],
            by["hard"],
            by["complaint"],
        )
        for key, by in found.items()
        if by["sent"] or by["hard"]
    ]
    return sorted(rows, key=lambda row: (bool(row.key), -row.accepted, row.key))
