"""Partitions of the events: one a month, made ahead of time."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import timezone

from apps.campaigns.services.partitions import attach


def ensure_month(moment: datetime) -> bool:
    """Make the partition of a moment's month (UTC) where it is missing; whether it was."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return attach(
        "tracking_event",
        f"tracking_event_{start:%Y_%m}",
        f"'{start.isoformat()}'",
        f"'{_next(start).isoformat()}'",
    )


def ensure_next_months() -> int:
    """The partitions of this month and the next; returns how many were made."""
    now = timezone.now()
    return ensure_month(now) + ensure_month(_next(now.replace(day=1)))


def _next(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
