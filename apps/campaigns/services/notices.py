"""Letters to the people of a workspace about a campaign that stopped by itself or needs them."""

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


def ring_choice(campaign_id: int) -> None:
    from apps.campaigns.tasks import ask_for_winner

    queues.ring(ask_for_winner, campaign_id)


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
    label = provider_label(provider) if provider else ""
    return _write(campaign, "stopped", {"reason": reason, "provider": label})


def ask_for_winner(campaign_id: int) -> int:
    """Write to the same people that it is time to choose a variant, if nobody has; to how many."""
    campaign = Campaign.objects.select_related("workspace").filter(pk=campaign_id).first()
    if campaign is None or campaign.winner is not None or campaign.state != Campaign.State.SENDING:
        return 0
    return _write(campaign, "choose", {})


def _write(campaign: Campaign, letter: str, context: dict[str, object]) -> int:
    people = _people(campaign)
    page = reverse("campaigns:detail", args=[campaign.workspace.slug, campaign.pk])
    context |= {"campaign": campaign, "url": settings.BASE_URL + page}
    for person in people:
        with translation.override(_language(person)):
            subject = render_to_string(f"campaigns/email/{letter}_subject.txt", context)
            body = render_to_string(f"campaigns/email/{letter}_message.txt", context)
            send_mail(" ".join(subject.split()), body, None, [person.email])
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
