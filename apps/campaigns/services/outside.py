"""What the world says of a letter before its launch: its links, its pictures, the sender's domain.

Asked by a worker, kept in the cache for a while; the page asks for it until it is there.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.core.cache import cache

from apps.campaigns import letters
from apps.campaigns.models import Campaign
from apps.campaigns.services import sender
from apps.senders.selectors import has_relay
from core import queues
from mailkit.linkcheck import check_links
from mailkit.preflight import Finding, look_at

KEPT_SECONDS = 600
ASKED_SECONDS = 60
MAX_PICTURES = 2_000_000  # octets of all pictures that are loaded


def asked(campaign: Campaign) -> list[Finding] | None:
    """The findings, or None while a worker is looking. Raises InvalidInput."""
    key = _key(campaign)
    if cache.get(key) is None:
        # One of several pages that wait asks for it; a lost message is asked for again.
        if cache.add(f"{key}:asked", 1, ASKED_SECONDS):
            from apps.campaigns.tasks import look_outside

            queues.ring(look_outside, campaign.pk)
        return None
    return known(campaign)


def known(campaign: Campaign) -> list[Finding]:
    """What was found so far; nothing where nobody has asked."""
    found = cache.get(_key(campaign)) or []
    return [
        Finding(code, level, number, tuple(words), *map(tuple, record))
        for code, level, number, words, *record in found
    ]


def look(campaign_id: int) -> None:
    """Ask the world about a draft's letter and keep what it says."""
    campaign = Campaign.objects.select_related("workspace", "created_by").filter(pk=campaign_id)
    if (draft := campaign.first()) is None:
        return
    links, pictures, domain = _subjects(draft)
    real = has_relay(draft.workspace)
    found = _of_links(links, pictures, blocking=real)
    found += sender.findings(draft, domain)
    cache.set(_key(draft), found, KEPT_SECONDS)


def _subjects(campaign: Campaign) -> tuple[list[str], list[str], str]:
    looks = look_at(letters.preview(campaign, None).html)
    links = [url for url, _text in looks.links if "/u/test" not in url and "/v/test" not in url]
    pictures = [url for url, _alt in looks.images if url.lower().startswith("http")]
    return links, pictures, campaign.from_email.rpartition("@")[2].lower()


def _key(campaign: Campaign) -> str:
    about = repr((_subjects(campaign), sender.recipients(campaign)))
    digest = hashlib.sha256(about.encode(errors="replace")).hexdigest()
    return f"outside:{campaign.workspace_id}:{digest}"


def _of_links(links: list[str], pictures: list[str], *, blocking: bool) -> list[Any]:
    answers = check_links([*links, *pictures])
    dead = [url for url, one in answers.items() if one.verdict in ("dead", "forbidden")]
    found: list[Any] = []
    if dead:
        level = "blocking" if blocking else "advisory"
        found.append(("dead_links", level, len(dead), [url[:100] for url in dead[:5]]))
    size = sum(answers[url].size for url in set(pictures) if url in answers)
    if size > MAX_PICTURES:
        found.append(("heavy_pictures", "advisory", size // 1024, []))
    return found
