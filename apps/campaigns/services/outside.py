"""What the world says of a letter before its launch: its links, its pictures, the sender's domain.

Asked by a worker, kept in the cache for a while; the page asks for it until it is there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from django.core.cache import cache

from apps.campaigns import letters, variants
from apps.campaigns.models import Campaign
from apps.campaigns.services import sender
from apps.senders.selectors import has_relay
from core import queues
from mailkit.linkcheck import Answer, check_links
from mailkit.preflight import Finding, look_at

logger = logging.getLogger(__name__)

# A finding, under the name of the variant that has it; no name where nothing is tested.
Said = tuple[str, Finding]
DEAD = ("dead", "forbidden")
KEPT_SECONDS = 600
ASKED_SECONDS = 60
MAX_PICTURES = 2_000_000  # octets of all pictures that are loaded


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is asked about: of one variant, or of a campaign's only letter."""

    name: str
    links: list[str]
    pictures: list[str]
    domain: str


def asked(campaign: Campaign) -> list[Said] | None:
    """The findings, or None while a worker is looking. Raises InvalidInput."""
    key = _key(campaign)
    if cache.get(key) is None:
        # One of several pages that wait asks for it; a lost message is asked for again.
        if cache.add(f"{key}:asked", 1, ASKED_SECONDS):
            from apps.campaigns.tasks import look_outside

            queues.ring(look_outside, campaign.pk)
        return None
    return known(campaign)


def known(campaign: Campaign) -> list[Said]:
    """What was found so far; nothing where nobody has asked."""
    found = cache.get(_key(campaign)) or []
    return [
        (name, Finding(code, level, number, tuple(words), *map(tuple, record)))
        for name, code, level, number, words, *record in found
    ]


def look(campaign_id: int) -> None:
    """Ask the world about a draft's letter and keep what it says, or that asking failed."""
    campaign = Campaign.objects.select_related("workspace", "created_by").filter(pk=campaign_id)
    if (draft := campaign.first()) is None:
        return
    key, subjects, kept = _key(draft), _subjects(draft), KEPT_SECONDS
    try:
        found = _found(draft, subjects)
    except Exception:  # whatever it was, somebody waits for an answer
        logger.exception("campaign %s: links and domain could not be asked", campaign_id)
        found = [(one.name, "not_asked", "advisory", 0, []) for one in subjects]
        kept = ASKED_SECONDS
    cache.set(key, found, kept)


def _found(draft: Campaign, subjects: list[_Subject]) -> list[Any]:
    # In turns: so many are asked at most, of each variant some.
    turns = zip_longest(*([*one.links, *one.pictures] for one in subjects))
    answers = check_links(url for turn in turns for url in turn if url)
    real = has_relay(draft.workspace)
    found: list[Any] = []
    of_domain: dict[str, list[Any]] = {}
    for one in subjects:
        if one.domain not in of_domain:
            of_domain[one.domain] = sender.findings(draft, one.domain)
        said = [*_of_links(one, answers, blocking=real), *of_domain[one.domain]]
        found += [(one.name, *finding) for finding in said]
    return found


def _subjects(campaign: Campaign) -> list[_Subject]:
    return [_subject(name, one) for name, one in variants.letters_of(campaign)]


def _subject(name: str, campaign: Campaign) -> _Subject:
    looks = look_at(letters.preview(campaign, None).html)
    links = [url for url, _text in looks.links if "/u/test" not in url and "/v/test" not in url]
    pictures = [url for url, _alt in looks.images if url.lower().startswith("http")]
    return _Subject(name, links, pictures, campaign.from_email.rpartition("@")[2].lower())


def _key(campaign: Campaign) -> str:
    about = repr((_subjects(campaign), sender.recipients(campaign)))
    digest = hashlib.sha256(about.encode(errors="replace")).hexdigest()
    return f"outside:{campaign.workspace_id}:{digest}"


def _of_links(subject: _Subject, answers: Mapping[str, Answer], *, blocking: bool) -> list[Any]:
    pictures = {*subject.pictures}
    asked = dict.fromkeys([*subject.links, *subject.pictures])
    dead = [url for url in asked if url in answers and answers[url].verdict in DEAD]
    found: list[Any] = []
    if dead:
        level = "blocking" if blocking else "advisory"
        found.append(("dead_links", level, len(dead), [url[:100] for url in dead[:5]]))
    size = sum(answers[url].size for url in pictures if url in answers)
    if size > MAX_PICTURES:
        found.append(("heavy_pictures", "advisory", size // 1024, []))
    return found
