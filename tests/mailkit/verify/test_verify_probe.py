from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.addresses import Address
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.outcomes import Broken, Refused
from mailkit.smtp.session import Session
from mailkit.verify.dns import DomainFacts
from mailkit.verify.probe import ProbeResult, probe_domain
from mailkit.verify.verdict import decide
from tests.mailkit.verify.smtp_server import DROP, SILENCE, SmtpServer, smtp_server

EXISTS = "250 2.1.5 ok"
NO_USER = "550 5.1.1 User unknown"
PEOPLE = {f"{name}@example.com" for name in ("ann", "bob", "cat", "sales")}


def honest(email: str, _connection: int, _number: int) -> str:
    return EXISTS if email in PEOPLE else NO_USER


def probe(
    locals_: Sequence[str],
    *servers: SmtpServer | None,
    sender: str = "",
    limit: int = 20,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
) -> dict[str, ProbeResult]:
    """Probe local parts of example.com, whose mail hosts are these servers (None: not there)."""
    hosts = tuple(f"mx{number}.example.com" for number, _ in enumerate(servers, 1))

    async def run() -> dict[str, ProbeResult]:
        async with AsyncExitStack() as stack:
            ports = {}
            for host, server in zip(hosts, servers, strict=True):
                if server is None:
                    async with smtp_server(SmtpServer(honest)) as gone:
                        ports[host] = gone.port
                else:
                    ports[host] = (await stack.enter_async_context(smtp_server(server))).port

            async def connect(host: str) -> Session | Refused | Broken:
                endpoint = Endpoint("127.0.0.1", ports[host], "none", "probe.example.net")
                return await Session.open(endpoint, timeouts)

            return await probe_domain(
                DomainFacts("example.com", "mx", hosts),
                [Address(local, "example.com") for local in locals_],
                connect=connect,
                sender=sender,
                random_local=lambda: "made-up",
                limit_per_connection=limit,
            )

    results = asyncio.run(run())
    for server in servers:
        if server is not None:
            assert not any(line.upper().startswith(("DATA", "BDAT")) for line in server.commands)
    return results


def reasons(results: dict[str, ProbeResult]) -> dict[str, str]:
    facts = DomainFacts("example.com", "mx", ("mx1.example.com",))
    return {
        local: decide(Address(local, "example.com"), facts, result, "full").reason
        for local, result in ((email.partition("@")[0], r) for email, r in results.items())
    }


def test_several_addresses_on_one_connection():
    server = SmtpServer(honest)
    results = probe(["ann", "nobody", "bob", "sales"], server)
    assert results["ann@example.com"] == ProbeResult(
        "ann@example.com", 250, "2.1.5", "2.1.5 ok", "rcpt", "mx1.example.com", False, None
    )
    assert reasons(results) == {
        "ann": "mailbox_exists",
        "nobody": "mailbox_not_found",
        "bob": "mailbox_exists",
        "sales": "role",
    }
    assert server.connections == 1
    assert server.asked[0] == "made-up@example.com"
    assert server.commands[-1] == "QUIT"


def test_an_address_given_twice_is_asked_once():
    server = SmtpServer(honest)
    assert list(probe(["ann", "ann"], server)) == ["ann@example.com"]
    assert server.asked == ["made-up@example.com", "ann@example.com"]


@pytest.mark.parametrize("sender", ["", "probe@example.net"])
def test_the_sender_is_named(sender):
    server = SmtpServer(honest)
    probe(["ann"], server, sender=sender)
    assert f"MAIL FROM:<{sender}>" in server.commands


def test_a_catch_all_is_risky():
    results = probe(["ann", "nobody"], SmtpServer(lambda *_: EXISTS))
    assert {result.catch_all for result in results.values()} == {True}
    assert reasons(results) == {"ann": "catch_all", "nobody": "catch_all"}


@pytest.mark.parametrize(
    "reply",
    ["451 4.7.1 Greylisted", "452 4.2.2 Full", "550 5.7.1 Blocked by policy", "450 4.3.0 Busy"],
)
def test_a_failed_catch_all_check_leaves_it_open(reply):
    def rcpt(email: str, _connection: int, _number: int) -> str:
        return reply if email.startswith("made-up") else honest(email, 1, 1)

    results = probe(["ann", "nobody"], SmtpServer(rcpt))
    assert {result.catch_all for result in results.values()} == {None}
    assert reasons(results) == {"ann": "catch_all_unknown", "nobody": "mailbox_not_found"}


@pytest.mark.parametrize("reply", ["550 Sorry", "554 5.0.0 Error", "550 5.7.1 No such user!"])
def test_any_refusal_of_the_made_up_address_shows_that_not_all_are_accepted(reply):
    def rcpt(email: str, _connection: int, _number: int) -> str:
        return EXISTS if email in PEOPLE else reply

    assert reasons(probe(["ann"], SmtpServer(rcpt))) == {"ann": "mailbox_exists"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("552 5.2.2 Mailbox full", "mailbox_full"),
        ("451 4.7.1 Greylisted, come back later", "greylisted"),
        ("450 4.2.0 Busy", "temporary_failure"),
        ("550 5.7.1 Client host blocked using zen.spamhaus.org", "probe_blocked"),
        ("550-5.1.1 The account does not exist\n5.1.1 gone", "mailbox_not_found"),
        ("550 Nothing doing", "unclear_reply"),
        ("354 go ahead", "unclear_reply"),
    ],
)
def test_replies_to_rcpt(reply, reason):
    reply = reply.replace("550-", "550 ")
    assert reasons(probe(["ann", "bob"], SmtpServer(lambda *_: reply))) == {
        "ann": reason,
        "bob": reason,
    }


def at(number_of_rcpt: int, what: str, connections: int = 1) -> Callable[[str, int, int], str]:
    """An honest server that does `what` at one RCPT on each of the first `connections`."""

    def rcpt(email: str, connection: int, number: int) -> str:
        if number == number_of_rcpt and connection <= connections:
            return what
        return honest(email, connection, number)

    return rcpt


@pytest.mark.parametrize("number", [2, 3, 4])
def test_one_drop_in_the_middle_is_made_good(number):
    server = SmtpServer(at(number, DROP))
    results = probe(["ann", "nobody", "bob"], server)
    assert reasons(results) == {
        "ann": "mailbox_exists",
        "nobody": "mailbox_not_found",
        "bob": "mailbox_exists",
    }
    assert server.connections == 2
    assert server.asked.count("made-up@example.com") == 1


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_who_is_sent_away_does_not_come_back_at_once(number):
    server = SmtpServer(at(number, "421 4.7.0 Too many, good-bye", connections=9))
    results = probe(["ann", "nobody", "bob"], server)
    answers = ["mailbox_exists", "mailbox_not_found", "mailbox_exists"]
    told = number - 2 if number > 1 else 0
    expected = answers[:told] + ["temporary_failure"] * (3 - told)
    assert list(reasons(results).values()) == expected
    assert server.connections == 1
    assert len(server.asked) == number  # nobody was asked about twice


def test_after_a_second_drop_the_rest_are_unknown():
    # The third RCPT is nobody's on the first connection and, since it is asked again, bob's on
    # the second.
    server = SmtpServer(at(3, DROP, connections=9))
    results = probe(["ann", "nobody", "cat", "bob"], server)
    assert reasons(results) == {
        "ann": "mailbox_exists",
        "nobody": "mailbox_not_found",
        "cat": "mailbox_exists",
        "bob": "connection_failed",
    }
    assert server.connections == 2


def test_a_server_that_drops_at_the_made_up_address_is_asked_about_the_real_ones():
    server = SmtpServer(at(1, DROP))
    results = probe(["ann", "nobody"], server)
    assert reasons(results) == {"ann": "catch_all_unknown", "nobody": "mailbox_not_found"}
    assert server.asked.count("made-up@example.com") == 1


def test_silence_about_one_address_is_that_address_s_and_not_asked_again():
    server = SmtpServer(at(3, SILENCE))
    results = probe(["ann", "bob", "cat"], server, timeouts=Timeouts(rcpt=0.2, quit=0.2))
    assert reasons(results) == {
        "ann": "mailbox_exists",
        "bob": "timeout",
        "cat": "mailbox_exists",
    }
    assert server.asked.count("bob@example.com") == 1


def test_a_server_that_answers_nothing_is_not_asked_about_each_address():
    server = SmtpServer(at(1, SILENCE, connections=9))
    results = probe(["ann", "bob", "cat"], server, timeouts=Timeouts(rcpt=0.2, quit=0.2))
    assert set(reasons(results).values()) == {"timeout"}
    assert server.connections == 1


def test_a_server_with_many_slow_addresses_is_given_up():
    server = SmtpServer(at(2, SILENCE, connections=9))
    names = [f"p{number}" for number in range(20)]
    results = probe(names, server, timeouts=Timeouts(rcpt=0.1, quit=0.1))
    assert Counter(reasons(results).values())["timeout"] == 20 - 3
    assert server.connections == 4


def test_a_silent_server():
    server = SmtpServer(honest, banner=SILENCE)
    assert reasons(probe(["ann"], server, timeouts=Timeouts(banner=0.2))) == {"ann": "timeout"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("550 5.1.1 User unknown", "probe_blocked"),
        ("553 5.1.8 Sender refused", "probe_blocked"),
        ("451 4.7.1 Greylisted", "greylisted"),
        ("452 4.2.2 Mailbox full", "temporary_failure"),
        ("421 4.3.2 Closing", "temporary_failure"),
    ],
)
def test_a_refused_mail_from_is_not_about_the_mailbox(reply, reason):
    results = probe(["ann", "nobody"], SmtpServer(honest, mail=reply))
    assert {result.stage for result in results.values()} == {"mail"}
    assert reasons(results) == {"ann": reason, "nobody": reason}


def test_the_next_mail_host_is_tried_when_one_is_not_there():
    server = SmtpServer(honest)
    results = probe(["ann"], None, server)
    assert results["ann@example.com"].host == "mx2.example.com"
    assert reasons(results) == {"ann": "mailbox_exists"}


def test_the_next_mail_host_is_tried_when_one_refuses():
    refusing, server = SmtpServer(honest, banner="554 no"), SmtpServer(honest)
    assert reasons(probe(["ann"], refusing, server)) == {"ann": "mailbox_exists"}
    assert refusing.connections == 1


def test_a_preferred_host_that_answers_is_the_only_one_asked():
    first, second = SmtpServer(honest), SmtpServer(honest)
    probe(["ann"], first, second)
    assert second.connections == 0


def test_no_mail_host_is_there():
    results = probe(["ann", "nobody"], None, None)
    assert reasons(results) == {"ann": "connection_failed", "nobody": "connection_failed"}
    assert results["ann@example.com"].stage == "connect"


def test_a_refused_greeting_says_more_than_an_absent_host():
    refusing = SmtpServer(honest, banner="554 5.7.1 You are on a blocklist")
    results = probe(["ann"], None, refusing)
    assert results["ann@example.com"].host == "mx2.example.com"
    assert reasons(results) == {"ann": "probe_blocked"}


def test_only_so_many_hosts_are_tried():
    last = SmtpServer(honest)
    assert reasons(probe(["ann"], *[None] * 5, last)) == {"ann": "connection_failed"}
    assert last.connections == 0


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_connection_carries_no_more_than_its_limit(limit):
    server = SmtpServer(honest)
    assert reasons(probe(["ann", "nobody", "bob"], server, limit=limit)) == {
        "ann": "mailbox_exists",
        "nobody": "mailbox_not_found",
        "bob": "mailbox_exists",
    }
    assert server.connections == -(-4 // limit)


def test_a_full_transaction_is_reset():
    taken = 0

    def rcpt(email: str, _connection: int, _number: int) -> str:
        nonlocal taken
        taken += 1
        # Two recipients, then no more until RSET; the third refusal begins a new count.
        return "452 4.5.3 Too many recipients" if taken % 3 == 0 else honest(email, 1, 1)

    server = SmtpServer(rcpt)
    assert reasons(probe(["ann", "nobody", "bob"], server)) == {
        "ann": "mailbox_exists",
        "nobody": "mailbox_not_found",
        "bob": "mailbox_exists",
    }
    assert server.connections == 1
    assert server.commands.count("RSET") == 1


def test_a_server_that_always_has_too_many_recipients():
    server = SmtpServer(lambda *_: "452 4.5.3 Too many recipients")
    assert reasons(probe(["ann", "bob"], server)) == {
        "ann": "temporary_failure",
        "bob": "temporary_failure",
    }


@pytest.mark.parametrize("offered", [True, False])
def test_an_address_beyond_ascii_needs_smtputf8(offered):
    server = SmtpServer(
        lambda email, *_: NO_USER if email.startswith("made-up") else EXISTS,
        extensions=("SMTPUTF8",) if offered else (),
    )
    results = probe(["ann", "анна"], server)
    assert reasons(results) == {
        "ann": "mailbox_exists",
        "анна": "mailbox_exists" if offered else "not_probed",
    }
    assert ("MAIL FROM:<> SMTPUTF8" in server.commands) is offered


def test_a_local_part_that_cannot_be_written_is_not_probed():
    server = SmtpServer(honest)
    results = probe(['"a b"', '"a>b"', "ann"], server)
    assert reasons(results) == {
        '"a b"': "not_probed",
        '"a>b"': "not_probed",
        "ann": "mailbox_exists",
    }
    assert server.asked == ["made-up@example.com", "ann@example.com"]


def test_nothing_to_ask_opens_no_connection():
    server = SmtpServer(honest)
    assert probe([], server) == {}
    assert server.connections == 0


def test_misuse_is_refused():
    async def connect(_host: str) -> Broken:
        raise AssertionError("not called")

    def run(facts: DomainFacts, domain: str, limit: int = 1) -> None:
        asyncio.run(
            probe_domain(
                facts,
                [Address("ann", domain)],
                connect=connect,
                sender="",
                random_local=lambda: "x",
                limit_per_connection=limit,
            )
        )

    with pytest.raises(ValueError, match="without mail hosts"):
        run(DomainFacts("example.com", "null_mx"), "example.com")
    with pytest.raises(ValueError, match="another domain"):
        run(DomainFacts("example.com", "mx", ("mx",)), "example.net")
    with pytest.raises(ValueError, match="at least 1"):
        run(DomainFacts("example.com", "mx", ("mx",)), "example.com", 0)


BEHAVIOUR = st.sampled_from(
    [EXISTS, NO_USER, "450 4.2.0 later", "421 4.3.2 bye", "452 4.5.3 many", "550 5.7.1 no", DROP]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(BEHAVIOUR, max_size=12), st.integers(1, 5), st.integers(0, 5))
def test_whatever_the_server_does_every_address_has_one_answer(script, limit, people):
    replies = iter(script)
    said: dict[str, list[str]] = {}

    def rcpt(email: str, _connection: int, _number: int) -> str:
        reply = next(replies, EXISTS)
        said.setdefault(email, []).append(reply)
        return reply

    names = [f"p{number}" for number in range(people)]
    server = SmtpServer(rcpt)
    results = probe(names, server, limit=limit)
    assert set(results) == {f"{name}@example.com" for name in names}
    for email, result in results.items():
        # No answer is lent from one address to another, but for the end of the session.
        if result.code is not None and result.code != 421:
            assert f"{result.code} {result.text}" == said[email][-1]
    # No more than the limit asks for, and one reconnection; a full transaction is asked again.
    again = sum(reply.startswith("452") for replies in said.values() for reply in replies)
    assert server.connections <= -(-(people + 1 + again + 1) // limit) + 1
