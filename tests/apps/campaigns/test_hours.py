from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from apps.campaigns.hours import opens_at

ZONES = [
    "UTC",
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # its clocks change at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Chatham",
]


def is_open(moment: datetime, zone: str, hours_from: int, hours_until: int) -> bool:
    return hours_from <= moment.astimezone(ZoneInfo(zone)).hour < hours_until


@given(
    now=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(ZONES),
    hours=st.tuples(st.integers(0, 23), st.integers(1, 24)),
)
@example(datetime(2026, 3, 8, 6, 30, tzinfo=UTC), "America/New_York", (2, 3))
@example(datetime(2026, 3, 8, 6, 30, tzinfo=UTC), "America/New_York", (2, 5))
@example(datetime(2026, 11, 1, 5, 30, tzinfo=UTC), "America/New_York", (1, 2))
@example(datetime(2026, 11, 1, 6, 30, tzinfo=UTC), "America/New_York", (1, 2))
@example(datetime(2026, 3, 8, 4, 30, tzinfo=UTC), "America/Havana", (0, 1))
def test_it_opens_at_the_next_moment_within_the_hours(
    now: datetime, zone: str, hours: tuple[int, int]
) -> None:
    hours_from, hours_until = hours
    assume(hours_from < hours_until)
    opening = opens_at(now, zone, hours_from, hours_until)
    if is_open(now, zone, hours_from, hours_until):
        assert opening is None
        return
    assert opening is not None
    assert now < opening <= now + timedelta(hours=25)
    local = opening.astimezone(ZoneInfo(zone))
    # Where clocks are put forward over the first of the hours they begin with the next one.
    assert local.hour == hours_from or (local.utcoffset() != (local - timedelta(1)).utcoffset())
    step = now + timedelta(minutes=15)
    while step < opening:
        assert not is_open(step, zone, hours_from, hours_until)
        step += timedelta(minutes=15)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/UTC", "\0", "x" * 9999])
def test_an_unknown_zone_is_the_other_one(zone: str) -> None:
    now = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
    assert opens_at(now, zone, 7, 22) == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert opens_at(now, zone, 7, 22, otherwise="Europe/Moscow") is None
    assert opens_at(now, zone, 7, 22, otherwise="Mars/Olympus") is not None


def test_hours_are_those_of_the_zones_own_day() -> None:
    # Half past ten in the evening in Moscow: until nine tomorrow.
    now = datetime(2026, 7, 1, 19, 30, tzinfo=UTC)
    assert opens_at(now, "Europe/Moscow", 9, 21) == datetime(2026, 7, 2, 6, tzinfo=UTC)
    assert opens_at(now, "America/New_York", 9, 21) is None
