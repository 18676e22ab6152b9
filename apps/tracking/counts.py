"""Reading the counters of reports: the cost does not grow with the events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from apps.campaigns.models import Campaign


@dataclass(frozen=True, slots=True)
class Figures:
    """`events` in all, those of `machines`; `letters` with any, and with one by a person."""

    events: int = 0
    machines: int = 0
    people: int = 0
    letters: int = 0

    @property
    def by_people(self) -> int:
        """Events that no machine did."""
        return self.events - self.machines


NONE = Figures()
# Figures by key; of each kind of event and axis.
Counts = dict[tuple[str, str], dict[str, Figures]]


def counts_of(campaign: Campaign) -> Counts:
    """All counters of a campaign, at one moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, axis, key, sum(events), sum(machines), sum(people), sum(letters)
            FROM tracking_count WHERE campaign_id = %s AND workspace_id = %s GROUP BY 1, 2, 3
            """,
            [campaign.pk, campaign.workspace_id],
        )
        found: Counts = defaultdict(dict)
        for kind, axis, key, *figures in cursor.fetchall():
            one = Figures(*map(int, figures))
            if one != NONE:
                found[kind, axis][key] = one
    return dict(found)


def total(counts: Counts, kind: str) -> Figures:
    """Of a kind of event: each event, and each letter, has one provider."""
    rows = counts.get((kind, "provider"), {}).values()
    return Figures(
        sum(row.events for row in rows),
        sum(row.machines for row in rows),
        sum(row.people for row in rows),
        sum(row.letters for row in rows),
    )


def clicking_people(counts: Counts, variant: int = 0) -> dict[int, int]:
    """How many people clicked, by the number of the link, and under 0 on any link at all."""
    found = {number: row.people for number, row in clicks_by_link(counts, variant).items()}
    of_any = total(counts, "click")
    if variant:
        of_any = counts.get(("click", "variant"), {}).get(str(variant), NONE)
    return found | {0: of_any.people}


def clicks_by_link(counts: Counts, variant: int = 0) -> dict[int, Figures]:
    """By the number of the link, of a whole campaign or of one variant (its people and letters)."""
    if not variant:
        return {int(key): row for key, row in counts.get(("click", "link"), {}).items()}
    found = {}
    for key, row in counts.get(("click", "variant_link"), {}).items():
        number, _space, link = key.partition(" ")
        if int(number) == variant:
            found[int(link)] = row
    return found


def totals_of(workspace_id: int, campaign_ids: Iterable[int]) -> dict[tuple[int, str], Figures]:
    """The totals of campaigns by (campaign, kind)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT campaign_id, kind, sum(events), sum(machines), sum(people), sum(letters)
            FROM tracking_count
            WHERE campaign_id = ANY(%s) AND workspace_id = %s AND axis = 'provider' GROUP BY 1, 2
            """,
            [list(campaign_ids), workspace_id],
        )
        return {
            (campaign, kind): Figures(*map(int, figures))
            for campaign, kind, *figures in cursor.fetchall()
        }


def of_workspace(workspace_id: int, axis: str, since: str) -> list[tuple[str, str, Figures]]:
    """(kind, key, figures) of a whole workspace with keys from `since` on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, key, sum(events), sum(machines), 0, 0 FROM tracking_count
            WHERE campaign_id = 0 AND workspace_id = %s AND axis = %s AND key >= %s
            GROUP BY 1, 2
            """,
            [workspace_id, axis, since],
        )
        return [
            (kind, key, Figures(*map(int, figures))) for kind, key, *figures in cursor.fetchall()
        ]
