from __future__ import annotations

import pytest

from benchmarks import track


@pytest.mark.parametrize(
    ("ours", "nothing", "answered", "events", "line", "reached"),
    [
        (500, 1000, 70, 70, "ours 500 empty 1000 ratio 0.50 lost 0", True),
        (490, 1000, 70, 70, "ours 490 empty 1000 ratio 0.49 lost 0", False),
        (900, 1000, 70, 68, "ours 900 empty 1000 ratio 0.90 lost 2", False),
        (900, 1000, 70, 71, "ours 900 empty 1000 ratio 0.90 lost 0", False),
        (900, 0, 70, 70, "ours 900 empty 0 ratio 0.00 lost 0", False),
    ],
)
def test_what_is_judged(
    ours: float, nothing: float, answered: int, events: int, line: str, reached: bool
) -> None:
    said, bars = track.judge(ours, nothing, answered, events)
    assert said == f"bench-track: {line}"
    assert all(bars.values()) is reached
