"""What campaigns know about a person, for the audience's pages (apps.mailer.people)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.urls import reverse
from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.mailer.models import Contact
from apps.mailer.people import Event

# Stands in place of an erased person's address.
ERASED = "erased"


def timeline(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    """The letters to the contact, and what they did with them.

    The ledger is looked up by its key, campaign by campaign: a contact has no index there.
    """
    for row in _deliveries(contact):
        url = reverse("campaigns:detail", args=[contact.workspace.slug, row.campaign_id])
        names = {"name": row.campaign.name}
        data = {"campaign": row.campaign_id, "name": row.campaign.name}
        yield Event(
            row.updated_at,
            "letter",
            _("Campaign “%(name)s”: %(status)s")
            % {**names, "status": row.get_status_display().lower()},
            detail=row.reply[:300],
            icon="mail",
            url=url,
            data={**data, "status": row.status, "subject": row.campaign.subject},
        )
        if row.opened_at:
            title = _("Opened “%(name)s”") % names
            yield Event(row.opened_at, "opened", title, icon="inbox", url=url, data=data)
        if row.clicked_at:
            title = _("Clicked in “%(name)s”") % names
            yield Event(row.clicked_at, "clicked", title, icon="check", url=url, data=data)


def erase(contact: Contact) -> None:
    """Take the person's address out of the ledger and of test letters; the rows still count.

    What a server said may quote the address.
    """
    TestSend.objects.filter(
        campaign__workspace=contact.workspace_id, to__iexact=contact.email
    ).update(to=ERASED, reply="")
    Delivery.objects.filter(campaign__in=list(_campaigns(contact)), contact=contact.pk).update(
        email=ERASED, reply=""
    )


def _campaigns(contact: Contact) -> Iterator[int]:
    begun = Campaign.objects.filter(workspace=contact.workspace_id).exclude(
        state=Campaign.State.DRAFT
    )
    return begun.values_list("pk", flat=True).iterator()


def _deliveries(contact: Contact) -> Iterator[Delivery]:
    return (
        Delivery.objects.filter(campaign__in=list(_campaigns(contact)), contact=contact.pk)
        .select_related("campaign")
        .iterator()
    )
