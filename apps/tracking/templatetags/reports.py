"""Formats of reports."""

from __future__ import annotations

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext

from apps.campaigns import variants
from apps.campaigns.models import Campaign

register = template.Library()


@register.filter
def percent(value: float | None) -> str:
    """A share from 0 to 1 in percent, to two figures where it is small; a dash where unknown."""
    if value is None:
        return "–"
    share = 100 * value
    places = 0 if share in {0, 100} else 1 if share >= 1 else 2
    return gettext("%(percent)s%%") % {"percent": number_format(round(share, places), places)}


@register.filter
def of(part: int, whole: int | None) -> str:
    """A part of a whole in percent; empty where there is no whole."""
    return percent(part / whole) if whole else ""


@register.simple_tag
def map_frames(campaign: Campaign, url: str) -> list[tuple[str, str]]:
    """(name, address of its click map) of each variant with HTML, below the campaign's own."""
    tested = variants.of(campaign)
    if not tested:
        return [("", url)] if campaign.html else []
    return [
        (one.name, f"{url}?variant={one.number}")
        for one in tested
        if variants.as_campaign(campaign, one).html
    ]
