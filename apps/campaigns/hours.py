"""Allowed hours of the day, on somebody's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


def opens_at(
    now: datetime, zone: str, hours_from: int, hours_until: int, *, otherwise: str = "UTC"
) -> datetime | None:
    """None where it may be sent now, else when it may be next.

    `otherwise`: whose clock counts where there is no such zone.
    """
    local = now.astimezone(_zone(zone) or _zone(otherwise) or ZoneInfo("UTC"))
    if hours_from <= local.hour < hours_until:
        return None
    day = local.date() + timedelta(days=local.hour >= hours_from)
    return datetime(day.year, day.month, day.day, hours_from, tzinfo=local.tzinfo)


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such zone, or no name of one
        return None
