"""How many messages may go now: relay, sending domain, mailbox provider, warm-up, slow-downs.

The windows and slow-downs are in Redis, shared by all workers (buckets). FLUSHALL forgets how
much of the windows was used and which providers asked to slow down: each limit may be used once
more within its window, and a provider that still minds says so again. What a warm-up plan
counts is a row in PostgreSQL for each domain, provider and day (UTC), and survives.

Without Redis nothing goes that has a limit; everything else goes on.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache

import redis
from django.conf import settings
from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.senders.models import ProviderLimit, Relay, SendingDomain, SentToday
from apps.senders.selectors import plan_of_row, sent_on, with_parents
from apps.senders.services.buckets import FIRST_BLOCK_SECONDS, Buckets, Window, connect
from mailkit import providers, warmup
from mailkit.warmup import Forecast, Plan

logger = logging.getLogger(__name__)

RULES_SECONDS = 3.0
SLOWED_SECONDS = 1.0
WITHOUT_REDIS_SECONDS = 5.0
SEAT_SECONDS = 60.0
# "other" is no provider: one of its servers says nothing about the rest, unless the relay
# itself is meant, and then most letters of a group hear it.
OTHER_SHARE = 0.5
# A limit a minute is shared out: a tenth of it in any five seconds.
PACE_SECONDS = 5
PACE_PARTS = 10


@dataclass(frozen=True, slots=True)
class Grant:
    """`retry_after`: in so many seconds there may be more; 0 where all was granted."""

    granted: int
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rows say. `windows` count every message, `by_provider` those to a provider."""

    scope: str
    windows: tuple[Window, ...] = ()
    by_provider: Mapping[str, providers.Limits] = field(default_factory=dict)
    domain_id: int | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)


class Limits:
    """The limits on one relay for one sending domain, as this process sees them now."""

    def __init__(
        self,
        rules: Rules,
        buckets: Buckets,
        slowed: Slowed,
        *,
        today: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._rules = rules
        self._buckets = buckets
        self._slowed = slowed
        self._now = today
        self._slow = f"{rules.scope}:slow"
        self._taken: dict[str, tuple[float, date | None]] = {}

    def unlimited(self, provider: str) -> bool:
        """Whether `take` grants anything without asking Redis."""
        return (
            not self._windows(provider)
            and warmup.plan_of(self._rules.plans, provider) is None
            and not self._slowed.is_slow(self._slow, provider)
        )

    def take(self, provider: str, n: int) -> Grant:
        """Up to `n` messages to a provider, to be handed over soon or given back."""
        if n <= 0:
            return Grant(0)
        if self.unlimited(provider):
            self._taken.pop(provider, None)
            return Grant(n)
        windows = self._windows(provider)
        try:
            taken = self._buckets.take(windows, n, slow=self._slow, provider=provider)
        except redis.RedisError as error:
            logger.warning("No limits can be counted, so nothing with a limit goes: %s", error)
            return Grant(0, WITHOUT_REDIS_SECONDS)
        plan = warmup.plan_of(self._rules.plans, provider)
        if plan is None or self._rules.domain_id is None or not taken.granted:
            self._taken[provider] = (taken.at, None)
            return Grant(taken.granted, taken.retry_after)
        now = self._now().astimezone(UTC)
        today = now.date()
        cap = warmup.warm_up_cap(plan, today)
        granted = _count(self._rules.domain_id, provider, today, taken.granted, cap)
        self._taken[provider] = (taken.at, today)
        if granted == taken.granted:
            return Grant(granted, taken.retry_after)
        self._return_to_windows(provider, taken.granted - granted, taken.at)
        tomorrow = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC)
        return Grant(granted, max(taken.retry_after, (tomorrow - now).total_seconds()))

    def give_back(self, provider: str, n: int) -> None:
        """Return what the last `take` for this provider granted and nobody used."""
        at, day = self._taken.get(provider, (None, None))
        if n <= 0 or at is None:
            return
        self._return_to_windows(provider, n, at)
        if day is not None:
            SentToday.objects.filter(
                domain_id=self._rules.domain_id, provider=provider, day=day, number__gte=n
            ).update(number=F("number") - n)

    def throttled(self, provider: str, n: int = 1, of: int = 1) -> None:
        """`n` of `of` letters were told to come slower: leave the provider alone for a while."""
        if provider == providers.OTHER and n < OTHER_SHARE * of:
            return
        jitter = random.uniform(0.8, 1.2)
        try:
            seconds = self._buckets.throttled(self._slow, provider, jitter=jitter)
        except redis.RedisError as error:
            logger.warning("A slow-down is known to this process alone: %s", error)
            seconds = FIRST_BLOCK_SECONDS * jitter
        self._slowed.note(self._slow, provider)
        logger.info("%s asks to slow down: nothing for %.0f s", provider, seconds)

    def succeeded(self, provider: str, n: int) -> None:
        """Accepted letters bring a slowed-down provider back, step by step."""
        if n <= 0 or not self._slowed.is_slow(self._slow, provider):
            return
        try:
            if not self._buckets.succeeded(self._slow, provider, n):
                self._slowed.forget(self._slow, provider)
        except redis.RedisError as error:
            logger.warning("Successes could not be counted: %s", error)

    def seats(self, provider: str, wanted: int) -> Seats:
        """Connections for letters to a provider, up to its limit over all workers."""
        limit = self._rules.by_provider.get(provider, providers.Limits()).connections
        return Seats(self._buckets, f"{self._rules.scope}:{provider}:seats", limit, wanted)

    def _windows(self, provider: str) -> tuple[Window, ...]:
        limits = (
            self._rules.by_provider.get(provider)
            or providers.PROVIDERS.get(provider, providers.PROVIDERS[providers.OTHER]).limits
        )
        own = _windows(
            f"{self._rules.scope}:{provider}", limits.per_minute, limits.per_hour, limits.per_day
        )
        return (*self._rules.windows, *own)

    def _return_to_windows(self, provider: str, n: int, at: float) -> None:
        try:
            self._buckets.give_back(
                self._windows(provider), n, at, slow=self._slow, provider=provider
            )
        except redis.RedisError as error:
            logger.warning("%d messages stay counted though they did not go: %s", n, error)


class Seats:
    """Connections that one worker holds: `renew` now and then, `release` at the end.

    A lease ends what a dead worker held. Without Redis a limited provider gets no seats; those
    that are taken already stay, for their connections are open.
    """

    def __init__(self, buckets: Buckets, key: str, limit: int | None, wanted: int) -> None:
        self._buckets = buckets
        self._key = key
        self._limit = limit
        self._who = uuid.uuid4().hex
        self.number = wanted if limit is None else 0
        self._ask(wanted)

    def renew(self) -> None:
        self._ask(self.number)

    def release(self) -> None:
        if self._limit is None:
            return
        try:
            self._buckets.leave(self._key, self._who, self.number)
        except redis.RedisError as error:
            logger.warning("Connections stay counted until their lease ends: %s", error)
        self.number = 0

    def _ask(self, wanted: int) -> None:
        if self._limit is None:
            return
        try:
            self.number = self._buckets.seats(
                self._key, self._who, wanted, self._limit, SEAT_SECONDS
            )
        except redis.RedisError as error:
            logger.warning("Connections cannot be counted: %s", error)


class Slowed:
    """This process's copy of which providers are slowed down, read once a second at most."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = buckets
        self._clock = clock
        self._read: dict[str, tuple[float, set[str]]] = {}

    def is_slow(self, key: str, provider: str) -> bool:
        due, slow = self._read.get(key, (0.0, set()))
        if self._clock() >= due:
            wait = SLOWED_SECONDS
            try:
                slow = set(self._buckets.slowed(key))
            except redis.RedisError as error:
                # What was known stays; a Redis that does not answer costs time each time.
                logger.warning("Slow-downs cannot be read: %s", error)
                wait = 2 * WITHOUT_REDIS_SECONDS
            self._read[key] = (self._clock() + wait, slow)
        return provider in slow

    def note(self, key: str, provider: str) -> None:
        self.is_slow(key, provider)
        self._read[key][1].add(provider)

    def forget(self, key: str, provider: str) -> None:
        self.is_slow(key, provider)
        self._read[key][1].discard(provider)


@cache
def _shared() -> tuple[Buckets, Slowed]:
    buckets = Buckets(connect(settings.REDIS_URL))
    return buckets, Slowed(buckets)


_known: dict[tuple[int, int | None, str], tuple[float, Limits]] = {}


def limits_for(workspace: Workspace, relay_id: int | None, sending_domain: str) -> Limits:
    """The limits of mail through a relay (None: the sandbox) in the name of a domain.

    The rows are read at most every few seconds; a changed limit holds from then on.
    """
    key = (workspace.pk, relay_id, sending_domain)
    until, found = _known.get(key, (0.0, None))
    if found is None or time.monotonic() >= until:
        found = Limits(rules_of(workspace, relay_id, sending_domain), *_shared())
        if len(_known) > 1000:
            _known.clear()
        _known[key] = (time.monotonic() + RULES_SECONDS, found)
    return found


def rules_of(workspace: Workspace, relay_id: int | None, sending_domain: str) -> Rules:
    scope = f"limits:relay:{relay_id}" if relay_id else f"limits:sandbox:{workspace.pk}"
    windows: tuple[Window, ...] = ()
    relay = Relay.objects.filter(workspace=workspace, pk=relay_id).first() if relay_id else None
    if relay:
        windows += _windows(scope, relay.per_minute, relay.per_hour, relay.per_day)
    domain = _domain(workspace, sending_domain)
    plans = {}
    if domain:
        name = f"limits:domain:{domain.pk}"
        windows += _windows(name, domain.per_minute, domain.per_hour, domain.per_day)
        plans = plans_of(domain)
    return Rules(
        scope=scope,
        windows=windows,
        by_provider=provider_limits(workspace),
        domain_id=domain.pk if domain else None,
        plans=plans,
    )


def plans_of(domain: SendingDomain) -> dict[str, Plan]:
    return {row.provider: plan_of_row(row) for row in domain.warm_ups.all()}


def provider_limits(workspace: Workspace) -> dict[str, providers.Limits]:
    """The workspace's own limits, by provider; the others have the defaults."""
    return {
        row.provider: providers.Limits(
            connections=row.connections,
            per_minute=row.per_minute,
            per_hour=row.per_hour,
            per_day=row.per_day,
        )
        for row in ProviderLimit.objects.filter(workspace=workspace)
    }


def forecast_for(
    workspace: Workspace, relay_id: int | None, sending_domain: str, counts: Mapping[str, int]
) -> Forecast:
    """How long a campaign of `counts` letters by provider takes, if nothing else is sent."""
    domain = _domain(workspace, sending_domain)
    relay = Relay.objects.filter(workspace=workspace, pk=relay_id).first() if relay_id else None
    own = provider_limits(workspace)
    limits = {key: own.get(key) or providers.PROVIDERS[key].limits for key in providers.PROVIDERS}
    limits[warmup.EACH] = _tightest([row for row in (relay, domain) if row])
    today = timezone.now().date()
    return warmup.forecast(
        counts,
        plans_of(domain) if domain else {},
        limits,
        on=today,
        sent_today=sent_on(domain, today) if domain else None,
    )


def _tightest(rows: Sequence[Relay | SendingDomain]) -> providers.Limits:
    def least(values: list[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return providers.Limits(
        per_minute=least([row.per_minute for row in rows]),
        per_hour=least([row.per_hour for row in rows]),
        per_day=least([row.per_day for row in rows]),
    )


def _domain(workspace: Workspace, name: str) -> SendingDomain | None:
    """The sending domain of that name, else its nearest parent."""
    found = SendingDomain.objects.filter(workspace=workspace, name__in=with_parents(name))
    return max(found, key=lambda domain: len(domain.name), default=None)


def _windows(
    key: str, per_minute: int | None, per_hour: int | None, per_day: int | None
) -> tuple[Window, ...]:
    windows = []
    if per_minute is not None:
        share = -(-per_minute // PACE_PARTS)
        windows += [
            Window(f"{key}:{PACE_SECONDS}", PACE_SECONDS, share),
            Window(f"{key}:60", 60, per_minute),
        ]
    if per_hour is not None:
        windows.append(Window(f"{key}:3600", 3600, per_hour))
    if per_day is not None:
        windows.append(Window(f"{key}:86400", 86400, per_day))
    return tuple(windows)


def _count(domain_id: int, provider: str, day: date, n: int, cap: int) -> int:
    """Count up to `n` messages of a day without passing its cap; returns how many it were."""
    rows = SentToday.objects.filter(domain_id=domain_id, provider=provider, day=day)
    while True:
        counted = rows.values_list("number", flat=True).first()
        if counted is None:
            try:
                SentToday.objects.bulk_create(
                    [SentToday(domain_id=domain_id, provider=provider, day=day)],
                    ignore_conflicts=True,
                )
            except IntegrityError:  # the domain is gone; its rules are read anew in a moment
                return 0
            continue
        free = min(n, cap - counted)
        if free <= 0:
            return 0
        # Another worker may have counted since: then there is another try.
        if rows.filter(number__lte=cap - free).update(number=F("number") + free):
            return free
