"""What the counts of a test say, and what they do not: intervals, differences, sample sizes.

Wilson's interval and Newcombe's for a difference hold up with few letters and with rates near
zero, where the usual ones promise too much. Source: R. G. Newcombe, Statistics in Medicine 17
(1998), 857-872 and 873-890, methods 3 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Literal

CONFIDENCE = 0.95
POWER = 0.8
# Beyond so many letters with a success the exact sum takes longer than it is worth.
EXACT_UP_TO = 2_000

Finding = Literal["nothing", "tie", "chance", "clear"]


@dataclass(frozen=True, slots=True)
class Count:
    """`successes` of `letters`; never more of them than letters."""

    successes: int
    letters: int

    @property
    def rate(self) -> float:
        return self.successes / self.letters if self.letters else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Comparison:
    """The leading count (its place among those compared) beside the runner-up.

    `difference`: of the two rates; `chance`: how probable it is that the leader is the better
    one. Findings: `nothing` to go by, a `tie`, a lead that could be `chance`, a `clear` one.
    """

    leader: int
    runner_up: int
    difference: Interval
    chance: float
    finding: Finding


def wilson(count: Count, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a rate; all of it, where there are no letters."""
    if not count.letters:
        return Interval(0.0, 1.0)
    z, n, rate = _z(confidence), count.letters, count.rate
    middle = rate + z * z / (2 * n)
    spread = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = (middle - spread) / (1 + z * z / n) if count.successes else 0.0
    high = (middle + spread) / (1 + z * z / n) if count.successes < n else 1.0
    return Interval(max(low, 0.0), min(high, 1.0))


def difference(a: Count, b: Count, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a's rate less b's."""
    of_a, of_b = wilson(a, confidence), wilson(b, confidence)
    between = a.rate - b.rate
    return Interval(
        between - sqrt((a.rate - of_a.low) ** 2 + (of_b.high - b.rate) ** 2),
        between + sqrt((of_a.high - a.rate) ** 2 + (b.rate - of_b.low) ** 2),
    )


def chance_better(a: Count, b: Count) -> float:
    """How probable it is that a's rate is really the higher one, nothing being known before.

    The two rates have Beta distributions then; the sum over one's successes is exact. Of large
    counts the normal distribution is close enough.
    """
    if max(a.successes, b.successes) > EXACT_UP_TO:
        return _chance_of_many(a, b)
    lost, lost_b = a.letters - a.successes + 1, b.letters - b.successes + 1
    total, log_of_b = 0.0, _log_beta(b.successes + 1, lost_b)
    # P(A > B) as a sum over a's first parameter: E. Miller, "Formulas for Bayesian A/B Testing".
    for i in range(a.successes + 1):
        total += exp(
            _log_beta(b.successes + 1 + i, lost_b + lost)
            - log(lost + i)
            - _log_beta(1 + i, lost)
            - log_of_b
        )
    return 1.0 - min(max(1.0 - total, 0.0), 1.0)


def compare(counts: Sequence[Count]) -> Comparison:
    """The leader and the runner-up of at least two; of equals the first leads.

    With more than two, the leader had more occasions to lead by chance: the confidence is shared
    among the comparisons (Bonferroni).
    """
    order = sorted(range(len(counts)), key=lambda place: (-counts[place].rate, place))
    first, second = order[0], order[1]
    a, b = counts[first], counts[second]
    between = difference(a, b, 1 - (1 - CONFIDENCE) / (len(counts) - 1))
    finding: Finding
    if not any(count.successes for count in counts):
        finding = "nothing"
    elif a.successes * b.letters == b.successes * a.letters and b.letters:
        finding = "tie"
    else:
        finding = "clear" if between.low > 0 else "chance"
    return Comparison(first, second, between, chance_better(a, b), finding)


def letters_needed(rate: float, apart: float, power: float = POWER) -> int:
    """How many letters each variant needs for a lead of `apart` over `rate` to show as clear.

    With a probability of `power`, in a test of two. Source: J. L. Fleiss, Statistical Methods for
    Rates and Proportions, chapter 4. Raises ValueError for rates outside 0 to 1.
    """
    higher = rate + apart
    if not (0 <= rate < higher <= 1):
        raise ValueError(f"no rates: {rate} and {higher}")
    mean = (rate + higher) / 2
    wide = _z(CONFIDENCE) * sqrt(2 * mean * (1 - mean))
    narrow = NormalDist().inv_cdf(power) * sqrt(rate * (1 - rate) + higher * (1 - higher))
    return ceil(((wide + narrow) / apart) ** 2)


def visible_difference(rate: float, letters: int) -> float | None:
    """The smallest lead over `rate` that so many letters a variant can show; None: not even the
    largest one."""
    low, high = 0.0, 1.0 - rate
    if letters < 1 or high <= 0 or letters_needed(rate, high) > letters:
        return None
    while high - low > 0.0001:
        middle = (low + high) / 2
        if letters_needed(rate, middle) > letters:
            low = middle
        else:
            high = middle
    return high


def _chance_of_many(a: Count, b: Count) -> float:
    means, variance = [], 0.0
    for count in (a, b):
        mean = (count.successes + 1) / (count.letters + 2)
        means.append(mean)
        variance += mean * (1 - mean) / (count.letters + 3)
    return NormalDist().cdf((means[0] - means[1]) / sqrt(variance))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
