from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit import experiments
from mailkit.experiments import Count, chance_better, compare, difference, wilson

Z = 1.959963984540054


@st.composite
def counts(draw: st.DrawFn, most: int = 400) -> Count:
    letters = draw(st.integers(1, most))
    return Count(draw(st.integers(0, letters)), letters)


@given(counts(100_000))
def test_an_interval_ends_where_the_count_is_at_the_edge_of_what_is_likely(count: Count) -> None:
    """Wilson's limits are the rates of which what was seen lies exactly z deviations away."""
    found = wilson(count)
    assert 0 <= found.low <= count.rate <= found.high <= 1
    for limit in {found.low, found.high} - {0.0, 1.0}:
        away = abs(count.rate - limit)
        assert away == pytest.approx(Z * sqrt(limit * (1 - limit) / count.letters), rel=1e-6)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """By the probabilities of all outcomes: near 95 % on the average, never far below."""
    letters, covered = 50, []
    intervals = [wilson(Count(k, letters)) for k in range(letters + 1)]
    for percent in range(2, 99):
        rate = percent / 100
        covered.append(
            sum(
                comb(letters, k) * rate**k * (1 - rate) ** (letters - k)
                for k in range(letters + 1)
                if intervals[k].holds(rate)
            )
        )
    assert sum(covered) / len(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.9


@given(counts(), counts())
def test_a_difference_turns_round_with_its_counts(a: Count, b: Count) -> None:
    one, other = difference(a, b), difference(b, a)
    assert one.low == pytest.approx(-other.high)
    assert one.high == pytest.approx(-other.low)
    assert -1 <= one.low <= a.rate - b.rate + 1e-12
    assert a.rate - b.rate - 1e-12 <= one.high <= 1


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        (Count(56, 70), Count(48, 80), 0.0524, 0.3339),
        (Count(9, 10), Count(3, 10), 0.1705, 0.8090),
        (Count(5, 56), Count(0, 29), -0.0381, 0.1926),
        (Count(10, 10), Count(0, 10), 0.6075, 1.0000),
    ],
)
def test_differences_of_the_literature(a: Count, b: Count, low: float, high: float) -> None:
    found = difference(a, b)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.0001)


def _exactly_better(a: Count, b: Count) -> float:
    """P(A > B) in fractions: both densities are polynomials, so their integral has no error."""
    alpha, beta = b.successes, b.letters - b.successes
    total = Fraction(0)
    for i in range(alpha + 1, b.letters + 2):  # the distribution of B as a binomial sum
        # P(B < x) = sum over i of C(n+1, i) x^i (1-x)^(n+1-i), integrated against A's density.
        x, y = a.successes + i, a.letters - a.successes + b.letters + 1 - i
        integral = Fraction(1, (x + y + 1) * comb(x + y, x))
        total += comb(b.letters + 1, i) * integral
    assert beta >= 0
    return float(total * (a.letters + 1) * comb(a.letters, a.successes))


@given(counts(60), counts(60))
def test_the_chance_of_being_better_is_exact(a: Count, b: Count) -> None:
    assert chance_better(a, b) == pytest.approx(_exactly_better(a, b), abs=1e-9)
    assert chance_better(a, b) + chance_better(b, a) == pytest.approx(1, abs=1e-9)


def test_the_chance_of_large_counts_goes_on_where_the_exact_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = Count(1990, 10_000), Count(1900, 10_000)
    exact = chance_better(a, b)
    monkeypatch.setattr(experiments, "EXACT_UP_TO", 0)
    assert chance_better(a, b) == pytest.approx(exact, abs=0.001)
    assert chance_better(Count(300_000, 1_000_000), Count(290_000, 1_000_000)) > 0.999


@given(st.lists(counts(), min_size=2, max_size=4))
def test_the_leader_has_the_highest_rate_and_the_first_of_equals_leads(found: list[Count]) -> None:
    result = compare(found)
    best = max(count.rate for count in found)
    assert found[result.leader].rate == best
    assert all(count.rate < best for count in found[: result.leader])
    assert result.runner_up != result.leader
    assert result.finding != "clear" or result.difference.low > 0


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ([Count(0, 0), Count(0, 0)], "nothing"),
        ([Count(0, 100), Count(0, 90)], "nothing"),
        ([Count(10, 100), Count(20, 200)], "tie"),
        ([Count(12, 100), Count(10, 100)], "chance"),
        ([Count(40, 100), Count(10, 100)], "clear"),
        # What would be clear between two is not among four: there are more occasions to lead.
        ([Count(31, 100), Count(18, 100)], "clear"),
        ([Count(31, 100), Count(18, 100), Count(18, 100), Count(18, 100)], "chance"),
    ],
)
def test_findings(found: list[Count], finding: str) -> None:
    assert compare(found).finding == finding


def _power(rate: float, higher: float, letters: int) -> float:
    """How probable a lead is found to be clear, over all outcomes of two variants."""

    def likely(p: float) -> list[float]:
        return [comb(letters, k) * p**k * (1 - p) ** (letters - k) for k in range(letters + 1)]

    low, high = likely(rate), likely(higher)
    return sum(
        high[j] * low[k]
        for j in range(letters + 1)
        for k in range(j)
        if high[j] * low[k] > 1e-9 and difference(Count(j, letters), Count(k, letters)).low > 0
    )


@pytest.mark.parametrize(("rate", "apart"), [(0.2, 0.2), (0.05, 0.2), (0.5, 0.25)])
def test_so_many_letters_show_a_difference_as_often_as_promised(rate: float, apart: float) -> None:
    letters = experiments.letters_needed(rate, apart)
    assert _power(rate, rate + apart, letters) == pytest.approx(0.8, abs=0.05)


def test_letters_needed_are_those_of_the_tables() -> None:
    assert experiments.letters_needed(0.2, 0.05) == 1094
    assert experiments.letters_needed(0.1, 0.02) == 3841
    with pytest.raises(ValueError, match="no rates"):
        experiments.letters_needed(0.9, 0.2)


@given(st.integers(1, 99), st.integers(1, 1_000_000))
def test_the_visible_difference_is_the_smallest_one(percent: int, letters: int) -> None:
    rate = percent / 100
    found = experiments.visible_difference(rate, letters)
    if found is None:
        assert experiments.letters_needed(rate, 1 - rate) > letters
        return
    assert experiments.letters_needed(rate, min(found, 1 - rate)) <= letters
    if found > 0.0002:
        assert experiments.letters_needed(rate, found - 0.0002) > letters
