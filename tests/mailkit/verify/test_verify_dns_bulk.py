"""Many questions over one socket: strange answers are left to the resolver."""

from __future__ import annotations

import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from mailkit.verify.dns_bulk import _mx_records, _question

QUESTION = _question("shop.example") or b""


def answer(*records: str, kind: str = "MX", rcode: int = 0) -> bytes:
    response = dns.message.make_response(dns.message.make_query("shop.example.", "MX"))
    response.set_rcode(rcode)  # type: ignore[arg-type]
    if records:
        response.answer = [dns.rrset.from_text("shop.example.", 60, "IN", kind, *records)]
    return response.to_wire()


def test_plain_answers_are_read():
    two = answer("10 MX1.shop.example.", "20 mx.other.example.")
    assert sorted(_mx_records(two, QUESTION) or []) == [
        (10, "mx1.shop.example"),
        (20, "mx.other.example"),
    ]
    assert _mx_records(answer("0 ."), QUESTION) == [(0, "")]
    assert _mx_records(answer(rcode=3), QUESTION) == []


def test_the_rest_is_left_to_the_resolver():
    assert _mx_records(answer(), QUESTION) is None
    assert _mx_records(answer(rcode=2), QUESTION) is None
    assert _mx_records(answer("other.example.", kind="CNAME"), QUESTION) is None


def test_names_that_the_dns_cannot_hold_are_not_asked():
    for name in ("", "a..b", "x" * 64 + ".example", "x." * 130 + "example", "тест.рф"):
        assert _question(name) is None


@given(st.binary(max_size=80), st.integers(12, 60), st.binary(max_size=60))
def test_no_answer_breaks_the_reading(noise, cut, more):
    whole = answer("10 mx1.shop.example.", "20 mx.other.example.")
    for data in (whole[:cut] + noise, whole[:12] + QUESTION + more, whole[:12] + noise):
        found = _mx_records(data, QUESTION)
        assert found is None or all(isinstance(host, str) for _preference, host in found)
