"""Letters to the people of a workspace about a campaign that stopped by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from apps.accounts.models import Membership, User
from apps.campaigns.models import Campaign
from apps.campaigns.selectors import provider_label
from core import queues


def ring(campaign_id: int, provider: str = "") -> None:
    from apps.campaigns.tasks import notify_owners

    queues.ring(notify_owners, campaign_id, provider)


def tell_owners(campaign_id: int, provider: str = "") -> int:
    """Write to the owners and to whoever made the campaign; to how many.

    Nobody is told of what somebody has mended by now.
    """
    campaign = Campaign.objects.select_related("workspace").filter(pk=campaign_id).first()
    if campaign is None:
        return 0
    reason = campaign.paused_providers.get(provider) if provider else campaign.pause_reason
    stopped = campaign.state in {Campaign.State.PAUSED, Campaign.State.DRAFT} or provider
    if not reason or not stopped:
        return 0
    people = _people(campaign)
    context = {
        "campaign": campaign,
        "reason": reason,
        "provider": provider_label(provider) if provider else "",
        "url": settings.BASE_URL
        + reverse("campaigns:detail", args=[campaign.workspace.slug, campaign.pk]),
    }
    for person in people:
        with translation.override(_language(person)):
            send_mail(
                " ".join(render_to_string("campaigns/email/stopped_subject.txt", context).split()),
                render_to_string("campaigns/email/stopped_message.txt", context),
                None,
                [person.email],
            )
    return len(people)


@contextmanager
def in_language_of(campaign_id: int) -> Iterator[None]:
    """The language of the first of those who are told; the process's own has nobody's."""
    campaign = Campaign.objects.select_related("workspace").filter(pk=campaign_id).first()
    people = _people(campaign) if campaign else []
    with translation.override(_language(people[0]) if people else settings.LANGUAGE_CODE):
        yield


def _people(campaign: Campaign) -> list[User]:
    """Members only: whoever made it may have left."""
    wanted = Q(role=Membership.Role.OWNER) | Q(user_id=campaign.created_by_id)
    members = Membership.objects.filter(wanted, workspace=campaign.workspace, user__is_active=True)
    people = [member.user for member in members.select_related("user").order_by("pk")]
    return sorted(people, key=lambda person: person.pk != campaign.created_by_id)


def _language(person: User) -> str:
    return person.language or settings.LANGUAGE_CODE
