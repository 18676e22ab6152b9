"""Honouring a no: what an unsubscribe link does."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import ledger
from apps.mailer.models import Contact
from apps.mailer.services import contacts


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a link in a letter belongs to."""

    campaign: Campaign
    contact: Contact


def read_token(token: str) -> Recipient | None:
    """None for a token that is not ours, or whose contact has been erased."""
    ids = tokens.read(token)
    if ids is None:
        return None
    campaign_id, contact_id = ids
    campaign = Campaign.objects.filter(pk=campaign_id).select_related("workspace").first()
    contact = Contact.objects.filter(pk=contact_id).select_related("workspace").first()
    if not campaign or not contact or campaign.workspace_id != contact.workspace_id:
        return None
    if not Delivery.objects.filter(campaign=campaign, contact=contact).exists():
        return None
    return Recipient(campaign, contact)


def unsubscribe(*, recipient: Recipient) -> None:
    """At once, for all campaigns of the workspace, queued rows included; works twice."""
    with transaction.atomic():
        contacts.unsubscribe(contact=recipient.contact, source=f"campaign {recipient.campaign.pk}")
        ledger.suppress_waiting(recipient.contact.workspace_id, recipient.contact.email)


def resubscribe(*, recipient: Recipient) -> None:
    """Undo a mistaken click."""
    contacts.resubscribe(contact=recipient.contact)
