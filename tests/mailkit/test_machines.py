"""People told from machines, on a trace of both and on invented ones."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.agents import device_of
from mailkit.machines import (
    APPLE,
    BURST,
    EARLY,
    GMAIL,
    HONEYPOT,
    SCANNER,
    Hit,
    classify,
    is_image_proxy,
)

TRACE = Path(__file__).parent.parent / "golden" / "opens_and_clicks.csv"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"
PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
HERE, THERE = "198.51.100.7", "203.0.113.5"


def labelled() -> dict[str, list[tuple[Hit, bool]]]:
    """(request, whether a machine made it) by letter, handed over at 0; in no order."""
    found = defaultdict(list)
    with TRACE.open(newline="") as file:
        for row in csv.DictReader(file):
            link = int(row["link"]) if row["link"] else None
            hit = Hit(float(row["seconds"]), link, row["agent"], row["address"])
            found[row["letter"]].append((hit, row["who"] == "machine"))
    return found


def test_precision_and_recall_on_the_labelled_trace() -> None:
    letters = labelled()
    assert sum(map(len, letters.values())) >= 300
    told: list[tuple[bool, bool]] = []
    wrong = []
    for events in letters.values():
        codes = classify([hit for hit, _machine in events], 0.0)
        for (hit, machine), code in zip(events, codes, strict=True):
            told.append((machine, bool(code)))
            if machine != bool(code):
                wrong.append((hit, code))
    right = sum(machine and code for machine, code in told)
    precision = right / sum(code for _machine, code in told)
    recall = right / sum(machine for machine, _code in told)
    assert precision >= 0.95, (precision, wrong)
    assert recall >= 0.95, (recall, wrong)


def test_the_order_of_arrival_does_not_matter_on_the_trace() -> None:
    dice = random.Random(7)
    for events in labelled().values():
        hits = [hit for hit, _machine in events]
        codes = dict(zip(hits, classify(hits, 0.0), strict=True))
        for _ in range(5):
            dice.shuffle(hits)
            assert dict(zip(hits, classify(hits, 0.0), strict=True)) == codes


HITS = st.lists(
    st.builds(
        Hit,
        at=st.integers(-1200, 3000).map(lambda tenths: tenths / 10),
        link=st.sampled_from([None, 0, 1, 2, 3, 4]),
        agent=st.sampled_from(
            [FIREFOX, CHROME, PROXY, PREFETCH, YAHOO, "Mozilla/5.0", "curl/8", ""]
        ),
        address=st.sampled_from([HERE, THERE, "209.222.80.1", "", "no address"]),
    ),
    unique=True,
    max_size=12,
)
HANDED_OVER = st.sampled_from([None, 0.0, 30.0])


@given(HITS, HANDED_OVER, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    hits: list[Hit], handed_over: float | None, dice: random.Random
) -> None:
    codes = dict(zip(hits, classify(hits, handed_over), strict=True))
    shuffled = dice.sample(hits, len(hits))
    assert dict(zip(shuffled, classify(shuffled, handed_over), strict=True)) == codes


@given(HITS, HANDED_OVER)
def test_more_evidence_makes_nobody_a_person(hits: list[Hit], handed_over: float | None) -> None:
    for number in range(len(hits)):
        before = classify(hits[:number], handed_over)
        after = classify(hits, handed_over)[:number]
        assert all(later for code, later in zip(before, after, strict=True) if code)


@pytest.mark.parametrize(
    ("hit", "code"),
    [
        (Hit(60, None, FIREFOX, HERE), ""),
        (Hit(60, 1, FIREFOX, HERE), ""),
        (Hit(4.9, None, FIREFOX, HERE), EARLY),
        (Hit(-3, 1, FIREFOX, HERE), EARLY),
        (Hit(-61, 1, FIREFOX, HERE), ""),  # of an earlier hand-over
        (Hit(60, 0, FIREFOX, HERE), HONEYPOT),
        (Hit(60, None, "Mozilla/5.0", HERE), APPLE),
        (Hit(60, 1, "Mozilla/5.0", HERE), SCANNER),
        (Hit(60, None, PROXY, HERE), ""),
        (Hit(2, None, PROXY, HERE), GMAIL),
        (Hit(60, None, PREFETCH, HERE), GMAIL),
        (Hit(60, None, YAHOO, HERE), ""),
        (Hit(2, None, YAHOO, HERE), EARLY),
        (Hit(60, None, "", HERE), SCANNER),
        (Hit(60, 1, "python-requests/2.32", HERE), SCANNER),
        (Hit(60, 1, FIREFOX, "67.231.150.1"), SCANNER),
        (Hit(60, 1, FIREFOX, "::ffff:1.2.3.4"), ""),
        (Hit(60, 1, "Mozilla/5.0 (Linux; Android 13; CUBOT P80) Mobile Safari/537.36", HERE), ""),
    ],
)
def test_one_request_by_itself(hit: Hit, code: str) -> None:
    assert classify([hit], 0.0) == [code]


def test_without_a_hand_over_nothing_is_early() -> None:
    assert classify([Hit(1, None, FIREFOX, HERE)], None) == [""]


def test_links_followed_faster_than_a_person_does() -> None:
    two = [Hit(100, 1, FIREFOX, HERE), Hit(100.9, 2, CHROME, THERE)]
    assert classify(two, 0.0) == [BURST, BURST]
    assert classify([two[0], Hit(101.1, 2, CHROME, THERE)], 0.0) == ["", ""]
    assert classify([two[0], Hit(100.1, 1, FIREFOX, HERE)], 0.0) == ["", ""]  # a double click
    tabs = [Hit(100 + 3 * n, n, FIREFOX, HERE) for n in range(1, 4)]
    assert classify(tabs, 0.0) == ["", "", ""]
    assert classify([*tabs, Hit(101, 4, FIREFOX, HERE)], 0.0) == [BURST] * 4


def test_the_hidden_link_marks_that_minute_and_address() -> None:
    hits = [
        Hit(1000, None, CHROME, THERE),
        Hit(1050, 0, FIREFOX, THERE),
        Hit(1109, 1, CHROME, THERE),
        Hit(1111, 2, CHROME, THERE),
        Hit(1055, 3, CHROME, HERE),
        Hit(1060, None, PROXY, THERE),
    ]
    assert classify(hits, 0.0) == [HONEYPOT, HONEYPOT, HONEYPOT, "", "", ""]


def test_other_evidence_marks_the_same_agent_alone() -> None:
    hits = [Hit(3, 1, CHROME, HERE), Hit(40, None, CHROME, HERE), Hit(41, None, FIREFOX, HERE)]
    assert classify(hits, 0.0) == [EARLY, EARLY, ""]


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (CHROME, "desktop"),
        (FIREFOX, "desktop"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148", "phone"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/141.0 Mobile Safari/537.36", "phone"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X710) Chrome/141.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) Mobile/15E148", "tablet"),
        ("Mozilla/5.0", ""),
        (PROXY, ""),
        (YAHOO, ""),
        ("curl/8.5.0", ""),
        ("", ""),
    ],
)
def test_devices(agent: str, device: str) -> None:
    assert device_of(agent) == device


def test_proxies_say_nothing_of_the_person() -> None:
    assert all(map(is_image_proxy, (PROXY, PREFETCH, YAHOO, "Mozilla/5.0")))
    assert not is_image_proxy(FIREFOX)
