"""Variants in pages: words for their test, and their letters in frames."""

from __future__ import annotations

from django import template
from django.urls import reverse
from django.utils.translation import ngettext

from apps.campaigns import variants
from apps.campaigns.models import Campaign

register = template.Library()

HOUR, DAY = 60, 24 * 60


@register.filter
def after_words(minutes: int) -> str:
    """A span in its largest whole unit: "30 minutes", "4 hours", "2 days"."""
    if minutes % DAY == 0:
        number = minutes // DAY
        return ngettext("%(n)d day", "%(n)d days", number) % {"n": number}
    if minutes % HOUR == 0:
        number = minutes // HOUR
        return ngettext("%(n)d hour", "%(n)d hours", number) % {"n": number}
    return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}


@register.simple_tag
def preview_frames(campaign: Campaign) -> list[tuple[str, str]]:
    """(name, address of its preview) of each variant; without variants the letter under no name."""
    args = [campaign.workspace.slug, campaign.pk]
    return [
        (one.name, reverse("campaigns:variant_preview", args=[*args, one.number]))
        for one in variants.of(campaign)
    ] or [("", reverse("campaigns:preview", args=args))]
