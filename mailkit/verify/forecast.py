"""How many letters to some addresses would bounce for good, from what verification found.

Each reason has a rate and a weight: what is known is worth so many observed letters (a beta
prior). The range is Wilson's score interval for the whole, or the normal one where that is
wider, with as many observations as the variance is worth: that of the letters themselves and
that of the rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

_Z = 1.96  # 95 %


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of letters that bounce for good, and how many letters that is worth."""

    rate: float
    weight: float


# Where nobody can know, the weight is that of a handful of letters, so that the range is wide.
# Proof (a refusal of the mailbox, a domain without mail) bounces but for what changes meanwhile;
# a mailbox seen to exist bounces where it is closed before the letter comes. The rates between
# are cautious estimates of ours: nobody publishes figures by reason.
RATES: dict[str, Rate] = {
    "mailbox_exists": Rate(0.004, 400),
    "confirmed": Rate(0.004, 400),
    "role": Rate(0.01, 100),
    "catch_all": Rate(0.06, 10),
    "catch_all_unknown": Rate(0.06, 10),
    "mailbox_full": Rate(0.08, 8),  # most are put off and given up, which is no hard bounce
    "disposable": Rate(0.2, 8),
    "possible_typo": Rate(0.3, 6),
    "bad_syntax": Rate(1.0, 1000),
    "bad_local_part": Rate(0.97, 50),
    "no_mx": Rate(0.98, 100),
    "null_mx": Rate(0.99, 100),
    "bad_mx": Rate(0.95, 50),
    "mailbox_not_found": Rate(0.98, 200),
    "servfail": Rate(0.3, 4),
    "timeout": Rate(0.1, 5),
    "connection_failed": Rate(0.3, 4),
    "greylisted": Rate(0.03, 15),
    "temporary_failure": Rate(0.05, 10),
    "probe_blocked": Rate(0.05, 10),
    "unclear_reply": Rate(0.3, 4),
    "not_probed": Rate(0.06, 8),
    "provider_not_probed": Rate(0.05, 8),
    "": Rate(0.08, 6),  # not verified
}
_UNHEARD_OF = Rate(0.1, 4)
# For a verdict whose reason nobody wrote down.
_TYPICAL = {
    "valid": "mailbox_exists",
    "risky": "catch_all",
    "invalid": "mailbox_not_found",
    "unknown": "not_probed",
}


@dataclass(frozen=True, slots=True)
class BounceForecast:
    """Shares from 0 to 1 of `letters` that are expected to bounce for good, with their range.

    by_reason: expected bounces (not whole numbers), most first.
    """

    letters: int
    expected: float
    low: float
    high: float
    by_reason: tuple[tuple[str, int, float], ...]

    @property
    def percent(self) -> float:
        return self.expected * 100

    @property
    def low_percent(self) -> float:
        return self.low * 100

    @property
    def high_percent(self) -> float:
        return self.high * 100


def forecast_bounces(counts: Mapping[tuple[str, str], int]) -> BounceForecast:
    """The forecast for so many addresses by (verdict, reason), both "" where not verified."""
    reasons: Counter[str] = Counter()
    for (verdict, reason), number in counts.items():
        reasons[reason or _TYPICAL.get(verdict, "")] += number
    letters = reasons.total()
    if not letters:
        return BounceForecast(0, 0.0, 0.0, 0.0, ())
    expected = variance = 0.0
    by_reason = []
    for reason, number in reasons.items():
        known = RATES.get(reason, _UNHEARD_OF)
        spread = known.rate * (1 - known.rate)
        expected += number * known.rate
        # The variance of a beta-binomial count.
        variance += number * spread * (known.weight + number) / (known.weight + 1)
        by_reason.append((reason, number, number * known.rate))
    share = expected / letters
    low, high = _range(share, variance / letters**2)
    by_reason.sort(key=lambda row: (-row[2], row[0]))
    return BounceForecast(letters, share, low, high, tuple(by_reason))


def riskiest_beyond(
    counts: Mapping[tuple[str, str], int], limit: float
) -> tuple[tuple[str, ...], BounceForecast]:
    """Reasons to leave out so that at most `limit` (0 to 1) is expected, and the rest's forecast.

    Those whose addresses bounce most go first, so that few contacts are lost. Only named reasons,
    and none of valid ones. Empty, with the forecast of all, where that is within the limit, or
    where nothing that can be left out brings it there.
    """
    everybody = rest = forecast_bounces(counts)
    named = {reason for verdict, reason in counts if reason and verdict != "valid"}
    left_out: list[str] = []
    for reason in sorted(named, key=lambda one: (-RATES.get(one, _UNHEARD_OF).rate, one)):
        if rest.expected <= limit:
            break
        left_out.append(reason)
        kept = {key: number for key, number in counts.items() if key[1] not in left_out}
        rest = forecast_bounces(kept)
    if not rest.letters or rest.expected > limit:
        return (), everybody
    return tuple(left_out), rest


def _range(share: float, variance: float) -> tuple[float, float]:
    """Wilson's interval where it is the wider one: a normal one is too narrow near 0 and 1.

    Near 0 the normal one reaches 0, which few letters may well come to, and Wilson's does not.
    """
    if variance <= 0:
        return share, share
    observations = share * (1 - share) / variance
    scale = 1 + _Z**2 / observations
    middle = (share + _Z**2 / (2 * observations)) / scale
    half = _Z / scale * sqrt(variance + _Z**2 / (4 * observations**2))
    normal = _Z * sqrt(variance)
    low, high = min(middle - half, share - normal), max(middle + half, share + normal)
    return max(0.0, low), min(1.0, high)
