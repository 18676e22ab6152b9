"""Whether letters pass, asked of a DNS server on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mailkit.authentication import Authentication, Key, Sender, check_sender, findings
from mailkit.preflight import Finding
from tests.mailkit.verify.dns_server import Scripted, dns_server, resolver_of

Records = dict[tuple[str, str], Scripted]
RSA = Key("example.com", "one", "rsa-sha256", "v=DKIM1; k=rsa; p=QUJD", True)
ED = Key("example.com", "two", "ed25519-sha256", "v=DKIM1; k=ed25519; p=REVG", True)
SENDER = Sender("example.com", "bounces.example.com", ("mx.example.net",), (RSA, ED))
GOOD: Records = {
    ("bounces.example.com", "TXT"): ['"v=spf1 a:mx.example.net -all"', '"something else"'],
    ("mx.example.net", "A"): ["9.9.9.9"],
    ("one._domainkey.example.com", "TXT"): ['"v=DKIM1; k=rsa; " "p=QUJD"'],
    ("two._domainkey.example.com", "TXT"): ['"v=DKIM1; k=ed25519; p=REVG"'],
    ("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=reject; sp=none"'],
}


def look(sender: Sender = SENDER, **changes: Scripted | None) -> Authentication:
    """`changes`: texts by the first label of the name, None for none."""
    zone = dict(GOOD)
    for label, scripted in changes.items():
        (key,) = [key for key in zone if key[0].startswith(label) and key[1] == "TXT"]
        del zone[key]
        if scripted is not None:
            zone[key] = scripted
    return asked(sender, zone)


def asked(sender: Sender, zone: Records) -> Authentication:
    async def main() -> Authentication:
        async with dns_server(zone) as server:
            return await check_sender(sender, resolver_of(server))

    return asyncio.run(main())


def codes(found: Authentication, *, bulk: bool = False) -> dict[str, str]:
    return {one.code: one.level for one in findings(found, bulk=bulk)}


def only(found: Authentication, *, bulk: bool = False) -> Finding:
    (one,) = findings(found, bulk=bulk)
    return one


def test_all_is_well() -> None:
    found = look()
    assert (found.spf.state, found.dkim.state, found.dmarc.state) == ("named", "found", "valid")
    assert found.spf.aligned
    assert found.dkim.aligned
    assert found.passes
    assert found.dmarc.policy == "reject"
    assert codes(found, bulk=True) == {}
    assert Authentication.of_json(found.as_json()) == found
    assert Authentication.of_json({}) is None
    assert Authentication.of_json(found.as_json() | {"spf": {"seen": "yes"}}) is None


def test_without_spf_one_of_two_is_left() -> None:
    found = look(bounces=None)
    one = only(found)
    assert (one.code, one.level) == ("no_spf", "advisory")
    assert one.record == ("bounces.example.com", "v=spf1 a:mx.example.net ~all")
    assert codes(found, bulk=True) == {"no_spf": "blocking"}


def test_with_neither_nobody_takes_it() -> None:
    found = look(replace(SENDER, keys=()), bounces=None)
    assert codes(found) == {"no_spf": "blocking", "unsigned": "blocking", "dmarc_fails": "blocking"}
    assert not found.may_pass


@pytest.mark.parametrize(
    ("records", "code", "value"),
    [
        (
            ['"v=spf1 mx -all"', '"v=spf1 ip4:1.2.3.4 ~all"'],
            "spf_many",
            "v=spf1 mx ip4:1.2.3.4 a:mx.example.net -all",
        ),
        (
            ['"v=spf1 a:mx.example.net ip:1.2.3.4 -all"'],
            "spf_broken",
            "v=spf1 a:mx.example.net -all",
        ),
        (['"v=spf1 ' + "include:bounces.example.com " + '-all"'], "spf_lookups", ""),
        (['"v=spf1 include:nowhere.example -all"'], "spf_broken", ""),
    ],
)
def test_spf_that_nobody_can_use(records: list[str], code: str, value: str) -> None:
    found = look(bounces=records)
    one = only(found)
    assert (one.code, one.level, one.record[1]) == (code, "advisory", value)
    assert codes(found, bulk=True) == {code: "blocking"}
    assert found.passes  # by DKIM


def test_a_relay_that_is_not_named_is_advice() -> None:
    one = only(look(bounces=['"v=spf1 ip4:9.9.9.8 -all"']), bulk=True)
    assert (one.code, one.level, one.words) == ("spf_relay", "advisory", ("mx.example.net",))
    assert one.record[1] == "v=spf1 ip4:9.9.9.8 a:mx.example.net -all"
    found = look(replace(SENDER, keys=()), bounces=['"v=spf1 ip4:9.9.9.8 -all"'])
    assert codes(found)["dmarc_fails"] == "advisory"  # it may pass, for all that is known


def test_services_send_from_what_their_record_names() -> None:
    sender = replace(SENDER, hosts=("email-smtp.eu-west-1.amazonaws.com",))
    named = dict(GOOD)
    named["bounces.example.com", "TXT"] = ['"v=spf1 include:amazonses.com ~all"']
    named["amazonses.com", "TXT"] = ['"v=spf1 ip4:199.255.192.0/22 -all"']
    assert asked(sender, named).spf.state == "named"
    one = only(look(sender))
    assert one.code == "spf_relay"
    assert "include:amazonses.com" in one.record[1]


@pytest.mark.parametrize("host", ["10.0.0.5", "127.0.0.1", "nowhere.example"])
def test_of_a_relay_inside_nothing_is_known(host: str) -> None:
    found = look(replace(SENDER, hosts=(host,)))
    assert found.spf.state == "present"
    assert codes(found) == {}
    assert look(replace(SENDER, hosts=())).spf.state == "present"


def test_a_return_path_elsewhere_does_not_count() -> None:
    zone = {**GOOD, ("returns.example.org", "TXT"): ['"v=spf1 +all"']}
    sender = replace(SENDER, envelope="returns.example.org")
    found = asked(sender, zone)
    assert codes(found) == {"spf_unaligned": "advisory"}
    assert found.passes
    failing = asked(replace(sender, keys=()), zone)
    assert codes(failing)["dmarc_fails"] == "blocking"
    mild = asked(
        replace(sender, keys=()), {**zone, ("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=none"']}
    )
    assert codes(mild)["dmarc_fails"] == "advisory"
    assert codes(mild, bulk=True)["dmarc_fails"] == "blocking"


def test_strict_records_ask_for_the_same_domain() -> None:
    found = look(_dmarc=['"v=DMARC1; p=none; aspf=s; adkim=s"'])
    assert not found.spf.aligned
    assert found.dkim.aligned
    below = replace(SENDER, domain="news.example.com")
    strict = look(below, _dmarc=['"v=DMARC1; p=reject; sp=quarantine; aspf=s; adkim=s"'])
    assert (strict.dmarc.domain, strict.dmarc.policy) == ("example.com", "quarantine")
    assert codes(strict) == {
        "spf_unaligned": "advisory",
        "dkim_unaligned": "advisory",
        "dmarc_fails": "blocking",
    }


@pytest.mark.parametrize(
    ("published", "state"),
    [(None, "missing"), (['"v=DKIM1; k=rsa; p=eHl6"'], "missing"), ("SERVFAIL", "silent")],
)
def test_keys_that_are_not_ours(published: Scripted | None, state: str) -> None:
    found = look(one=published)
    assert found.dkim.state == state
    one = only(found)
    if state == "silent":
        assert (one.code, one.words) == ("dns_silent", ("DKIM",))
        return
    assert (one.code, one.level) == ("dkim_missing", "advisory")
    assert one.record == ("one._domainkey.example.com", RSA.record)


def test_ed25519_alone_is_not_enough_and_what_waits_does_not_sign() -> None:
    found = look(replace(SENDER, keys=(replace(RSA, signs=False), ED)), one=None)
    assert found.dkim.state == "missing"
    waiting = look(replace(SENDER, keys=(replace(RSA, signs=False),)), one=None)
    one = only(waiting)
    assert one.code == "unsigned"
    assert one.record == ("one._domainkey.example.com", RSA.record)


@pytest.mark.parametrize(
    ("records", "state", "code"),
    [
        (None, "none", "no_dmarc"),
        (['"v=DMARC2; p=none"'], "none", "no_dmarc"),
        (['"v=DMARC1; p=none"', '"v=DMARC1; p=reject"'], "broken", "dmarc_broken"),
        (['"v=DMARC1; p=nothing"'], "broken", "dmarc_broken"),
    ],
)
def test_a_policy_that_is_none(records: Scripted | None, state: str, code: str) -> None:
    found = look(_dmarc=records)
    assert found.dmarc.state == state
    one = only(found)
    assert (one.code, one.level) == (code, "advisory")
    assert one.record == ("_dmarc.example.com", "v=DMARC1; p=none")
    assert codes(found, bulk=True) == {code: "blocking"}


def test_no_answer_is_no_verdict() -> None:
    found = look(bounces="silence", one="silence", two="silence", _dmarc="SERVFAIL")
    one = only(found, bulk=True)
    assert (one.code, one.level, one.words) == ("dns_silent", "advisory", ("SPF", "DKIM", "DMARC"))
    assert found.may_pass
    assert not found.passes


@pytest.mark.parametrize("domain", ["a..b", "x" * 70 + ".com", "é.example", "."])
def test_names_that_are_none(domain: str) -> None:
    found = look(replace(SENDER, domain=domain, envelope=domain, hosts=(domain,)))
    assert found.spf.state == "none"
