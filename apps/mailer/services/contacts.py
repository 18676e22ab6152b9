"""One contact's subscription."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, Suppression
from apps.mailer.services import suppression


def unsubscribe(*, contact: Contact, source: str) -> None:
    """Take the contact off every mailing, at once and for good; works twice."""
    with transaction.atomic():
        suppression.suppress(
            workspace=contact.workspace,
            email=contact.email,
            reason=Suppression.Reason.UNSUBSCRIBED,
            source=source,
        )
        Contact.objects.filter(pk=contact.pk, status=Contact.Status.SUBSCRIBED).update(
            status=Contact.Status.UNSUBSCRIBED, updated_at=timezone.now()
        )


def mark_bounced(workspace: Workspace, contact_ids: Sequence[int]) -> int:
    """Mail no more to mailboxes that do not exist, as a server has said; how many these are."""
    return Contact.objects.filter(
        workspace=workspace, pk__in=contact_ids, status=Contact.Status.SUBSCRIBED
    ).update(status=Contact.Status.BOUNCED, updated_at=timezone.now())


def resubscribe(*, contact: Contact) -> None:
    """Undo an unsubscription. A bounced or complained contact stays as it is."""
    with transaction.atomic():
        Suppression.objects.filter(
            workspace=contact.workspace_id,
            email=contact.email,
            reason=Suppression.Reason.UNSUBSCRIBED,
        ).delete()
        Contact.objects.filter(pk=contact.pk, status=Contact.Status.UNSUBSCRIBED).update(
            status=Contact.Status.SUBSCRIBED, updated_at=timezone.now()
        )
