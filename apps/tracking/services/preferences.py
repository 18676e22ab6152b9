"""What a recipient may choose by the link in a letter: lists, how often, and why not."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from apps.campaigns.services.ledger import endings
from apps.mailer.models import ContactList
from apps.mailer.services import contacts
from apps.tracking.services import events
from apps.tracking.services.recipients import Recipient

# At most one letter in so many days.
FREQUENCIES = (7, 30)


def lists_shown(recipient: Recipient) -> list[ContactList]:
    """The lists that have a name for the public."""
    found = ContactList.objects.filter(workspace=recipient.contact.workspace_id)
    return list(found.exclude(public_name="").order_by("public_name", "pk"))


def choose(
    *,
    recipient: Recipient,
    shown: Sequence[ContactList],
    wanted: Sequence[ContactList],
    every_days: int | None,
) -> None:
    """Stay in the wanted ones among the lists shown; rows already queued follow.

    Lists that the person was not shown stay as they are.
    """
    contact = recipient.contact
    with transaction.atomic():
        left = contacts.choose_lists(contact=contact, shown=shown, wanted=wanted)
        contacts.write_at_most(contact=contact, every_days=every_days)
        if left:
            endings.suppress_of_lists(contact.workspace_id, contact.pk, left)
    contact.refresh_from_db()


def give_reason(*, recipient: Recipient, reason: str, comment: str) -> None:
    """Note why the person leaves, for the workspace to read and for the report to count."""
    campaign, contact = recipient.campaign, recipient.contact
    with transaction.atomic():
        contacts.give_reason(
            contact=contact, campaign_id=campaign.pk, reason=reason, comment=comment
        )
        events.explain(campaign_id=campaign.pk, contact_id=contact.pk, reason=reason)


def language_of(recipient: Recipient) -> str:
    """The contact's own language where a field tells it, else that of the letter's author; "" where
    neither is known."""
    known = dict(settings.LANGUAGES)
    for key in ("language", "lang", "locale"):
        language = str(recipient.contact.fields.get(key, "")).strip().lower()[:2]
        if language in known:
            return language
    author = recipient.campaign.created_by
    return author.language if author and author.language in known else ""
