"""SPF by the examples of RFC 7208 and by whatever else stands in a TXT record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.spf import Fault, Record, Verdict, check_host, parse_record, records_of, with_terms


class Zone:
    """Answers from a table: (kind, name) to values; None is a server that gives no answer."""

    def __init__(self, table: Mapping[tuple[str, str], tuple[str, ...] | None]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def texts(self, name: str) -> tuple[str, ...] | None:
        self.asked.append(name)
        return self.table.get(("TXT", name), ())

    async def addresses(self, name: str, version: int) -> tuple[str, ...] | None:
        self.asked.append(name)
        return self.table.get(("A" if version == 4 else "AAAA", name), ())

    async def exchanges(self, name: str) -> tuple[str, ...] | None:
        self.asked.append(name)
        return self.table.get(("MX", name), ())


def check(
    record: str,
    address: str = "192.0.2.9",
    more: Mapping[tuple[str, str], tuple[str, ...] | None] | None = None,
    sender: str = "",
) -> Verdict:
    zone = Zone({("TXT", "example.com"): (record,), **(more or {})})
    return asyncio.run(check_host(address, "example.com", zone, sender=sender))


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("v=spf1", "192.0.2.9", "neutral"),
        ("v=spf1 +all", "192.0.2.9", "pass"),
        ("V=SPF1 -ALL", "192.0.2.9", "fail"),
        ("v=spf1  ~all ", "192.0.2.9", "softfail"),
        ("v=spf1 ip4:192.0.2.9 -all", "192.0.2.9", "pass"),
        ("v=spf1 ip4:192.0.2.0/28 -all", "192.0.2.9", "pass"),
        ("v=spf1 ip4:192.0.2.0/29 -all", "192.0.2.9", "fail"),
        ("v=spf1 ip4:192.0.2.9 -all", "2001:db8::9", "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::9", "pass"),
        ("v=spf1 -ip4:192.0.2.9 +all", "192.0.2.9", "fail"),
        ("v=spf1 a -all", "192.0.2.7", "pass"),
        ("v=spf1 a/24 -all", "192.0.2.250", "pass"),
        ("v=spf1 a//64 -all", "2001:db8::77", "pass"),
        ("v=spf1 a:other.example/32 -all", "192.0.2.7", "fail"),
        ("v=spf1 mx -all", "192.0.2.25", "pass"),
        ("v=spf1 mx:example.com/24 -all", "192.0.2.1", "pass"),
        ("v=spf1 include:spf.example -all", "198.51.100.1", "pass"),
        ("v=spf1 include:spf.example -all", "192.0.2.9", "fail"),
        ("v=spf1 redirect=spf.example", "198.51.100.1", "pass"),
        ("v=spf1 redirect=spf.example", "192.0.2.9", "softfail"),
        ("v=spf1 -all redirect=spf.example", "198.51.100.1", "fail"),
        ("v=spf1 exists:%{ir}.list.example -all", "192.0.2.9", "pass"),
        ("v=spf1 exists:%{l}.%{d2}.who.example -all", "192.0.2.9", "pass"),
        ("v=spf1 ptr ?all", "192.0.2.9", "neutral"),
        ("v=spf1 exp=why.%{d} unknown=%{d} -all", "192.0.2.9", "fail"),
    ],
)
def test_what_a_record_says_of_an_address(record: str, address: str, result: str) -> None:
    more = {
        ("A", "example.com"): ("192.0.2.7",),
        ("AAAA", "example.com"): ("2001:db8::7",),
        ("A", "other.example"): ("192.0.2.8",),
        ("MX", "example.com"): ("mx.example.com",),
        ("A", "mx.example.com"): ("192.0.2.25",),
        ("TXT", "spf.example"): ("other text", "v=spf1 ip4:198.51.100.0/24 ~all"),
        ("A", "9.2.0.192.list.example"): ("127.0.0.2",),
        ("A", "anna.example.com.who.example"): ("127.0.0.2",),
    }
    assert check(record, address, more, "anna@example.com").result == result


@pytest.mark.parametrize(
    "term",
    [
        *("all:x", "ip4", "ip4:", "ip4:2001:db8::1", "ip4:192.0.2.1/33", "ip4:192.0.2.999"),
        *("ip4:192.0.2.0/255.255.255.0", "ip6:192.0.2.1", "include", "include:", "exists", "a:"),
        *("a/33", "a//129", "a/", "mx/024", "include:no_dot", "a:example.123", "a:%{x}", "a:%"),
        *("a:%{d0}", "exists:%{c}.example", "v=spf1", "nonsense", "redirect=", "ip4:1.2.3.4 +"),
        *("include=x.example%", "redirect=a.example redirect=b.example", "é", "a:exámple.com"),
    ],
)
def test_terms_that_nobody_reads(term: str) -> None:
    found = parse_record(f"v=spf1 {term} -all")
    if term in ("v=spf1",):  # looks like a modifier that nobody knows
        assert isinstance(found, Record)
        return
    assert isinstance(found, Fault)
    assert found.term in term.split()
    verdict = check(f"v=spf1 {term} -all")
    assert (verdict.result, verdict.reason) == ("permerror", "syntax")


def test_nothing_several_and_no_answer() -> None:
    zone = Zone(
        {("TXT", "two.example"): ("v=spf1 -all", "v=spf1 +all"), ("TXT", "x.example"): None}
    )
    none = asyncio.run(check_host("192.0.2.1", "none.example", zone))
    assert none.result == "none"
    two = asyncio.run(check_host("192.0.2.1", "two.example", zone))
    assert (two.result, two.reason, two.about) == ("permerror", "many_records", "two.example")
    silent = asyncio.run(check_host("192.0.2.1", "x.example", zone))
    assert (silent.result, silent.reason) == ("temperror", "no_answer")
    for term in ("include:none.example", "redirect=none.example"):
        assert check(f"v=spf1 {term}").reason == "include_none"
    assert records_of(["v=spf10 x", "v=spf1", "V=SPF1 a", " v=spf1", "x"]) == ("v=spf1", "V=SPF1 a")


def test_ten_lookups_are_enough() -> None:
    more = {("A", f"h{n}.example"): ("198.51.100.1",) for n in range(11)}
    ten = " ".join(f"a:h{n}.example" for n in range(10))
    assert check(f"v=spf1 {ten} -all", more=more) == Verdict(
        "fail", lookups=10, included=("example.com",)
    )
    eleven = check(f"v=spf1 {ten} a:h10.example -all", more=more)
    assert (eleven.result, eleven.reason, eleven.about) == (
        "permerror",
        "too_many_lookups",
        "a:h10.example",
    )
    # Whoever is named before that passes.
    assert check(f"v=spf1 ip4:192.0.2.9 {ten} a:h10.example", more=more).result == "pass"
    # A record that includes itself comes to an end.
    assert check("v=spf1 include:example.com -all").reason == "too_many_lookups"


def test_names_that_lead_nowhere() -> None:
    assert check("v=spf1 a:x.example a:y.example -all").result == "fail"
    three = check("v=spf1 a:x.example a:y.example mx:z.example -all")
    assert (three.result, three.reason) == ("permerror", "void_lookups")
    many = {("MX", "example.com"): tuple(f"m{n}.example" for n in range(11))}
    assert check("v=spf1 mx -all", more=many).reason == "too_many_hosts"
    assert check("v=spf1 a:x.example", more={("A", "x.example"): None}).result == "temperror"


@pytest.mark.parametrize(
    ("texts", "wanted", "record"),
    [
        ((), ["a:mx.example"], "v=spf1 a:mx.example ~all"),
        (("google=x",), [], "v=spf1 ~all"),
        (("v=spf1 mx -all",), ["include:x.example"], "v=spf1 mx include:x.example -all"),
        (("v=spf1 +MX ?all",), ["mx"], "v=spf1 +MX ?all"),
        (("v=spf1 a -all", "v=spf1 a mx ~all"), [], "v=spf1 a mx -all"),
        (("v=spf1 ip4:x a -all",), [], "v=spf1 a -all"),
        (
            ("v=spf1 redirect=x.example",),
            ["a:y.example"],
            "v=spf1 include:x.example a:y.example ~all",
        ),
    ],
)
def test_one_record_that_names_all(texts: tuple[str, ...], wanted: list[str], record: str) -> None:
    assert with_terms(texts, wanted) == record
    assert isinstance(parse_record(record), Record)


_NAMES = ("example.com", "a.example", "b.example", "%{d}", "%{ir}.x.example", "c.example/24")
_TERMS = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "+", "-", "~", "?"]),
        st.sampled_from(["all", "a", "mx", "ptr", "include", "exists", "ip4", "ip6", "redirect="]),
        st.one_of(
            st.just(""),
            st.sampled_from(_NAMES).map(":{}".format),
            st.sampled_from([":192.0.2.0/24", ":2001:db8::/32", "/24", "//64", ":/", "/99"]),
        ),
    ),
    st.sampled_from(["redirect=b.example", "redirect=a.example", "exp=%{i}", "x=%{zz}"]),
    st.text(max_size=12),
)
_RECORDS = st.one_of(
    st.lists(_TERMS, max_size=8).map(lambda terms: " ".join(["v=spf1", *terms])), st.text()
)


@given(st.one_of(_RECORDS, st.text().map("v=spf1 {}".format)))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert isinstance(parse_record(text), Record | Fault)
    mended = with_terms([text], ["ip4:192.0.2.1"])
    assert isinstance(parse_record(mended), Record)
    assert records_of([mended]) == (mended,)


@given(
    st.dictionaries(
        st.sampled_from(["example.com", "a.example", "b.example"]),
        st.one_of(st.none(), st.lists(_RECORDS, max_size=2).map(tuple)),
    ),
    st.dictionaries(
        st.sampled_from(["example.com", "a.example", "b.example"]),
        st.one_of(st.none(), st.lists(st.sampled_from(["192.0.2.9", "192.0.2.1"])).map(tuple)),
    ),
    st.sampled_from(["192.0.2.9", "2001:db8::1"]),
    st.text(max_size=20),
)
def test_whatever_is_published_gives_a_verdict_within_the_limits(
    texts: dict[str, tuple[str, ...] | None],
    addresses: dict[str, tuple[str, ...] | None],
    address: str,
    sender: str,
) -> None:
    zone = Zone(
        {("TXT", name): found for name, found in texts.items()}
        | {("A", name): found for name, found in addresses.items()}
        | {("MX", name): ("a.example", "b.example") for name in addresses}
    )
    verdict = asyncio.run(check_host(address, "example.com", zone, sender=sender))
    assert verdict.lookups <= 11
    assert len(zone.asked) <= 1 + 11 * 11
    assert (verdict.reason != "") == (verdict.result in ("permerror", "temperror"))


def test_what_is_named_by_the_mended_record_passes() -> None:
    for before in ("v=spf1 -all", "v=spf1 mx:none.example ~all", "v=spf1 ip4:bad -all"):
        assert check(with_terms([before], ["ip4:192.0.2.9"])).result == "pass"
