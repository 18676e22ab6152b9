"""What reports know about a person, for the audience's pages (apps.mailer.people)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.urls import reverse

from apps.mailer.models import Contact
from apps.mailer.people import Event
from apps.returns.models import InboundMessage, Report


def timeline(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    """The reports about letters to the contact."""
    found = Report.objects.filter(workspace=contact.workspace_id, contact_id=contact.pk)
    if before:
        found = found.filter(at__lt=before)
    url = reverse("returns:reports", args=[contact.workspace.slug])
    for row in found.order_by("-at")[:limit]:
        yield Event(
            row.at,
            row.kind,
            row.get_kind_display(),
            detail=row.text[:300],
            icon="mail",
            url=url,
            data={"campaign": row.campaign_id, "fault": row.fault},
        )


def erase(contact: Contact) -> None:
    """Take the person out of reports and forget what was received: it quotes the letter."""
    found = Report.objects.filter(workspace=contact.workspace_id, contact_id=contact.pk)
    messages = list(found.exclude(message=None).values_list("message", flat=True))
    InboundMessage.objects.filter(pk__in=messages).update(data=b"", recipient="", sender="")
    found.update(recipient="", text="")
