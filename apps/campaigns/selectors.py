"""Reads of campaigns and of the ledger; every one takes the workspace or an object of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, QuerySet
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Verdict

FINAL = ("sent", "failed", "unknown", "suppressed", "cancelled")


@dataclass(frozen=True, slots=True)
class Audience:
    """How many contacts of some lists would get a letter, and why the others would not."""

    sendable: int
    left_out: dict[str, int]

    @property
    def total(self) -> int:
        return self.sendable + sum(self.left_out.values())


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
    counted = dict(
        Delivery.objects.filter(campaign=campaign)
        .order_by()
        .values_list("status")
        .annotate(number=Count("contact_id"))
    )
    return {status: counted.get(status, 0) for status in Delivery.Status.values}


def progress(campaign: Campaign) -> CampaignProgress:
    counts = status_counts(campaign)
    final = sum(counts[status] for status in FINAL)
    total = sum(counts.values())
    rate = 0.0
    if campaign.launched_at:
        seconds = ((campaign.finished_at or timezone.now()) - campaign.launched_at).total_seconds()
        rate = final / seconds if seconds > 0 else 0.0
    left = (total - final) / rate if rate and final < total else None
    return CampaignProgress(total, final, counts, rate, left)


def audience(workspace: Workspace, *, list_ids: Iterable[int], verdicts: Iterable[str]) -> Audience:
    """Whom the ledger's snapshot would take, by the same conditions, and whom it would leave.

    Reasons, the first that holds: unsubscribed (and bounced, complained), suppressed, and the
    verdicts that are not included (`unverified` stands for none).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT CASE
                WHEN contact.status <> 'subscribed' THEN 'unsubscribed'
                WHEN never.id IS NOT NULL THEN 'suppressed'
                WHEN contact.verdict = ANY(%(verdicts)s) THEN ''
                WHEN contact.verdict = '' THEN 'unverified'
                ELSE contact.verdict END AS reason, count(*)
            FROM mailer_contact contact
            LEFT JOIN mailer_suppression never
              ON never.workspace_id = contact.workspace_id AND never.email = contact.email
            WHERE contact.workspace_id = %(workspace)s AND contact.id IN (
                SELECT member.contact_id FROM mailer_listmember member
                JOIN mailer_contactlist list ON list.id = member.list_id
                WHERE list.workspace_id = %(workspace)s AND list.id = ANY(%(lists)s))
            GROUP BY 1
            """,
            {
                "workspace": workspace.pk,
                "lists": list(list_ids),
                "verdicts": list(verdicts),
            },
        )
        counts = dict(cursor.fetchall())
    reasons = ("unsubscribed", "suppressed", *Verdict.values, "unverified")
    return Audience(
        counts.get("", 0), {reason: counts[reason] for reason in reasons if reason in counts}
    )


def deliveries(campaign: Campaign, *, status: str = "", search: str = "") -> QuerySet[Delivery]:
    """Rows of the ledger by contact id."""
    found = Delivery.objects.filter(campaign=campaign)
    if status:
        found = found.filter(status=status)
    if search:
        found = found.filter(email__icontains=search.strip())
    return found.order_by("contact_id")


def failure_reasons(campaign: Campaign) -> list[tuple[str, int | None, str, int]]:
    """The 20 most frequent (stage, code, server's words, rows) of what is not sent."""
    return list(
        Delivery.objects.filter(campaign=campaign, status__in=["failed", "deferred", "unknown"])
        .order_by()
        .values_list("stage", "code", "reply")
        .annotate(number=Count("contact_id"))
        .order_by("-number", "reply")[:20]
    )
