"""Counting messages in Redis, for all workers at once: windows, slow-downs and seats.

A window of W seconds is counted in slots of W/24. The 25 slots that touch the last W seconds
are added up, so that no W seconds, wherever they begin, see more than the limit; the price is
that up to 1/25 of it stays unused. All scripts take the time from Redis, the one clock that the
workers share, unless they are given one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SLOTS = 24
# A provider that said "slow down" is left alone for this long, doubled each time it says so.
FIRST_BLOCK_SECONDS = 30
LONGEST_BLOCK_SECONDS = 1800
# Then it gets so many messages a minute, twice as many after every half a minute of successes,
# until the rate is FULL_RATE: there the slow-down is over.
START_RATE = 60
LEAST_RATE = 6
FULL_RATE = 60_000
# The reduced rate is shared out by this many seconds.
PACE_SECONDS = 10
# A provider that nobody has written to for so long is met as if nothing had been.
FORGET_SECONDS = 3600

_CLOCK = """
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local now = clock(ARGV[1])
local function seconds(number) return string.format('%.6f', number) end
"""

# KEYS: the slow-downs of a relay, the pace of this provider, then a window each.
# ARGV: time, provider, wanted, slots, pace seconds, forget seconds, then seconds and limit each.
_TAKE = (
    _CLOCK
    + """
local provider, wanted, slots = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local pace, forget = tonumber(ARGV[5]), tonumber(ARGV[6])
local windows = {}
for i = 3, #KEYS do
  windows[#windows + 1] = {KEYS[i], tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])}
end
local raw = redis.call('HGET', KEYS[1], provider)
if raw then
  local slow = cjson.decode(raw)
  if now > slow.free_at + forget then
    redis.call('HDEL', KEYS[1], provider)
  elseif now < slow.free_at then
    return {0, seconds(slow.free_at - now), seconds(now)}
  else
    windows[#windows + 1] = {KEYS[2], pace, math.max(1, math.floor(slow.rate * pace / 60))}
  end
end
local granted, wait = wanted, 0
for _, window in ipairs(windows) do
  local slot = math.floor(now * slots / window[2])
  local used, oldest = 0, slot
  local counted = redis.call('HGETALL', window[1])
  for i = 1, #counted, 2 do
    local at, number = tonumber(counted[i]), tonumber(counted[i + 1])
    if at < slot - slots then
      redis.call('HDEL', window[1], counted[i])
    elseif number > 0 then
      used = used + number
      if at < oldest then oldest = at end
    end
  end
  local free = math.max(0, window[3] - used)
  if free < wanted then
    -- A millisecond more: who comes back on the dot must not be too early by a rounding.
    wait = math.max(wait, (oldest + slots + 1) * window[2] / slots - now + 0.001)
  end
  granted = math.min(granted, free)
end
if granted > 0 then
  for _, window in ipairs(windows) do
    redis.call('HINCRBY', window[1], math.floor(now * slots / window[2]), granted)
    redis.call('EXPIRE', window[1], math.ceil(window[2] * (slots + 2) / slots))
  end
end
return {granted, seconds(wait), seconds(now)}
"""
)

# KEYS: windows. ARGV: time of the taking, number, slots, then seconds each.
_GIVE_BACK = """
local slots = tonumber(ARGV[3])
for i, key in ipairs(KEYS) do
  local slot = math.floor(tonumber(ARGV[1]) * slots / tonumber(ARGV[3 + i]))
  local counted = tonumber(redis.call('HGET', key, slot) or 0)
  local back = math.min(counted, tonumber(ARGV[2]))
  if back > 0 then redis.call('HINCRBY', key, slot, -back) end
end
"""

# KEYS: the slow-downs. ARGV: time, provider, jitter, first, longest, start rate, least rate,
# forget seconds. What is said while it is left alone is about letters that were under way.
_THROTTLED = (
    _CLOCK
    + """
local provider, jitter = ARGV[2], tonumber(ARGV[3])
local delay, rate = tonumber(ARGV[4]), tonumber(ARGV[6])
local raw = redis.call('HGET', KEYS[1], provider)
if raw then
  local slow = cjson.decode(raw)
  if now < slow.free_at then return seconds(slow.free_at - now) end
  if now <= slow.free_at + tonumber(ARGV[8]) then
    delay = math.min(slow.delay * 2, tonumber(ARGV[5]))
    rate = math.max(tonumber(ARGV[7]), math.floor(slow.rate / 2))
  end
end
local slow = {free_at = now + delay * jitter, delay = delay, rate = rate, successes = 0}
redis.call('HSET', KEYS[1], provider, cjson.encode(slow))
redis.call('EXPIRE', KEYS[1], 2 * (tonumber(ARGV[5]) + tonumber(ARGV[8])))
return seconds(slow.free_at - now)
"""
)

# KEYS: the slow-downs. ARGV: time, provider, number, full rate.
_SUCCEEDED = (
    _CLOCK
    + """
local raw = redis.call('HGET', KEYS[1], ARGV[2])
if not raw then return 0 end
local slow = cjson.decode(raw)
if now < slow.free_at then return slow.rate end
slow.successes = slow.successes + tonumber(ARGV[3])
if slow.successes >= slow.rate / 2 then
  slow.rate, slow.successes = slow.rate * 2, 0
end
if slow.rate >= tonumber(ARGV[4]) then
  redis.call('HDEL', KEYS[1], ARGV[2])
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], cjson.encode(slow))
return slow.rate
"""
)

# KEYS: the seats. ARGV: time, who, wanted, limit, lease seconds. Who has some keeps those.
_SEATS = (
    _CLOCK
    + """
local lease = tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local free = tonumber(ARGV[4]) - redis.call('ZCARD', KEYS[1])
local held = 0
for i = 1, tonumber(ARGV[3]) do
  local seat = ARGV[2] .. ':' .. i
  if redis.call('ZSCORE', KEYS[1], seat) then
    redis.call('ZADD', KEYS[1], seconds(now + lease), seat)
    held = held + 1
  elseif free > 0 then
    redis.call('ZADD', KEYS[1], seconds(now + lease), seat)
    held, free = held + 1, free - 1
  end
end
redis.call('EXPIRE', KEYS[1], math.ceil(2 * lease))
return held
"""
)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` messages in any `seconds`, counted under `key`."""

    key: str
    seconds: int
    limit: int


@dataclass(frozen=True, slots=True)
class Taken:
    """retry_after: seconds until more may be had, 0 where all was granted; at: Redis's time."""

    granted: int
    retry_after: float
    at: float


def connect(url: str) -> redis.Redis:
    """A client that soon says when Redis is away: a sender has better things to do than wait.

    One more try, since a connection from before Redis was restarted fails once.
    """
    return redis.Redis.from_url(
        url, socket_connect_timeout=0.5, socket_timeout=1, retry=Retry(NoBackoff(), 1)
    )


class Buckets:
    """Every method may raise redis.RedisError. `now` is for a clock other than Redis's."""

    def __init__(self, store: redis.Redis) -> None:
        self._store = store
        self._take = store.register_script(_TAKE)
        self._give_back = store.register_script(_GIVE_BACK)
        self._throttled = store.register_script(_THROTTLED)
        self._succeeded = store.register_script(_SUCCEEDED)
        self._seats = store.register_script(_SEATS)

    def take(
        self,
        windows: Sequence[Window],
        wanted: int,
        *,
        slow: str,
        provider: str,
        now: float | None = None,
    ) -> Taken:
        """Up to `wanted` messages from all windows at once, or none while it is left alone."""
        arguments: list[Any] = [_time(now), provider, wanted, SLOTS, PACE_SECONDS, FORGET_SECONDS]
        for window in windows:
            arguments += [window.seconds, window.limit]
        keys = [slow, _pace(slow, provider), *(window.key for window in windows)]
        granted, wait, at = cast(list[Any], self._take(keys, arguments))
        return Taken(int(granted), float(wait), float(at))

    def give_back(
        self, windows: Sequence[Window], number: int, at: float, *, slow: str, provider: str
    ) -> None:
        """Return what was taken at `at` and not used; never more than was taken then."""
        keys = [_pace(slow, provider), *(window.key for window in windows)]
        spans = [PACE_SECONDS, *(window.seconds for window in windows)]
        self._give_back(keys, [at, number, SLOTS, *spans])

    def throttled(
        self, slow: str, provider: str, *, jitter: float = 1.0, now: float | None = None
    ) -> float:
        """Leave a provider alone; returns for how many seconds from now."""
        arguments: list[Any] = [_time(now), provider, jitter, FIRST_BLOCK_SECONDS]
        arguments += [LONGEST_BLOCK_SECONDS, START_RATE, LEAST_RATE, FORGET_SECONDS]
        return float(cast(Any, self._throttled([slow], arguments)))

    def succeeded(self, slow: str, provider: str, number: int, *, now: float | None = None) -> int:
        """Returns the rate a minute that the provider has now; 0 where it is not slowed down."""
        arguments: list[Any] = [_time(now), provider, number, FULL_RATE]
        return int(cast(Any, self._succeeded([slow], arguments)))

    def slowed(self, slow: str) -> dict[str, dict[str, float]]:
        """The slow-downs of a relay, by provider: free_at, delay, rate, successes."""
        found = cast(dict[bytes, bytes], self._store.hgetall(slow))
        return {provider.decode(): json.loads(raw) for provider, raw in found.items()}

    def seats(
        self, key: str, who: str, wanted: int, limit: int, lease: float, now: float | None = None
    ) -> int:
        """Take or renew up to `wanted` of `limit` seats; returns how many `who` holds."""
        return int(cast(Any, self._seats([key], [_time(now), who, wanted, limit, lease])))

    def leave(self, key: str, who: str, number: int) -> None:
        if number:
            self._store.zrem(key, *(f"{who}:{seat}" for seat in range(1, number + 1)))


def _pace(slow: str, provider: str) -> str:
    return f"{slow}:{provider}:pace"


def _time(now: float | None) -> float | str:
    return "" if now is None else now
