"""What the DNS says of the sender of a draft, held against whom the letter goes to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple
from typing import Any

from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.campaigns.targets import Targets
from apps.senders.selectors import has_relay
from apps.senders.services.authentication import is_of_sandbox, look_up
from core.errors import InvalidInput
from mailkit import authentication
from mailkit.providers import FREE_DOMAINS


def findings(campaign: Campaign, domain: str) -> list[Any]:
    """Findings as tuples, of letters whose From is of `domain`. Asks the DNS: for a worker.

    Where mail goes to the sandbox only its own names are asked about, and nothing stops a launch.
    """
    real = has_relay(campaign.workspace)
    if not domain or domain in FREE_DOMAINS or not (real or is_of_sandbox(domain)):
        return []
    bulk = real and _is_bulk(campaign)
    found = authentication.findings(look_up(campaign.workspace, domain), bulk=bulk)
    return [(one.code, one.level if real else "advisory", *astuple(one)[2:]) for one in found]


def recipients(campaign: Campaign) -> tuple[object, ...]:
    """What decides whom it goes to: of a sender of many letters more is asked."""
    targets = Targets.of(campaign)
    return (
        targets.list_ids,
        [one.pk for one in targets.segments],
        targets.excluded_list_ids,
        [one.pk for one in targets.excluded_segments],
        campaign.not_opened_id,
        campaign.include_verdicts,
        campaign.left_out_reasons,
    )


def _is_bulk(campaign: Campaign) -> bool:
    """Whether a provider gets so many letters that its rules for bulk senders hold."""
    with suppress(InvalidInput):  # a segment is about what is gone: there are no letters yet
        counts = selectors.reach(campaign).by_provider
        most = max(counts.get(one, 0) for one in authentication.BULK_RULES)
        return most >= authentication.BULK_FROM
    return False
