"""What tracking knows about a person, for the audience's pages (apps.mailer.people)."""

from __future__ import annotations

from apps.campaigns.models import Campaign
from apps.mailer.models import Contact
from apps.tracking.models import Event


def erase(contact: Contact) -> None:
    """Take out of the events what leads to the person; they still count."""
    campaigns = Campaign.objects.filter(workspace=contact.workspace_id).exclude(
        state=Campaign.State.DRAFT
    )
    Event.objects.filter(
        campaign_id__in=list(campaigns.values_list("pk", flat=True)), contact_id=contact.pk
    ).update(agent="", address=None)
