"""What the unsubscribe links in letters do."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger import endings
from apps.campaigns.tokens import Kind
from apps.mailer.models import Contact
from apps.mailer.services import contacts
from apps.tracking.models import Event
from apps.tracking.services import events


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a link in a letter belongs to."""

    campaign: Campaign
    contact: Contact


def read_token(token: str) -> Recipient | None:
    """None for a token that is not ours, or whose contact has been erased."""
    ids = tokens.read(Kind.UNSUBSCRIBE, token)
    if ids is None:
        return None
    campaign_id, contact_id, _link = ids
    campaign = (
        Campaign.objects.filter(pk=campaign_id).select_related("workspace", "created_by").first()
    )
    contact = Contact.objects.filter(pk=contact_id).select_related("workspace").first()
    if not campaign or not contact or campaign.workspace_id != contact.workspace_id:
        return None
    if not Delivery.objects.filter(campaign=campaign, contact=contact).exists():
        return None
    return Recipient(campaign, contact)


def unsubscribe(*, recipient: Recipient) -> None:
    """At once, for all campaigns of the workspace, queued rows included; works twice."""
    campaign, contact = recipient.campaign, recipient.contact
    with transaction.atomic():
        if contacts.unsubscribe(contact=contact, source=f"campaign {campaign.pk}"):
            events.record(Event.Kind.UNSUBSCRIBE, campaign_id=campaign.pk, contact_id=contact.pk)
        endings.suppress_waiting(contact.workspace_id, contact.email)


def resubscribe(*, recipient: Recipient) -> None:
    """Undo a mistaken click."""
    contacts.resubscribe(contact=recipient.contact)
