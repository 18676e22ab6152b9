from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.providers import Limits
from mailkit.warmup import EACH, Forecast, Plan, forecast, warm_up_cap

DAY = date(2027, 1, 1)
PLANS = st.builds(
    Plan,
    start=st.integers(1, 5000),
    growth_percent=st.integers(0, 32_767),
    ceiling=st.integers(1, 1_000_000),
    started_on=st.dates(DAY - timedelta(days=400), DAY + timedelta(days=400)),
)


@pytest.mark.parametrize(
    ("days", "cap"), [(-5, 200), (0, 200), (1, 260), (2, 338), (10, 2757), (40, 100_000)]
)
def test_a_plan_grows_to_its_ceiling(days: int, cap: int) -> None:
    assert warm_up_cap(Plan(200, 30, 100_000, DAY), DAY + timedelta(days=days)) == cap


@given(PLANS, st.dates(), st.integers(0, 1000))
def test_a_cap_is_within_its_plan_and_never_shrinks(plan: Plan, on: date, more: int) -> None:
    cap = warm_up_cap(plan, on)
    assert 1 <= cap <= plan.ceiling
    assert cap >= min(plan.start, plan.ceiling)
    later = min(date.max.toordinal(), on.toordinal() + more)
    assert warm_up_cap(plan, date.fromordinal(later)) >= cap


@given(st.integers(1, 3_000_000), PLANS, st.integers(0, 2000))
def test_a_forecast_is_the_first_day_by_which_all_may_have_gone(
    number: int, plan: Plan, sent: int
) -> None:
    days = forecast({"gmail": number}, {"gmail": plan}, {}, on=DAY, sent_today={"gmail": sent}).days
    assert days >= 1
    first = max(0, warm_up_cap(plan, DAY) - sent)

    def may_go(days: int) -> int:
        if days < 1:
            return 0
        if plan.growth_percent == 0:
            return first + (days - 1) * warm_up_cap(plan, DAY)
        total, day = first, 1
        while day < days and warm_up_cap(plan, DAY + timedelta(days=day)) < plan.ceiling:
            total += warm_up_cap(plan, DAY + timedelta(days=day))
            day += 1
        return total + (days - day) * plan.ceiling

    assert may_go(days) >= number > may_go(days - 1)


def test_the_slowest_provider_decides() -> None:
    plans = {EACH: Plan(100, 0, 100, DAY), "gmail": Plan(10_000, 0, 10_000, DAY)}
    counts = {"gmail": 50_000, "yandex": 950, "mailru": 20, "rambler": 0}
    found = forecast(counts, plans, {}, on=DAY)
    assert found == Forecast(10, 0.0, "yandex", {"gmail": 5, "yandex": 10, "mailru": 1})


def test_without_plans_only_the_limits_take_time() -> None:
    limits = {"gmail": Limits(per_minute=100), EACH: Limits(per_hour=500)}
    found = forecast({"gmail": 301, "yandex": 1000}, {}, limits, on=DAY)
    assert found == Forecast(1, 7200.0, "", {"gmail": 1, "yandex": 1})
    assert forecast({"gmail": 301}, {}, limits, on=DAY).seconds == 180
    assert forecast({}, {}, limits, on=DAY) == Forecast(0, 0.0, "", {})
