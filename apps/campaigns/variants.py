"""A campaign as each of its variants has it, and the numbers of the links in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy

from apps.campaigns.models import Campaign, Variant

# What a variant can have of its own. Its content is all or nothing: a text part must say what the
# HTML says, and that is made from the design.
ENVELOPE = ("subject", "from_name", "from_email")
CONTENT = ("editor", "design", "html", "text")


def of(campaign: Campaign) -> list[Variant]:
    """In the order of their numbers; none where nothing is tested."""
    if campaign.test_share is None:
        return []
    return list(campaign.variants.order_by("number"))


def as_campaign(campaign: Campaign, variant: Variant) -> Campaign:
    """The campaign with what differs in the variant: for reading, never to be saved."""
    differing = copy(campaign)
    for name in ENVELOPE:
        setattr(differing, name, getattr(variant, name) or getattr(campaign, name))
    if has_content(variant):
        for name in CONTENT:
            setattr(differing, name, getattr(variant, name))
    return differing


def own_of(variant: Variant) -> dict[str, str]:
    """What it has of its own, by the names of the fields; empty where it is as the campaign."""
    return {name: getattr(variant, name) for name in (*ENVELOPE, *CONTENT)}


def has_content(variant: Variant) -> bool:
    return bool(variant.editor)


def differs(campaign: Campaign, variant: Variant) -> bool:
    """Whether a recipient could tell it from the campaign's own letter."""
    read = ("subject", "from_name", "from_email", "html", "text")
    own = as_campaign(campaign, variant)
    # Browsers send other line ends than they were given.
    return any(getattr(own, name).split() != getattr(campaign, name).split() for name in read)


def letters_of(campaign: Campaign) -> list[tuple[str, Campaign]]:
    """The campaign as each variant has it, by the variant's name; without variants as it is, under
    no name. For reading."""
    tested = of(campaign)
    if not tested:
        return [("", campaign)]
    return [(one.name, as_campaign(campaign, one)) for one in tested]


def number_links(letters: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """The targets of all letters of a campaign, and which of them, counted from 1, each letter's
    links are.

    Links share a number where they lead to the same address for the same time in their letters:
    variants that differ in the subject alone have the same links.
    """
    known: dict[tuple[str, int], int] = {}
    numbers = []
    for links in letters:
        seen: Counter[str] = Counter()
        of_letter = []
        for url in links:
            of_letter.append(known.setdefault((url, seen[url]), len(known) + 1))
            seen[url] += 1
        numbers.append(tuple(of_letter))
    return tuple(url for url, _time in known), numbers
