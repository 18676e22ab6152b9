from __future__ import annotations

import asyncio

import pytest

from mailkit.verify.dns import lookup_txt
from tests.mailkit.verify.dns_server import Zone, dns_server, resolver_of

NAME = "s._domainkey.example.com"


def look_up(zone: Zone, name: str = NAME) -> tuple[str, ...] | None:
    async def run() -> tuple[str, ...] | None:
        async with dns_server(zone) as server:
            return await lookup_txt(name, resolver_of(server))

    return asyncio.run(run())


def test_the_strings_of_a_record_are_joined():
    text = "v=DKIM1; p=" + "A" * 390
    assert look_up({(NAME, "TXT"): [f'"{text[:255]}" "{text[255:]}"']}) == (text,)


def test_every_record_counts():
    found = look_up({(NAME, "TXT"): ['"one"', '"two"']})
    assert found is not None
    assert sorted(found) == ["one", "two"]


def test_an_alias_is_followed():
    other = "key.example.net"
    assert look_up({(NAME, "CNAME"): [other + "."], (other, "TXT"): ['"one"']}) == ("one",)


def test_octets_that_are_no_text_are_no_error():
    assert look_up({(NAME, "TXT"): ['"\\255"']}) == ("�",)


@pytest.mark.parametrize("zone", [{}, {(NAME, "A"): ["192.0.2.1"]}], ids=["nxdomain", "no data"])
def test_no_record(zone: Zone):
    assert look_up(zone) == ()


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example", ".".join(["a" * 60] * 5)])
def test_a_name_that_the_dns_cannot_hold_has_no_record(name: str):
    assert look_up({}, name) == ()


@pytest.mark.parametrize("answer", ["silence", "garbage", "SERVFAIL", "REFUSED"])
def test_without_an_answer_nothing_is_known(answer: str):
    assert look_up({(NAME, "TXT"): answer}) is None
