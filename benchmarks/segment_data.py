"""Many people and what they did with their letters, made by a few statements."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.campaigns.services.partitions import ensure_partition
from apps.mailer.models import ContactField, ContactList
from benchmarks import pipeline, support

CAMPAIGNS = 12
# Of the letters that were sent: how many were opened, and clicked in. The events are both.
OPENED, CLICKED = 0.5, 0.125
DAYS_BETWEEN = 15

# What tells one contact from the other; `n` is its number.
_COLUMNS = {
    "tags": "CASE WHEN n %% 4 = 0 THEN ARRAY['customer'] ELSE '{}' END",
    "status": "CASE WHEN n %% 10 = 3 THEN 'unsubscribed' ELSE 'subscribed' END",
    "verdict": "CASE WHEN n %% 7 = 0 THEN 'risky' ELSE 'valid' END",
}


def make_contacts(workspace: Workspace, number: int) -> ContactList:
    """A list with all of them: tags, names, ten fields; one in ten has unsubscribed."""
    target = pipeline.make_list(workspace, number, columns=_COLUMNS)
    ContactField.objects.filter(workspace=workspace, key="points").update(kind="number")
    with connection.cursor() as cursor:
        for table in ("mailer_contact", "mailer_listmember"):
            cursor.execute(f"VACUUM (ANALYZE) {table}")
    return target


def make_events(readers: ContactList, events: int) -> int:
    """Twelve campaigns over half a year with so many opens and clicks in all; how many exactly."""
    people = readers.memberships.count()
    letters = round(events / (OPENED + CLICKED) / CAMPAIGNS)
    if letters > people:
        raise support.BenchError("So many events need more contacts.")
    _keep_engagement(by_trigger=False)
    for turn in range(CAMPAIGNS):
        ago = timedelta(days=DAYS_BETWEEN * (CAMPAIGNS - turn - 1), hours=20)
        _sent(pipeline.make_campaign(readers), readers, turn, letters, timezone.now() - ago)
        support.say(f"{turn + 1} of {CAMPAIGNS} campaigns with their opens and clicks")
    _keep_engagement(by_trigger=True)
    with connection.cursor() as cursor:
        cursor.execute(_ENGAGEMENT)
        # As autovacuum leaves tables that have been at rest.
        for table in ("campaigns_delivery", "campaigns_engagement"):
            cursor.execute(f"VACUUM (ANALYZE) {table}")
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT count(opened_at) + count(clicked_at) FROM campaigns_delivery")
        return int(cursor.fetchone()[0])


# As the ledger's trigger would have written it row by row.
_ENGAGEMENT = """
    INSERT INTO campaigns_engagement (contact_id, workspace_id, opened, clicked)
    SELECT row.contact_id, campaign.workspace_id, campaigns_newest(array_agg(row.opened_at)),
           campaigns_newest(array_agg(row.clicked_at))
    FROM campaigns_delivery row JOIN campaigns_campaign campaign ON campaign.id = row.campaign_id
    WHERE row.opened_at IS NOT NULL OR row.clicked_at IS NOT NULL
    GROUP BY 1, 2 ORDER BY 1
"""


def _keep_engagement(*, by_trigger: bool) -> None:
    action = "ENABLE" if by_trigger else "DISABLE"
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE campaigns_delivery {action} TRIGGER campaigns_engagement_insert"
        )


def _sent(
    campaign: Campaign, readers: ContactList, turn: int, letters: int, when: datetime
) -> None:
    """Who opens one letter opens another more likely than chance: half of it is the person."""
    ensure_partition(campaign.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status, attempts, stage,
                                            code, reply, opened_at, clicked_at, updated_at)
            SELECT %(campaign)s, contact.id, contact.email, 'sent', 1, 'body', 250,
                   '2.0.0 Ok: queued as ' || md5(contact.id::text),
                   CASE WHEN keen < %(opened)s THEN %(when)s + keen * interval '4 days' END,
                   CASE WHEN keen < %(clicked)s THEN %(when)s + keen * interval '5 days' END,
                   %(when)s
            FROM mailer_listmember member
            JOIN mailer_contact contact ON contact.id = member.contact_id,
            LATERAL (SELECT (abs(hashint8(contact.id)) %% 1000
                             + abs(hashint8(contact.id * 31 + %(turn)s)) %% 1000) / 2000.0 AS keen
            ) AS person
            WHERE member.list_id = %(list)s ORDER BY contact.id LIMIT %(letters)s
            """,
            {
                "campaign": campaign.pk,
                "list": readers.pk,
                "turn": turn,
                "letters": letters,
                "when": when,
                "opened": OPENED,
                "clicked": 2 * CLICKED,
            },
        )
    Campaign.objects.filter(pk=campaign.pk).update(
        state=Campaign.State.FINISHED, audience=letters, launched_at=when, finished_at=when
    )
