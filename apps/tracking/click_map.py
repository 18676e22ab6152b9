"""A letter with the number of clicks beside each of its links."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html

from apps.campaigns import letters, tokens
from apps.campaigns.models import Campaign
from apps.tracking.reports import Link
from apps.tracking.templatetags.reports import of
from mailkit.links import track_links

_STYLE = (
    "display:inline-block;margin:0 2px;padding:1px 6px;border-radius:9px;font:bold 11px/16px "
    "Arial,sans-serif;color:#fff;background:{};text-decoration:none;vertical-align:middle"
)
_BUSY, _IDLE = "#0a5cad", "#5b6675"
# A marked link up to its end, which a link cannot hold another of.
_MARKED = re.compile(r'(href\s*=\s*"#click-map-(\d+)"(?:(?!</a\b).)*</a\s*>)', re.I | re.S)


def html_of(campaign: Campaign, links: Sequence[Link], clickers: int) -> str:
    """The letter as an invented person reads it. Raises InvalidInput.

    Links lead nowhere. A badge says how many people clicked, and what share of all who did.
    """
    by_number = {link.number: link for link in links}

    def badge(found: re.Match[str]) -> str:
        link = by_number.get(int(found[2]))
        people = link.clicks.people if link else 0
        text = f"{intcomma(people)} · {of(people, clickers)}" if people else "0"
        style = _STYLE.format(_BUSY if people else _IDLE)
        return found[1] + format_html('<span style="{}">{}</span>', style, text)

    marked, _targets = track_links(
        campaign.html, lambda number: f"#click-map-{number}", most=tokens.MOST_LINKS
    )
    campaign.html = _MARKED.sub(badge, marked)
    # The letter shows no sender, and must not wait for one.
    campaign.from_name, campaign.from_email, campaign.reply_to = "", "sender@example.com", ""
    return letters.preview(campaign, None).html
