"""What the pages on returns show."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.models import Contact
from apps.returns.models import Mailbox, Report, Webhook
from apps.senders.models import SendingDomain


@dataclass(frozen=True, slots=True)
class ShownReport:
    """A report with the letter that it is about, as far as that is still known."""

    row: Report
    campaign: Campaign | None
    contact: Contact | None


def mailboxes(workspace: Workspace) -> QuerySet[Mailbox]:
    return Mailbox.objects.filter(workspace=workspace).order_by("pk")


def webhooks(workspace: Workspace) -> list[tuple[Webhook, str]]:
    """Each with the address to give to the provider."""
    rows = Webhook.objects.filter(workspace=workspace).order_by("provider")
    return [
        (row, settings.BASE_URL + reverse("hooks:notice", args=[row.provider, row.key]))
        for row in rows
    ]


def return_paths(workspace: Workspace) -> QuerySet[SendingDomain]:
    return SendingDomain.objects.filter(workspace=workspace).order_by("name")


def reports(workspace: Workspace, kind: str = "") -> QuerySet[Report]:
    """The newest first; of one kind if it is one."""
    rows = Report.objects.filter(workspace=workspace).order_by("-id")
    return rows.filter(kind=kind) if kind in Report.Kind.values else rows


def shown(workspace: Workspace, rows: list[Report]) -> list[ShownReport]:
    campaigns = Campaign.objects.filter(workspace=workspace).in_bulk(
        {row.campaign_id for row in rows if row.campaign_id}
    )
    contacts = Contact.objects.filter(workspace=workspace).in_bulk(
        {row.contact_id for row in rows if row.contact_id}
    )
    return [
        ShownReport(row, campaigns.get(row.campaign_id or 0), contacts.get(row.contact_id or 0))
        for row in rows
    ]
