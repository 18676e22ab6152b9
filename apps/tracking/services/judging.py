"""What is known of a letter, and what each request for it was: a person's, or a machine's."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import connection

from mailkit.machines import BURST, Hit, classify

Letter = tuple[int, int]
Key = tuple[int, int]

# Requests of a letter beyond so many are no person's; nobody's look at a letter costs more.
MOST_JUDGED = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


@dataclass(slots=True)
class Trace:
    """A delivery with its opens and clicks by their keys; `classes` is what they are known as."""

    workspace_id: int
    variant: int
    provider: str
    status: str
    updated_at: datetime
    opened_at: datetime | None
    clicked_at: datetime | None
    erased: bool
    hits: dict[Key, Hit] = field(default_factory=dict)
    classes: dict[Key, str] = field(default_factory=dict)

    @property
    def handed_over(self) -> float | None:
        """In seconds since 1970. Of other statuses `updated_at` says something else."""
        known = self.status in {"sent", "handing_off"}
        return self.updated_at.timestamp() if known else None

    def judge(self) -> dict[Key, str]:
        """The classes of all of them, in the order of time."""
        keys = sorted(self.hits)
        judged = keys[:MOST_JUDGED]
        codes = classify([self.hits[key] for key in judged], self.handed_over)
        return dict.fromkeys(keys, BURST) | dict(zip(judged, codes, strict=True))


def traces(letters: Collection[Letter]) -> dict[Letter, Trace]:
    """The deliveries among these (campaign, contact), with the first events of each."""
    with connection.cursor() as cursor:
        cursor.execute(
            _TRACES, {"letters": json.dumps([list(one) for one in letters]), "most": MOST_JUDGED}
        )
        rows = cursor.fetchall()
    found = {}
    for campaign_id, contact_id, *columns, events in rows:
        trace = Trace(*columns)
        for at, number, link, agent, address, machine in events or ():
            trace.hits[at, number] = Hit(at / 1000, link, agent, address)
            trace.classes[at, number] = machine
        found[campaign_id, contact_id] = trace
    return found


# Materialized: the rows are to be looked up by their keys. A letter has no events from before its
# launch, which spares the months before that. Those of the erased cannot be judged again.
_TRACES = """
    WITH letter AS MATERIALIZED (
        SELECT (pair ->> 0)::bigint AS campaign_id, (pair ->> 1)::bigint AS contact_id
        FROM json_array_elements(%(letters)s::json) AS pair
    )
    SELECT row.campaign_id, row.contact_id, campaign.workspace_id, row.variant, row.provider,
           row.status, row.updated_at, row.opened_at, row.clicked_at, contact.id IS NULL,
           CASE WHEN contact.id IS NOT NULL THEN (
            SELECT json_agg(json_build_array(
                       (extract(epoch FROM at) * 1000)::bigint, number,
                       CASE WHEN kind = 'click' THEN link END,
                       agent, COALESCE(host(address), ''), machine))
            FROM (SELECT at, number, kind, link, agent, address, machine
                  FROM tracking_event AS event
                  WHERE event.campaign_id = row.campaign_id AND event.contact_id = row.contact_id
                    AND event.at >= COALESCE(campaign.launched_at, campaign.created_at)
                                    - interval '1 day'
                    AND event.kind IN ('open', 'click')
                  ORDER BY at LIMIT %(most)s) AS first) END
    FROM letter
    JOIN campaigns_delivery AS row USING (campaign_id, contact_id)
    JOIN campaigns_campaign AS campaign ON campaign.id = row.campaign_id
    LEFT JOIN mailer_contact AS contact ON contact.id = row.contact_id
"""
