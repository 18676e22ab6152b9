"""Warm-up plans: how many messages a day, and how long a campaign takes under them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from mailkit.providers import Limits

EACH = ""  # the plan of each provider that has none of its own


@dataclass(frozen=True, slots=True)
class Plan:
    """`start` messages on the first day, `growth_percent` more every day, up to `ceiling`."""

    start: int
    growth_percent: int
    ceiling: int
    started_on: date


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a campaign takes if nothing else is sent: the slowest provider decides.

    days: how many days on which letters go, 1 where all can go on the first one, 0 without any.
    seconds: at the limits a minute, hour and day. slowest: by warm-up; "" where it takes a day.
    by_provider: the days of each one.
    """

    days: int
    seconds: float
    slowest: str
    by_provider: Mapping[str, int]


def warm_up_cap(plan: Plan, on: date) -> int:
    """Messages that may go on a day; those of the first day also before it."""
    days = max(0, (on - plan.started_on).days)
    growth = 1 + plan.growth_percent / 100
    if plan.start >= plan.ceiling:
        return plan.ceiling
    # By logarithms first: the power of a plan from long ago does not fit into a float.
    if days * math.log(growth) >= math.log(plan.ceiling / plan.start):
        return plan.ceiling
    return min(plan.ceiling, int(plan.start * growth**days))


def plan_of(plans: Mapping[str, Plan], provider: str) -> Plan | None:
    return plans.get(provider) or plans.get(EACH)


def forecast(
    counts: Mapping[str, int],
    plans: Mapping[str, Plan],
    limits: Mapping[str, Limits],
    *,
    on: date,
    sent_today: Mapping[str, int] | None = None,
) -> Forecast:
    """How long `counts` messages by provider take from `on`.

    limits: by provider; EACH are those of everything together (a relay's). sent_today: what
    counts against the warm-up of the first day already.
    """
    sent = sent_today or {}
    by_provider = {
        provider: _days(number, plan_of(plans, provider), on, sent.get(provider, 0))
        for provider, number in counts.items()
        if number > 0
    }
    total = sum(number for number in counts.values() if number > 0)
    seconds = max(
        (
            _seconds(number, limits[provider])
            for provider, number in [*counts.items(), (EACH, total)]
            if provider in limits
        ),
        default=0.0,
    )
    days = max(by_provider.values(), default=0)
    slowest = max(by_provider, key=lambda key: by_provider[key]) if days > 1 else ""
    return Forecast(days, seconds, slowest, by_provider)


def _days(number: int, plan: Plan | None, on: date, sent: int) -> int:
    if plan is None:
        return 1
    left, days, used = number, 0, sent
    while left > 0:
        cap = warm_up_cap(plan, on + timedelta(days=days))
        grows = cap < plan.ceiling and plan.growth_percent > 0
        if not grows and not used:
            return days + -(-left // cap)
        left -= max(0, cap - used)
        used = 0
        days += 1
    return days


def _seconds(number: int, limits: Limits) -> float:
    """Of each window: all of it at once, then the next when the window is over."""
    windows = ((limits.per_minute, 60), (limits.per_hour, 3600), (limits.per_day, 86400))
    return max(
        (float((number - 1) // limit * span) for limit, span in windows if limit and number > 0),
        default=0.0,
    )
