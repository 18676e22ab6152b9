"""Providers and limits in words."""

from __future__ import annotations

from typing import Protocol

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext, ngettext, pgettext

from mailkit.providers import OTHER, PROVIDERS

register = template.Library()


class _Limits(Protocol):
    connections: int | None
    per_minute: int | None
    per_hour: int | None
    per_day: int | None


@register.filter
def provider_label(key: str) -> str:
    """The provider's name; "" is each of them."""
    if not key:
        return gettext("Each provider")
    if key == OTHER:
        return gettext("All others")
    return PROVIDERS[key].label if key in PROVIDERS else key


@register.filter
def limits_words(limits: _Limits) -> str:
    """ "600 a minute, 3 connections"; empty without a limit. Domains have no connections."""
    words = []
    if limits.per_minute is not None:
        words.append(pgettext("limit", "%s a minute") % intcomma(limits.per_minute))
    if limits.per_hour is not None:
        words.append(pgettext("limit", "%s an hour") % intcomma(limits.per_hour))
    if limits.per_day is not None:
        words.append(pgettext("limit", "%s a day") % intcomma(limits.per_day))
    connections = getattr(limits, "connections", None)
    if connections is not None:
        words.append(ngettext("%s connection", "%s connections", connections) % connections)
    return ", ".join(words)
