"""The letter of one recipient, as a page that anybody with its address can read."""

from __future__ import annotations

from apps.campaigns import letters, tokens
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact


def letter_online(token: str) -> str | None:
    """Its HTML, with what is known of the recipient now; None where there is none any more.

    Raises InvalidInput where it cannot be made.
    """
    ids = tokens.read_view(token)
    if ids is None:
        return None
    campaign_id, contact_id = ids
    campaigns = Campaign.objects.select_related("workspace", "created_by")
    campaign = campaigns.filter(pk=campaign_id).first()
    if campaign is None:
        return None
    contact = Contact.objects.filter(pk=contact_id, workspace=campaign.workspace_id).first()
    sent = Delivery.objects.filter(campaign=campaign_id, contact=contact_id).first()
    if contact is None or sent is None:
        return None
    return letters.view(campaign, contact, sent.variant)
