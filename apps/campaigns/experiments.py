"""What is shown of a test of variants: its plan, its figures, and what can be said of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.campaigns import selectors, variants
from apps.campaigns.models import Campaign, Variant, WinnerBy
from mailkit.experiments import (
    Comparison,
    Count,
    Interval,
    compare,
    letters_needed,
    visible_difference,
    wilson,
)

# What is assumed of a workspace that has sent too little to know its own: opens, clicks.
USUAL = {WinnerBy.OPENS: 0.2, WinnerBy.CLICKS: 0.03}
ENOUGH_LETTERS = 200
LOOKED_AT = 10  # of the newest campaigns
HINTS = (0.01, 0.02, 0.05, 0.1)
# Counting takes at most so large a part of the time, however many look at the page.
COUNTED_SECONDS, COUNTED_PART = 3, 50


@dataclass(frozen=True, slots=True)
class VariantRows:
    """Rows of one variant: all, those a server accepted, and of these the opened and clicked."""

    letters: int = 0
    accepted: int = 0
    opened: int = 0
    clicked: int = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate with its interval, of the accepted letters. The marks place them on a line of 1,000
    that ends at `scale`."""

    count: Count
    interval: Interval
    scale: float

    @property
    def low_mark(self) -> str:
        return self._mark(self.interval.low)

    @property
    def width_mark(self) -> str:
        return self._mark(self.interval.high - self.interval.low)

    @property
    def rate_mark(self) -> str:
        return self._mark(self.count.rate)

    def _mark(self, rate: float) -> str:
        """Not a number: a template would write it in the person's language."""
        return str(round(992 * rate / self.scale))

    @property
    def text(self) -> str:
        """“12.5 % (9.8 to 15.7)”; a dash where nothing was accepted."""
        if not self.count.letters:
            return "–"
        return _("%(rate)s %% (%(low)s to %(high)s)") % {
            "rate": percent(self.count.rate),
            "low": percent(self.interval.low),
            "high": percent(self.interval.high),
        }


@dataclass(frozen=True, slots=True)
class Row:
    variant: Variant
    differs: str
    letters: int
    accepted: int
    opens: Figure
    clicks: Figure
    leads: bool


@dataclass(frozen=True, slots=True)
class Report:
    """`waiting`: rows that wait for the winner; `due`: when it is chosen, None where that is not
    known yet or it is chosen already."""

    rows: list[Row]
    by: str
    finding: str
    sentence: str
    waiting: int
    due: datetime | None
    can_decide: bool

    @property
    def overdue(self) -> bool:
        return self.due is not None and self.due <= timezone.now()

    @property
    def by_opens(self) -> bool:
        return self.by == WinnerBy.OPENS

    @property
    def by_clicks(self) -> bool:
        return self.by == WinnerBy.CLICKS


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gets which variant: (name, letters) each, and how many wait for the winner.

    `visible`: the smallest difference, in points, that the test can be expected to show.
    """

    shares: list[tuple[str, int]]
    rest: int
    visible: str
    rate: str

    @property
    def empty(self) -> bool:
        """Whether a variant goes to nobody."""
        return not self.shares[-1][1]


def count(campaign_id: int) -> dict[int, VariantRows]:
    """By variant, from an index alone. After the winner is chosen its rows are not only those of
    the test: what the decision was made on is kept with the variants."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT variant, count(*), count(*) FILTER (WHERE status = 'sent'),
                   count(*) FILTER (WHERE status = 'sent' AND opened_at IS NOT NULL),
                   count(*) FILTER (WHERE status = 'sent' AND clicked_at IS NOT NULL)
            FROM campaigns_delivery WHERE campaign_id = %s AND variant > 0 GROUP BY variant
            """,
            [campaign_id],
        )
        return {variant: VariantRows(*counts) for variant, *counts in cursor.fetchall()}


def counts_by(by: str, counted: VariantRows) -> Count:
    """Of the accepted letters those that were clicked in, else those that were opened."""
    return Count(counted.clicked if by == WinnerBy.CLICKS else counted.opened, counted.accepted)


def due_at(campaign: Campaign) -> datetime:
    """When the winner is chosen, of a campaign all of whose test letters are out."""
    assert campaign.tested_at is not None
    return campaign.tested_at + timedelta(minutes=campaign.winner_after)


def percent(rate: float) -> str:
    """With one decimal, where it has any."""
    points = round(100 * rate, 1)
    return number_format(points, decimal_pos=0 if points.is_integer() else 1)


def by_of(campaign: Campaign) -> str:
    """What the variants are compared by: chosen by hand, by what is counted."""
    if campaign.winner_by == WinnerBy.CLICKS or not campaign.track_opens:
        return WinnerBy.CLICKS
    return WinnerBy.OPENS


def report(campaign: Campaign) -> Report | None:
    """Of a campaign that was prepared; None where nothing is tested. What is shown once a winner
    is chosen are the figures that it was chosen by."""
    tested = variants.of(campaign)
    if not tested or not campaign.has_begun:
        return None
    counted = {one.number: _kept(one) for one in tested} if campaign.winner else _counted(campaign)
    by = by_of(campaign)
    figures = {one.number: counted.get(one.number, VariantRows()) for one in tested}
    counts = [counts_by(by, figures[one.number]) for one in tested]
    compared = compare(counts)
    scale = max((wilson(one).high for one in counts if one.letters), default=1.0)
    shown = [
        _row(
            one,
            figures[one.number],
            scale,
            leads=place == compared.leader and compared.finding in ("chance", "clear"),
        )
        for place, one in enumerate(tested)
    ]
    waiting = selectors.status_counts(campaign)["waiting"]
    return Report(
        rows=shown,
        by=by,
        finding=compared.finding,
        sentence=sentence(compared, counts, [one.name for one in tested], by),
        waiting=waiting,
        due=due_at(campaign) if campaign.tested_at and not campaign.winner else None,
        can_decide=campaign.winner is None
        and waiting > 0
        and campaign.state in {Campaign.State.SENDING, Campaign.State.PAUSED},
    )


def sentence(compared: Comparison, counts: Sequence[Count], names: Sequence[str], by: str) -> str:
    """What the figures say of the leader, and how sure that is."""
    leader, runner_up = names[compared.leader], names[compared.runner_up]
    if compared.finding == "nothing":
        return (
            _("Nobody has clicked so far: nothing can be said yet.")
            if by == WinnerBy.CLICKS
            else _("Nobody has opened it so far: nothing can be said yet.")
        )
    if compared.finding == "tie":
        return _("%(first)s and %(second)s are even.") % {"first": leader, "second": runner_up}
    values = {
        "first": leader,
        "second": runner_up,
        "points": percent(counts[compared.leader].rate - counts[compared.runner_up].rate),
        "low": percent(compared.difference.low),
        "high": percent(compared.difference.high),
        "chance": number_format(min(max(round(100 * compared.chance), 1), 99)),
    }
    if compared.finding == "clear":
        words = _(
            "%(first)s is ahead of %(second)s by %(points)s points, more than chance explains: "
            "the true difference is probably between %(low)s and %(high)s points."
        )
    else:
        words = _(
            "%(first)s is ahead of %(second)s by %(points)s points, but the difference could be "
            "chance: anything between %(low)s and %(high)s points fits. That %(first)s is really "
            "the better one has a probability of %(chance)s %%."
        )
    return words % values


def plan(campaign: Campaign, audience: int) -> Plan | None:
    """Of a draft to so many contacts; None where nothing is tested."""
    tested = variants.of(campaign)
    if not tested:
        return None
    letters = audience * (campaign.test_share or 0) // 100
    each, more = divmod(letters, len(tested))
    rate = usual_rate(campaign.workspace, by_of(campaign))
    visible = visible_difference(rate, each)
    return Plan(
        [(one.name, each + (place < more)) for place, one in enumerate(tested)],
        audience - letters,
        "" if visible is None else percent(visible),
        percent(rate),
    )


def hints(campaign: Campaign) -> tuple[str, list[tuple[str, int]]]:
    """The usual rate, and how many letters each variant needs for a lead of so many points."""
    rate = usual_rate(campaign.workspace, by_of(campaign))
    needed = [(percent(apart), letters_needed(rate, apart)) for apart in HINTS if rate + apart <= 1]
    return percent(rate), needed


def usual_rate(workspace: Workspace, by: str) -> float:
    """Opens or clicks of the accepted letters of the newest campaigns."""
    newest = Campaign.objects.filter(workspace=workspace, state=Campaign.State.FINISHED)
    accepted = acted = 0
    for one in newest.filter(track_opens=True, track_clicks=True).order_by("-id")[:LOOKED_AT]:
        found = selectors.tallied(one)
        accepted += found.counts["sent"]
        acted += found.clicks if by == WinnerBy.CLICKS else found.opens
    if accepted < ENOUGH_LETTERS or not 0 < acted < accepted:
        return USUAL[WinnerBy(by)]
    return acted / accepted


def differences(variant: Variant) -> str:
    """What a variant has of its own, in a few words."""
    if variant.number == 1:
        return _("the campaign's own letter")
    found = []
    if variant.subject:
        found.append(_("subject “%(subject)s”") % {"subject": variant.subject})
    if variant.from_name or variant.from_email:
        sender = " ".join(filter(None, (variant.from_name, variant.from_email)))
        found.append(_("sender %(sender)s") % {"sender": sender})
    if variants.has_content(variant):
        found.append(_("its own content"))
    return ", ".join(found) or _("nothing so far")


def _row(variant: Variant, counted: VariantRows, scale: float, *, leads: bool) -> Row:
    opens, clicks = (
        Figure(found, wilson(found), scale)
        for found in (counts_by(by, counted) for by in (WinnerBy.OPENS, WinnerBy.CLICKS))
    )
    return Row(
        variant, differences(variant), counted.letters, counted.accepted, opens, clicks, leads
    )


def _kept(variant: Variant) -> VariantRows:
    return VariantRows(variant.letters, variant.accepted, variant.opened, variant.clicked)


def _counted(campaign: Campaign) -> dict[int, VariantRows]:
    key = f"campaign-variants:{campaign.pk}"
    found: dict[int, VariantRows] | None = cache.get(key)
    if found is None:
        began = time.monotonic()
        found = count(campaign.pk)
        took = time.monotonic() - began
        cache.set(key, found, max(COUNTED_SECONDS, round(COUNTED_PART * took)))
    return found
