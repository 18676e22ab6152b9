"""The bounce forecast: bounds, more data, and what it says of whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.verify.forecast import RATES, forecast_bounces, riskiest_beyond
from mailkit.verify.verdict import REASONS

COUNTS = st.dictionaries(
    st.sampled_from([*((verdict, reason) for reason, verdict in REASONS.items()), ("", "")]),
    st.integers(0, 10**6),
    max_size=5,
)


def test_every_reason_has_a_rate():
    assert set(RATES) == {*REASONS, ""}


@given(COUNTS)
def test_the_range_holds_the_expectation(counts):
    found = forecast_bounces(counts)
    assert 0 <= found.low <= found.expected + 1e-12
    assert found.expected <= found.high + 1e-12 <= 1 + 1e-9
    assert found.letters == sum(counts.values())
    assert sum(number for _reason, number, _bounces in found.by_reason) == found.letters


@pytest.mark.parametrize("reason", REASONS)
def test_more_addresses_never_widen_the_range(reason):
    few, many = (forecast_bounces({(REASONS[reason], reason): n}) for n in (50, 50_000))
    assert many.high - many.low <= few.high - few.low + 1e-9


def test_what_nobody_could_check_widens_the_range():
    checked = forecast_bounces({("valid", "mailbox_exists"): 1000})
    unchecked = forecast_bounces({("unknown", "not_probed"): 1000})
    assert checked.high < 0.025
    assert unchecked.high - unchecked.low > 5 * (checked.high - checked.low)


def test_a_verdict_without_a_reason_is_typical():
    named = forecast_bounces({("valid", "mailbox_exists"): 10})
    assert forecast_bounces({("valid", ""): 10}).expected == named.expected


def test_nobody_bounces_where_nobody_is():
    assert forecast_bounces({}).letters == 0


@given(
    st.dictionaries(
        st.sampled_from([*((of, code) for code, of in REASONS.items()), ("valid", "")]),
        st.integers(1, 10_000),
    ),
    st.floats(0, 1),
)
def test_what_is_left_out_brings_the_rest_within_the_limit(
    counts: dict[tuple[str, str], int], limit: float
) -> None:
    left_out, rest = riskiest_beyond(counts, limit)
    verdict_of = {code: of for (of, code) in counts}
    assert all(verdict_of[code] != "valid" for code in left_out)
    if left_out:
        assert forecast_bounces(counts).expected > limit >= rest.expected
        # Nobody stays who bounces more than somebody left out.
        stay = {code for of, code in counts if of != "valid"} - set(left_out)
        least = min(RATES[code].rate for code in left_out)
        assert all(RATES[code].rate <= least for code in stay)
        out = sum(number for (_of, code), number in counts.items() if code in left_out)
        assert rest.letters + out == sum(counts.values())
    else:
        assert rest == forecast_bounces(counts)
