"""A million people and what they did with their letters, made by a few statements."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.campaigns.services.partitions import ensure_partition
from apps.mailer.models import Contact, ContactField, ContactList
from benchmarks import pipeline, support

CAMPAIGNS = 12
# Of the letters that were sent: how many were opened, and clicked in. The events are both.
OPENED, CLICKED = 0.5, 0.125
DAYS_BETWEEN = 15


def make_contacts(workspace: Workspace, number: int) -> ContactList:
    """A list with all of them; tags, names and fields of several kinds, one in ten has said no."""
    target = pipeline.make_list(workspace, number)
    ContactField.objects.filter(workspace=workspace, key="points").update(kind="number")
    with connection.cursor() as cursor:
        # As an import writes them: all at once, in the order of their keys.
        cursor.execute(
            """
            UPDATE mailer_contact SET
                tags = CASE WHEN id %% 4 = 0 THEN ARRAY['customer'] ELSE '{}' END,
                status = CASE WHEN id %% 10 = 0 THEN 'unsubscribed' ELSE 'subscribed' END,
                verdict = CASE WHEN id %% 7 = 0 THEN 'risky' ELSE 'valid' END
            WHERE workspace_id = %s
            """,
            [workspace.pk],
        )
        cursor.execute("VACUUM (FULL, ANALYZE) mailer_contact")
        cursor.execute("VACUUM (ANALYZE) mailer_listmember")
    return target


def make_events(readers: ContactList, events: int) -> tuple[Campaign, int]:
    """Twelve campaigns over half a year with so many opens and clicks in all.

    Returns the newest campaign and the number of events.
    """
    people = Contact.objects.filter(workspace=readers.workspace).count()
    letters = round(events / (OPENED + CLICKED) / CAMPAIGNS)
    if letters > people:
        raise support.BenchError("So many events need more contacts.")
    now = timezone.now()
    for turn in range(CAMPAIGNS):
        campaign = pipeline.make_campaign(readers)
        ensure_partition(campaign.pk)
        launched = now - timedelta(days=DAYS_BETWEEN * (CAMPAIGNS - turn - 1), hours=20)
        _sent(campaign, readers, turn, letters, launched)
        Campaign.objects.filter(pk=campaign.pk).update(
            state=Campaign.State.FINISHED, audience=letters, launched_at=launched,
            finished_at=launched,
        )  # fmt: skip
        support.say(f"{turn + 1} of {CAMPAIGNS} campaigns with their opens and clicks")
    with connection.cursor() as cursor:
        # As autovacuum leaves tables that have been at rest.
        cursor.execute("VACUUM (ANALYZE) campaigns_delivery")
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT count(opened_at) + count(clicked_at) FROM campaigns_delivery")
        return campaign, int(cursor.fetchone()[0])


def _sent(campaign: Campaign, readers: ContactList, turn: int, letters: int, when: object) -> None:
    """Who opens one letter opens another more likely than chance: half of it is the person."""
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
                "clicked": CLICKED * 2,
            },
        )
