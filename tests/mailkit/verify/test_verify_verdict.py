from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.addresses import Address, Fault, FaultCode, parse_address
from mailkit.smtp.outcomes import BreakCode, Stage
from mailkit.verify import (
    REASONS,
    DomainFacts,
    DomainStatus,
    Evidence,
    ProbeResult,
    Reason,
    Verdict,
    decide,
    is_role_account,
    retry_after,
)
from mailkit.verify.probe import ProbeError

ANN = Address("ann", "example.com")
MX = DomainFacts("example.com", "mx", ("mx.example.com",))
RETRIED = ("greylisted", "temporary_failure", "timeout", "servfail", "connection_failed")


def result(
    code: int | None = None,
    text: str = "",
    *,
    enhanced: str | None = None,
    stage: Stage = "rcpt",
    catch_all: bool | None = False,
    error: ProbeError | None = None,
) -> ProbeResult:
    return ProbeResult(ANN.email, code, enhanced, text, stage, "mx.example.com", catch_all, error)


def test_a_mailbox_that_exists_with_its_evidence():
    assert decide(ANN, MX, result(250, "2.1.5\n ok\x00"), "full") == Verdict(
        "valid", "mailbox_exists", Evidence("mx.example.com", 250, "2.1.5 ok?")
    )


def test_a_fault_is_bad_syntax():
    fault = parse_address("not an address")
    assert isinstance(fault, Fault)
    verdict = decide(fault, None, None, "full")
    assert (verdict.verdict, verdict.reason) == ("invalid", "bad_syntax")
    assert verdict.evidence == Evidence(text=fault.code)


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        ("nxdomain", "invalid", "no_mx"),
        ("no_mx", "invalid", "no_mx"),
        ("null_mx", "invalid", "null_mx"),
        ("bad_mx", "invalid", "bad_mx"),
        ("servfail", "unknown", "servfail"),
        ("timeout", "unknown", "timeout"),
        ("mx", "unknown", "not_probed"),
        ("implicit_mx", "unknown", "not_probed"),
    ],
)
def test_what_the_domain_says_alone(status, verdict, reason, level):
    decided = decide(ANN, DomainFacts("example.com", status), None, level)
    assert (decided.verdict, decided.reason) == (verdict, reason)


def test_without_asking_anyone_nothing_is_known():
    assert decide(ANN, None, None, "full") == Verdict("unknown", "not_probed", Evidence())


def test_the_quick_level_passes_a_probe_over():
    assert decide(ANN, MX, result(550, "User unknown"), "quick").reason == "not_probed"


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (result(250, catch_all=True), "catch_all"),
        (result(250, catch_all=None), "catch_all_unknown"),
        (result(550, "5.1.1 gone", enhanced="5.1.1", catch_all=True), "mailbox_not_found"),
        (result(550, "5.1.1 gone", enhanced="5.1.1", stage="mail"), "probe_blocked"),
        (result(554, "User unknown", stage="banner"), "probe_blocked"),
        (result(421, "greylisted", stage="banner"), "greylisted"),
        (result(error="timeout"), "timeout"),
        (result(error="closed"), "connection_failed"),
        (result(error="unsendable"), "not_probed"),
        (result(), "connection_failed"),
    ],
)
def test_what_the_probe_says(probe, reason):
    assert decide(ANN, MX, probe, "full").reason == reason


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (result(250), "role"),
        (result(250, catch_all=True), "catch_all"),
        (result(550, "User unknown"), "mailbox_not_found"),
        (result(450), "temporary_failure"),
    ],
)
def test_a_role_account_is_told_only_of_a_mailbox_that_exists(probe, reason):
    assert decide(Address("info", "example.com"), MX, probe, "full").reason == reason


@pytest.mark.parametrize(
    ("local", "role"),
    [
        ("info", True), ("Sales", True), ("support+x", True), ("no-reply", True),
        ("ann", False), ("salesman", False), ("info.ann", False), ("", False), ("+info", False),
    ],
)  # fmt: skip
def test_role_accounts(local, role):
    assert is_role_account(local) is role


def test_evidence_is_one_printable_line_of_bounded_length():
    text = decide(
        ANN, MX, result(550, "a\r\nb\t\u2028\x1b[2J\u202e" + "x" * 5000), "full"
    ).evidence.text
    assert text.startswith("a b ?[2J?xx")
    assert text.isprintable()
    assert len(text) == 500


FAULTS = st.sampled_from(get_args(FaultCode)).map(Fault)
ADDRESSES = st.sampled_from([ANN, Address("info", "example.com")])
FACTS = st.none() | st.sampled_from(get_args(DomainStatus)).map(
    lambda status: DomainFacts("example.com", status)
)
WORDS = st.lists(
    st.sampled_from(["user unknown", "blocked", "full", "5.1.1", "over quota", "5.7.1", "policy"])
).map(" ".join)
PROBES = st.none() | st.builds(
    ProbeResult,
    email=st.just(ANN.email),
    code=st.none() | st.integers(200, 599),
    enhanced=st.none() | st.from_regex(r"[245]\.[0-7]\.[0-9]", fullmatch=True),
    text=st.text() | WORDS,
    stage=st.sampled_from(get_args(Stage)),
    host=st.none() | st.just("mx.example.com"),
    catch_all=st.none() | st.booleans(),
    error=st.none() | st.sampled_from([*get_args(BreakCode), "unsendable"]),
)
LEVELS = st.sampled_from(["quick", "full"])


@given(FAULTS | ADDRESSES, FACTS, PROBES, LEVELS)
def test_every_reason_is_in_the_table_with_its_verdict(address, facts, probe, level):
    decided = decide(address, facts, probe, level)
    assert REASONS[decided.reason] == decided.verdict
    assert decided.evidence.text.isprintable()


@given(FAULTS | ADDRESSES, FACTS, PROBES, LEVELS)
def test_only_proof_makes_an_address_invalid(address, facts, probe, level):
    if decide(address, facts, probe, level).verdict != "invalid":
        return
    bad_syntax = isinstance(address, Fault)
    no_mail = facts is not None and facts.status in ("nxdomain", "no_mx", "null_mx", "bad_mx")
    refused = (
        level == "full"
        and probe is not None
        and probe.error is None
        and probe.stage == "rcpt"
        and probe.code is not None
        and probe.code >= 500
        and not (probe.enhanced or "").startswith(("2.", "4.", "5.7."))
        and "blocked" not in probe.text
    )
    assert bad_syntax or no_mail or refused


@given(FAULTS | ADDRESSES, FACTS, PROBES, LEVELS)
def test_only_an_accepted_recipient_of_a_choosy_server_is_valid(address, facts, probe, level):
    if decide(address, facts, probe, level).verdict == "valid":
        assert probe is not None
        assert (probe.code, probe.catch_all, probe.error) in (
            (250, False, None),
            (251, False, None),
        )
        assert address == ANN


def test_the_table_has_every_reason():
    literals = get_args(Reason)
    assert set(REASONS) == set(literals)


@pytest.mark.parametrize("reason", get_args(Reason))
def test_retries(reason):
    delays = [retry_after(reason, attempt) for attempt in range(1, 7)]
    if reason in RETRIED:
        minutes = [None if d is None else d / timedelta(minutes=1) for d in delays]
        assert minutes == [5, 20, 60, 240, None, None]
    else:
        assert delays == [None] * 6


def test_only_the_unknown_is_retried():
    assert {REASONS[reason] for reason in REASONS if retry_after(reason, 1)} == {"unknown"}


def test_attempts_count_from_one():
    with pytest.raises(ValueError, match="from 1"):
        retry_after("timeout", 0)
