"""Words for the test of variants."""

from __future__ import annotations

from django import template
from django.utils.translation import ngettext

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
