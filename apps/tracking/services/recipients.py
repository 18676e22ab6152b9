"""What the links in a letter do: unsubscribing, opens and clicks."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from apps.campaigns import tokens
from apps.campaigns.models import Campaign, CampaignLink, Delivery
from apps.campaigns.services import engagement
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


def follow_link(token: str, *, count: bool) -> str | None:
    """Where a tracked link leads, as it was compiled; None for a token that is not ours.

    The address comes from the campaign alone: nothing that a request says can change it. A click
    counts unless it is a mere HEAD.
    """
    ids = tokens.read(Kind.CLICK, token)
    if ids is None:
        return None
    campaign_id, contact_id, number = ids
    link = CampaignLink.objects.filter(campaign_id=campaign_id, number=number).first()
    if link is None:
        return None
    if count:
        engagement.note_click(campaign_id, contact_id)
    return link.url


def note_open(token: str) -> None:
    """Count an open; what is not ours is nothing."""
    if ids := tokens.read(Kind.OPEN, token):
        engagement.note_open(*ids[:2])
