"""Where the tracked links of campaigns lead, for requests that must not wait for a table."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings

from apps.campaigns.models import CampaignLink
from core import valkey
from mailkit.machines import HONEYPOT_LINK

logger = logging.getLogger(__name__)

# What nobody has clicked in for so long is read from the table again.
KEPT_SECONDS = 90 * 24 * 3600
# Campaigns whose links a process keeps: they are fixed for good.
MOST_CAMPAIGNS = 200


def publish(campaign_id: int) -> None:
    """Put a campaign's links where requests look for them."""
    links = dict(CampaignLink.objects.filter(campaign_id=campaign_id).values_list("number", "url"))
    if not links:
        return
    key = _key(campaign_id)
    try:
        with valkey.client().pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            pipeline.hset(key, mapping={str(number): url for number, url in links.items()})
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("the links of campaign %s stay in the table alone: %s", campaign_id, error)


def known(campaign_id: int, number: int) -> str | None:
    """The target of a link as this process or Valkey knows it; None says nothing."""
    if number == HONEYPOT_LINK:
        return f"{settings.BASE_URL}/c/-"  # the page of links that do not work
    try:
        return _published(campaign_id).get(number)
    except (LookupError, redis.RedisError):
        return None


def find(campaign_id: int, number: int) -> str | None:
    """The target of a link, from the table where it has to be; None where there is none.

    What was found in the table alone is published again: Valkey had forgotten it.
    """
    url = known(campaign_id, number)
    if url is not None:
        return url
    link = CampaignLink.objects.filter(campaign_id=campaign_id, number=number).first()
    if link is None:
        return None
    publish(campaign_id)
    return link.url


def forget() -> None:
    """Drop what this process keeps."""
    _published.cache_clear()


@lru_cache(maxsize=MOST_CAMPAIGNS)
def _published(campaign_id: int) -> dict[int, str]:
    """Raises LookupError where Valkey has nothing, so that nothing is not what is kept."""
    stored: dict[Any, Any] = valkey.client().hgetall(_key(campaign_id))
    if not stored:
        raise LookupError(campaign_id)
    return {int(number): url.decode() for number, url in stored.items()}


def _key(campaign_id: int) -> str:
    return f"links:{campaign_id}"
