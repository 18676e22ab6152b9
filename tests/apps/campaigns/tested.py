"""Campaigns whose variants are tested."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery, Variant
from apps.campaigns.services import launch
from apps.mailer.models import Contact
from tests.support.factories import make_campaign, make_contact, make_list


def make_tested(
    workspace: Workspace, number: int, *own: dict[str, str], share: int = 20, **fields: Any
) -> Campaign:
    """A draft to `number` contacts, with variant A and one for each of `own`."""
    chosen = make_list(workspace)
    for _ in range(number):
        make_contact(workspace, to=chosen)
    campaign = make_campaign(workspace, chosen, test_share=share, **fields)
    for place, differing in enumerate([{}, *own], start=1):
        editor = "html" if {"html", "text"} & {*differing} else ""
        Variant.objects.create(campaign=campaign, number=place, **{"editor": editor} | differing)
    return campaign


def prepared(campaign: Campaign) -> Campaign:
    Campaign.objects.filter(pk=campaign.pk).update(
        state=Campaign.State.PREPARING, launched_at=timezone.now()
    )
    launch.prepare_campaign(campaign.pk)
    campaign.refresh_from_db()
    return campaign


def by_variant(campaign: Campaign, **fields: Any) -> dict[int, int]:
    rows = Delivery.objects.filter(campaign=campaign, **fields)
    return dict(sorted(Counter(rows.values_list("variant", flat=True)).items()))


def contacts_of(campaign: Campaign) -> list[Contact]:
    return list(Contact.objects.filter(lists__in=campaign.lists.all()).order_by("pk"))
