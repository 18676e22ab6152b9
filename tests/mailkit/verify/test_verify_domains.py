"""What names say: slips of the keyboard, throw-away mailboxes, providers' rules and habits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.addresses import Address
from mailkit.providers import PROVIDERS
from mailkit.verify.dns import DomainFacts
from mailkit.verify.domains import (
    FREE,
    is_disposable,
    is_free_provider,
    suggest_domain,
    typo_trap,
)
from mailkit.verify.local_parts import breaks_provider_rule
from mailkit.verify.policy import NOT_PROBED, not_probed_because, pace_key, pace_of
from mailkit.verify.verdict import decide


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmial.com", "gmail.com"), ("gmail.con", "gmail.com"), ("gmailcom.com", None),
        ("hotmaill.com", "hotmail.com"), ("hotnail.com", "hotmail.com"),
        ("yandex.ri", "yandex.ru"), ("mail.tu", "mail.ru"), ("ramblerr.ru", "rambler.ru"),
        ("gmail.com", None), ("firm.example", None), ("mx.com", None), ("men.com", None),
        ("", None), (".", None),
    ],
)  # fmt: skip
def test_suggestions(typed, meant):
    assert suggest_domain(typed) == meant


@given(st.sampled_from(sorted(FREE)), st.data())
def test_one_slip_in_a_long_name_is_found(domain, data):
    at = data.draw(st.integers(0, len(domain) - 1))
    typed = domain[:at] + data.draw(st.sampled_from(["", "x", domain[at] * 2])) + domain[at + 1 :]
    meant = suggest_domain(typed)
    assert meant != typed
    if len(domain.partition(".")[0]) >= 5 and typed not in FREE:
        assert meant is not None


@given(st.text("abcdefghijklmnopqrstuvwxyz.-", max_size=60))
def test_only_large_providers_are_suggested(typed):
    assert (suggest_domain(typed) or "gmail.com") in FREE


def test_a_trap_is_nobodys_real_domain():
    for domain in FREE:
        assert typo_trap(domain) is None


def test_disposable_by_name_by_parent_and_by_mail_host():
    assert is_disposable("mailinator.com")
    assert is_disposable("a.mailinator.com")
    assert is_disposable("firm.example", ("mx1.mailinator.com",))
    assert not is_disposable("firm.example", ("mx1.firm.example",))
    assert not any(map(is_disposable, FREE))


def test_free_providers():
    assert is_free_provider("gmail.com")
    assert not is_free_provider("firm.example")


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("anna.petrova@gmail.com", True), ("a.n.n.a.p@gmail.com", True), ("anna@gmail.com", False),
        ("anna_petrova@gmail.com", False), ("anna.petrova+shop@gmail.com", True),
        ("a" * 30 + "@gmail.com", True), ("a" * 31 + "@gmail.com", False),
        ("anna_petrova@firm.example", True), ("1anna@hotmail.com", True),
        ("anna&co@outlook.com", False), ("anna_p@yahoo.com", True), ("anna-shop@yahoo.com", True),
        ("anna&p@yahoo.com", False), ("ab@mail.ru", True), ("anna&p@mail.ru", False),
        ("_anna._p@mail.ru", True), ("anna_p@mail.ru", True), ("a" * 32 + "@mail.ru", False),
        ("79161234567@yandex.ru", True), ("anna_p@yandex.ru", True), ("-anna@ya.ru", True),
        ("plinth-rubato.0c@icloud.com", True), ("ab@icloud.com", False),
        ("анна@gmail.com", False),
    ],
)  # fmt: skip
def test_providers_rules(email, kept):
    local, _, domain = email.rpartition("@")
    assert (breaks_provider_rule(local, domain) is None) is kept


def test_who_is_not_asked():
    assert set(NOT_PROBED) <= set(PROVIDERS)
    assert not_probed_because("yahoo", "yahoo.com")
    assert not_probed_because("gmail", "gmail.com") is None
    assert not_probed_because("microsoft", "hotmail.com")
    tenant = "firm-example.mail.protection.outlook.com"
    assert not_probed_because("microsoft", "firm.example", (tenant,)) is None
    consumer = "outlook-com.olc.protection.outlook.com"
    assert not_probed_because("microsoft", "own.example", (consumer,))


def test_paces():
    assert pace_key("gmail", ("aspmx.l.google.com",)) == "gmail"
    assert pace_key("other", ("mx1.hosting.example",)) == "hosting.example"
    assert pace_key("other", ()) == "other"
    for key in (*PROVIDERS, "hosting.example"):
        assert pace_of(key).connections >= 1
        assert pace_of(key).per_minute >= 1


@pytest.mark.parametrize(
    ("email", "facts", "level", "verdict", "reason", "suggestion"),
    [
        ("ann@yahoo.com", DomainFacts("yahoo.com", "mx", ("mta5.am0.yahoodns.net",)), "full",
         "unknown", "provider_not_probed", ""),
        ("ann@yahoo.com", DomainFacts("yahoo.com", "mx", ("mta5.am0.yahoodns.net",)), "quick",
         "unknown", "not_probed", ""),
        ("info@yahoo.com", DomainFacts("yahoo.com", "mx", ("mta5.am0.yahoodns.net",)), "full",
         "risky", "role", ""),
        ("ann@gmial.com", DomainFacts("gmial.com", "mx", ("mx.trap.example",)), "quick",
         "risky", "possible_typo", "gmail.com"),
        ("ann@gmakl.com", DomainFacts("gmakl.com", "mx", ("mx.gmakl.com",)), "quick",
         "unknown", "not_probed", ""),
        ("ann@gmakl.com", DomainFacts("gmakl.com", "nxdomain"), "quick",
         "invalid", "no_mx", "gmail.com"),
        ("ann@gmakl.com", DomainFacts("gmakl.com", "timeout"), "quick", "unknown", "timeout", ""),
        ("ann@mailinator.com", DomainFacts("mailinator.com", "mx", ("mx.m.example",)), "quick",
         "risky", "disposable", ""),
        ("a_b_c_d_e@gmail.com", None, "quick", "invalid", "bad_local_part", ""),
    ],
)  # fmt: skip
def test_verdicts_without_a_question(email, facts, level, verdict, reason, suggestion):
    decided = decide(Address(*email.split("@")), facts, None, level)
    assert (decided.verdict, decided.reason) == (verdict, reason)
    assert decided.evidence.suggestion == suggestion
