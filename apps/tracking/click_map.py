"""A letter with the number of clicks beside each of its links."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html

from apps.campaigns import letters, tokens, variants
from apps.campaigns.models import Campaign, Variant
from apps.tracking.templatetags.reports import of
from mailkit.links import track_links

_STYLE = (
    "display:inline-block;margin:0 2px;padding:1px 6px;border-radius:9px;font:bold 11px/16px "
    "Arial,sans-serif;color:#fff;background:{};text-decoration:none;vertical-align:middle"
)
_BUSY, _IDLE = "#0a5cad", "#5b6675"
# A marked link up to its end, which a link cannot hold another of.
_MARKED = re.compile(r'(href\s*=\s*"#click-map-(\d+)"(?:(?!</a\b).)*</a\s*>)', re.I | re.S)


def html_of(campaign: Campaign, clicks: Mapping[int, int], variant: Variant | None) -> str:
    """The letter as an invented person reads it. Raises InvalidInput.

    `clicks`: how many people clicked, by the number of the link, and under 0 in the letter at all.
    Links lead nowhere. A badge says how many people clicked, and what share of all who did.
    """
    numbers: Sequence[int] = range(1, tokens.MOST_LINKS + 1)
    if variant is not None:
        numbers = letters.compiled(campaign, variant.number).numbers
        campaign = variants.as_campaign(campaign, variant)

    def badge(found: re.Match[str]) -> str:
        people = clicks.get(int(found[2]), 0)
        text = f"{intcomma(people)} · {of(people, clicks[0])}" if people else "0"
        style = _STYLE.format(_BUSY if people else _IDLE)
        return found[1] + format_html('<span style="{}">{}</span>', style, text)

    marked, _targets = track_links(
        campaign.html,
        lambda number: f"#click-map-{numbers[number - 1]}",
        most=tokens.MOST_LINKS,
    )
    campaign.html = _MARKED.sub(badge, marked)
    # The letter shows no sender, and must not wait for one.
    campaign.from_name, campaign.from_email, campaign.reply_to = "", "sender@example.com", ""
    shown = letters.preview(campaign, None)
    return shown.html or format_html("<pre>{}</pre>", shown.text)
