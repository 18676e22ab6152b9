"""The main figures of campaigns and what is usual for their workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from django.db import connection

from apps.campaigns.models import Campaign
from apps.tracking import counts
from apps.tracking.counts import NONE

USUAL_OF = 10
# Fewer campaigns than these say nothing about what is usual.
LEAST_CAMPAIGNS = 3


@dataclass(frozen=True, slots=True)
class Rates:
    """Letters of a campaign. Rates are shares from 0 to 1, None where they would mean nothing.

    `bounced` were refused for good or have come back; `opened` and `clicked` are letters whose
    person did so, in a campaign that counted it.
    """

    accepted: int = 0
    bounced: int = 0
    hard: int = 0
    opened: int = 0
    clicked: int = 0
    unsubscribed: int = 0
    complained: int = 0
    track_opens: bool = True
    track_clicks: bool = True

    @property
    def open_rate(self) -> float | None:
        return _share(self.opened, self.accepted) if self.track_opens else None

    @property
    def click_rate(self) -> float | None:
        return _share(self.clicked, self.accepted) if self.track_clicks else None

    @property
    def click_to_open(self) -> float | None:
        counted = self.track_opens and self.track_clicks
        return _share(self.clicked, self.opened) if counted else None

    @property
    def unsubscribe_rate(self) -> float | None:
        return _share(self.unsubscribed, self.accepted)

    @property
    def complaint_rate(self) -> float | None:
        return _share(self.complained, self.accepted)

    @property
    def bounce_rate(self) -> float | None:
        return _share(self.bounced, self.accepted + self.bounced)


@dataclass(frozen=True, slots=True)
class Usual:
    """The medians of the workspace's last campaigns; None where too few of them counted it."""

    campaigns: int
    open_rate: float | None = None
    click_rate: float | None = None
    unsubscribe_rate: float | None = None
    complaint_rate: float | None = None
    bounce_rate: float | None = None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def rates_of(campaigns: Sequence[Campaign]) -> dict[int, Rates]:
    """The rates of campaigns of one workspace, by their ids, by two statements."""
    if not campaigns:
        return {}
    ids = [campaign.pk for campaign in campaigns]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT campaign_id, COALESCE(sum(number) FILTER (WHERE status = 'sent'), 0),
                   COALESCE(sum(number) FILTER (WHERE status = 'failed'), 0),
                   COALESCE(sum(number) FILTER (WHERE status = 'failed' AND fault = 'mailbox'), 0)
            FROM campaigns_tally WHERE campaign_id = ANY(%s) GROUP BY 1
            """,
            [ids],
        )
        ledger = {campaign: tuple(map(int, numbers)) for campaign, *numbers in cursor.fetchall()}
    seen = counts.totals_of(campaigns[0].workspace_id, ids)
    found = {}
    for campaign in campaigns:
        accepted, failed, hard = ledger.get(campaign.pk, (0, 0, 0))
        found[campaign.pk] = Rates(
            accepted=accepted,
            bounced=failed,
            hard=hard,
            opened=seen.get((campaign.pk, "open"), NONE).people,
            clicked=seen.get((campaign.pk, "click"), NONE).people,
            unsubscribed=seen.get((campaign.pk, "unsubscribe"), NONE).events,
            complained=seen.get((campaign.pk, "complaint"), NONE).events,
            track_opens=campaign.track_opens,
            track_clicks=campaign.track_clicks,
        )
    return found


def usual_before(campaign: Campaign) -> Usual:
    """Of the last ten campaigns that were over before this one."""
    earlier = list(
        Campaign.objects.filter(
            workspace=campaign.workspace_id, pk__lt=campaign.pk, state=Campaign.State.FINISHED
        ).order_by("-id")[:USUAL_OF]
    )
    found = [one for one in rates_of(earlier).values() if one.accepted]
    if len(found) < LEAST_CAMPAIGNS:
        return Usual(len(found))
    names = [field.name for field in fields(Usual) if field.name != "campaigns"]
    return Usual(len(found), **{name: _median(found, name) for name in names})


def _median(found: Sequence[Rates], name: str) -> float | None:
    known = [rate for one in found if (rate := getattr(one, name)) is not None]
    return median(known) if len(known) >= LEAST_CAMPAIGNS else None
