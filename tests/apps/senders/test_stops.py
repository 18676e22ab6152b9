from __future__ import annotations

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from apps.senders.models import SendingPolicy
from apps.senders.stops import BLOCKS, Stop, explain, verdict

POLICY = SendingPolicy(
    hard_bounce_percent=8.0, block_percent=10.0, complaint_percent=0.3, least_sample=200
)


def test_too_many_bounces_stop_the_provider_alone() -> None:
    counts = {
        ("gmail", "sent", ""): 180,
        ("gmail", "failed", "mailbox"): 20,
        ("yandex", "sent", ""): 1000,
        ("yandex", "queued", ""): 5000,
        ("gmail", "queued", ""): 5000,
    }
    assert verdict(counts, POLICY) == [Stop("gmail", "bounces", 20, 200, 8.0)]


@pytest.mark.parametrize("fault", sorted(BLOCKS))
def test_blocks(fault: str) -> None:
    counts = {("gmail", "failed", fault): 21, ("gmail", "sent", ""): 189, ("x", "queued", ""): 1}
    assert verdict(counts, POLICY) == []
    counts["gmail", "failed", fault] = 22
    assert [stop.code for stop in verdict(counts, POLICY)] == ["blocks"]


def test_complaints() -> None:
    counts = {("gmail", "sent", ""): 1000, ("gmail", "complained", ""): 3, ("x", "queued", ""): 1}
    assert verdict(counts, POLICY) == []
    counts["gmail", "complained", ""] = 4
    assert verdict(counts, POLICY) == [Stop("gmail", "complaints", 4, 1000, 0.3)]


def test_nothing_is_said_of_too_few_letters() -> None:
    assert verdict({("gmail", "failed", "mailbox"): 199}, POLICY) == []
    # Letters that wait, are unknown or were left out are no answers.
    counts = {("gmail", "failed", "mailbox"): 199, ("gmail", "deferred", "spam"): 500}
    assert verdict(counts, POLICY) == []


def test_small_providers_together_stop_the_whole() -> None:
    counts = {(f"p{n}", "failed", "mailbox"): 20 for n in range(20)}
    counts |= {(f"p{n}", "sent", ""): 50 for n in range(20)}
    assert verdict(counts, POLICY) == [Stop("", "bounces", 400, 1400, 8.0)]


def test_the_whole_stops_where_nobody_is_left_to_go_on() -> None:
    counts = {
        ("gmail", "failed", "spam"): 300,
        ("gmail", "deferred", ""): 10,
        ("yandex", "sent", ""): 300,
    }
    assert verdict(counts, POLICY) == [Stop("", "blocks", 300, 300, 10.0)]


def test_who_goes_on_all_the_same_is_not_stopped_by_the_same_letters() -> None:
    before = {("gmail", "failed", "mailbox"): 100, ("gmail", "sent", ""): 200}
    assert verdict(before, POLICY, since=before) == []
    after = {("gmail", "failed", "mailbox"): 110, ("gmail", "sent", ""): 500}
    assert verdict(after, POLICY, since=before) == []
    after["gmail", "failed", "mailbox"] = 140
    assert verdict(after, POLICY, since=before) == [Stop("", "bounces", 40, 340, 8.0)]


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["gmail", "yandex", "other"]),
            st.sampled_from(["queued", "sent", "failed", "deferred", "unknown", "complained"]),
            st.sampled_from(["", "mailbox", "spam", "full", "rate"]),
        ),
        st.integers(0, 1000),
    )
)
def test_a_stop_is_always_of_a_sample_and_above_its_limit(
    counts: dict[tuple[str, str, str], int],
) -> None:
    stops = verdict(counts, POLICY)
    for stop in stops:
        assert stop.answered >= POLICY.least_sample
        assert stop.percent > stop.limit
        assert explain(stop.stored()) != stop.stored()
    assert len({stop.provider for stop in stops}) == len(stops)
    assert "" not in {stop.provider for stop in stops} or len(stops) == 1


def test_the_owner_reads_why() -> None:
    stored = Stop("gmail", "blocks", 1234, 5678, 10.0).stored()
    assert len(stored) <= 300
    with translation.override("en"):
        others = explain(Stop("other", "bounces", 30, 300, 8.0).stored())
        assert others.startswith("All others: 10.0 % of the addresses do not exist")
        assert explain(stored) == (
            "Gmail: 21.7 % of the letters were blocked (1,234 of 5,678; your limit is 10.0 %). "
            "Look at the replies in the report."
        )
        whole = Stop("", "complaints", 4, 1000, 0.3).stored()
        assert explain(whole).startswith("0.4 % of the recipients complained")
    assert explain("stopped by hand") == "stopped by hand"
    assert explain("{}") == "{}"
    assert explain("[1]") == "[1]"
