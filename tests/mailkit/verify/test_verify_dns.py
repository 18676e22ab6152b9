from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.verify.dns import (
    DomainFacts,
    lookup_domain,
    make_resolver,
    resolve_host,
)
from tests.mailkit.verify.dns_server import Zone, dns_server, resolver_of


def look_up(
    zone: Zone, domain: str = "example.com"
) -> tuple[DomainFacts, Counter[tuple[str, str]]]:
    async def run() -> tuple[DomainFacts, Counter[tuple[str, str]]]:
        async with dns_server(zone) as server:
            return await lookup_domain(domain, resolver_of(server)), server.questions

    return asyncio.run(run())


def test_mail_hosts_come_in_order_of_preference():
    facts, questions = look_up(
        {("example.com", "MX"): ["30 c.example.com.", "5 a.example.net.", "10 B.example.com."]}
    )
    assert facts == DomainFacts(
        "example.com", "mx", ("a.example.net", "b.example.com", "c.example.com")
    )
    assert questions == {("example.com", "MX"): 1}


def test_equal_preferences_keep_the_order_of_the_answer():
    zone = {("example.com", "MX"): ["10 z.example.com.", "10 a.example.com.", "5 m.example.com."]}
    assert look_up(zone)[0].hosts == ("m.example.com", "z.example.com", "a.example.com")


def test_a_host_named_twice_is_tried_once():
    zone = {("example.com", "MX"): ["10 a.example.com.", "20 A.example.com."]}
    assert look_up(zone)[0].hosts == ("a.example.com",)


def test_many_mail_hosts_fit_into_one_question():
    records = [f"{n} a-rather-long-host-name-{n:02}.mail.example.net." for n in range(20)]
    facts, questions = look_up({("example.com", "MX"): records})
    assert len(facts.hosts) == 20
    assert questions["example.com", "MX"] == 1


def test_null_mx_asks_for_no_address():
    facts, questions = look_up({("example.com", "MX"): ["0 ."], ("example.com", "A"): ["1.2.3.4"]})
    assert (facts.status, facts.hosts) == ("null_mx", ())
    assert questions == {("example.com", "MX"): 1}


def test_a_null_mx_beside_real_ones_is_passed_over():
    facts, _ = look_up({("example.com", "MX"): ["0 .", "10 mx.example.com."]})
    assert (facts.status, facts.hosts) == ("mx", ("mx.example.com",))


@pytest.mark.parametrize(
    "records", [["10 ."], ["10 192.0.2.1."], ["0 localhost."], [r"5 a\032b.example.com."]]
)
def test_mx_records_that_name_no_possible_host(records):
    # The A record must not be used: there are MX records (RFC 5321 section 5.1).
    zone = {("example.com", "MX"): records, ("example.com", "A"): ["192.0.2.1"]}
    facts, questions = look_up(zone)
    assert (facts.status, facts.hosts) == ("bad_mx", ())
    assert questions == {("example.com", "MX"): 1}


@pytest.mark.parametrize(("rdtype", "address"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
def test_without_mx_the_address_is_the_mail_host(rdtype, address):
    facts, questions = look_up({("example.com", rdtype): [address]})
    assert facts == DomainFacts("example.com", "implicit_mx", ("example.com",))
    assert questions["example.com", "MX"] == 1


def test_neither_mx_nor_address():
    facts, questions = look_up({("example.com", "TXT"): ["hello"]})
    assert (facts.status, facts.hosts) == ("no_mx", ())
    assert questions == {
        ("example.com", "MX"): 1,
        ("example.com", "A"): 1,
        ("example.com", "AAAA"): 1,
    }


def test_a_domain_that_does_not_exist():
    facts, questions = look_up({}, "nowhere.example")
    assert facts == DomainFacts("nowhere.example", "nxdomain")
    assert questions == {("nowhere.example", "MX"): 1}


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP"])
def test_a_failing_name_server_is_not_an_absent_domain(rcode):
    facts, questions = look_up({("example.com", "MX"): rcode, ("example.com", "A"): ["192.0.2.1"]})
    assert facts == DomainFacts("example.com", "servfail")
    assert questions == {("example.com", "MX"): 1}


def test_silence_is_a_timeout():
    assert look_up({("example.com", "MX"): "silence"})[0].status == "timeout"


def test_an_unreadable_answer_is_unknown():
    assert look_up({("example.com", "MX"): "garbage"})[0].status in ("servfail", "timeout")


@pytest.mark.parametrize(("trouble", "status"), [("SERVFAIL", "servfail"), ("silence", "timeout")])
@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
def test_an_open_address_question_never_proves_that_there_is_none(rdtype, trouble, status):
    facts, _ = look_up({("example.com", "TXT"): ["hello"], ("example.com", rdtype): trouble})
    assert facts.status == status


def test_an_unanswered_a_question_does_not_hide_the_aaaa():
    zone = {("example.com", "A"): "SERVFAIL", ("example.com", "AAAA"): ["2001:db8::1"]}
    assert look_up(zone)[0].status == "implicit_mx"


def test_aliases_are_followed():
    zone = {
        ("example.com", "CNAME"): ["real.example.net."],
        ("real.example.net", "MX"): ["10 mx.example.net."],
    }
    assert look_up(zone)[0] == DomainFacts("example.com", "mx", ("mx.example.net",))


def test_an_alias_to_nowhere_does_not_exist():
    assert look_up({("example.com", "CNAME"): ["gone.example.net."]})[0].status == "nxdomain"


def test_the_next_name_server_is_asked_when_one_fails():
    async def run() -> DomainFacts:
        async with (
            dns_server({("example.com", "MX"): "SERVFAIL"}) as bad,
            dns_server({("example.com", "MX"): ["10 mx.example.com."]}) as good,
        ):
            resolver = make_resolver([bad.address, good.address], timeout=1, lifetime=2)
            return await lookup_domain("example.com", resolver)

    assert asyncio.run(run()).status == "mx"


def test_a_lost_datagram_is_repeated():
    async def run() -> tuple[DomainFacts, int]:
        zone: dict[tuple[str, str], list[str] | str] = {("example.com", "MX"): "silence"}
        async with dns_server(zone) as server:
            resolver = make_resolver([server.address], timeout=0.1, lifetime=5)
            task = asyncio.create_task(lookup_domain("example.com", resolver))
            while not server.questions:
                await asyncio.sleep(0)
            zone["example.com", "MX"] = ["10 mx.example.com."]
            return await task, server.questions["example.com", "MX"]

    facts, asked = asyncio.run(run())
    assert facts.status == "mx"
    assert asked >= 2


@pytest.mark.parametrize("domain", ["a..example.com", "x" * 64 + ".com", ("a" * 60 + ".") * 5])
def test_a_name_that_cannot_be_in_the_dns_is_not_asked(domain):
    facts, questions = look_up({}, domain)
    assert facts == DomainFacts(domain, "nxdomain")
    assert not questions


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([".", "localhost.", "a.test.", "b.test."])),
        min_size=1,
        max_size=6,
    )
)
def test_hosts_are_sorted_usable_and_distinct(records):
    facts, questions = look_up({("example.com", "MX"): [f"{p} {host}" for p, host in records]})
    # A record set holds no duplicates, and keeps the place of the first.
    in_order = sorted(dict.fromkeys(records), key=lambda record: record[0])
    usable = [host.rstrip(".") for _, host in in_order if host in ("a.test.", "b.test.")]
    assert facts.hosts == tuple(dict.fromkeys(usable))
    assert facts.status == ("mx" if usable else "null_mx" if in_order == [(0, ".")] else "bad_mx")
    assert questions == {("example.com", "MX"): 1}


def resolve(zone: Zone, host: str = "mx.example.com") -> tuple[str, ...]:
    async def run() -> tuple[str, ...]:
        async with dns_server(zone) as server:
            return await resolve_host(host, resolver_of(server))

    return asyncio.run(run())


def test_host_addresses_ipv4_first():
    zone = {
        ("mx.example.com", "AAAA"): ["2001:db8::1"],
        ("mx.example.com", "A"): ["192.0.2.2", "192.0.2.1"],
    }
    assert resolve(zone) == ("192.0.2.2", "192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize("trouble", ["SERVFAIL", "silence"])
def test_one_family_without_an_answer_leaves_the_other(trouble):
    zone = {("mx.example.com", "A"): trouble, ("mx.example.com", "AAAA"): ["2001:db8::1"]}
    assert resolve(zone) == ("2001:db8::1",)


def test_a_host_without_an_address():
    assert resolve({}) == ()
    assert resolve({}, "a..b") == ()


def test_the_resolver_has_neither_search_list_nor_cache():
    resolver = make_resolver([("127.0.0.1", 5353)], timeout=1, lifetime=2)
    assert resolver.search == []
    assert resolver.cache is None
    assert (resolver.timeout, resolver.lifetime) == (1, 2)
