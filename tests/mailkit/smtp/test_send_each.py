from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.smtp.connection import Connection
from mailkit.smtp.endpoint import Timeouts
from mailkit.smtp.message import prepare
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.smtp.pool import Pool
from tests.support.letters import Group, Letter

from .fake_server import DROP, EXTENSIONS, HANG, UNPIPELINED, FakeServer

HASTY = Timeouts(*[0.2] * 12)
OK = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go ahead", "DOT": "250 2.0.0 queued"}
STAGES = {"MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "DOT": "body"}
BOTH = pytest.mark.parametrize("extensions", [EXTENSIONS, UNPIPELINED])


def letters_for(count: int) -> list[Letter]:
    return [
        Letter(f"{n}@d.example", prepare(b"Subject: %d\r\n\r\n.Hello %d\r\n" % (n, n)))
        for n in range(count)
    ]


def send(
    group: Group,
    *,
    limit: int = 1000,
    hold: float = 0.0,
    timeouts: Timeouts | None = None,
    **server_settings: Any,
) -> tuple[FakeServer, bool]:
    """Over one new connection; whether it can go on afterwards."""

    async def go() -> tuple[FakeServer, bool]:
        async with FakeServer(**server_settings) as server:
            connection = await Connection.open(server.endpoint(), timeouts)
            assert isinstance(connection, Connection)
            async with asyncio.timeout(30):
                await connection.send_each("s@s.example", group, limit=limit, hold=lambda: hold)
            alive = connection.alive
            await connection.close()
            return server, alive

    return asyncio.run(go())


def at(place: str, number: int, answer: str) -> dict[str, list[str]]:
    """A script where the letter of that number, from 0, meets that answer."""
    good = OK.get(place, "")
    return {place: [good] * number + [answer, good]}


def accepted_by(server: FakeServer) -> list[str]:
    assert all(len(one.recipients) == 1 for one in server.received)
    return [one.recipients[0] for one in server.accepted]


# Where all goes well


@BOTH
@pytest.mark.parametrize("dribble", [False, True])
def test_all_letters_arrive_as_they_are_in_their_order(
    extensions: Sequence[str], dribble: bool
) -> None:
    group = Group(letters_for(7))
    server, alive = send(group, extensions=extensions, dribble=dribble)
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert accepted_by(server) == [letter.recipient for letter in group.all]
    assert [one.message for one in server.accepted] == [
        b"Subject: %d\r\n\r\n.Hello %d\r\n" % (n, n) for n in range(7)
    ]
    assert alive
    assert len(server.sessions) == 1
    assert server.unpipelined_violations == 0
    assert server.commands == [
        "EHLO client.example",
        *(
            line
            for n in range(7)
            for line in (
                "MAIL FROM:<s@s.example>"
                + (f" SIZE={group.all[n].message.size}" if "PIPELINING" in extensions else ""),
                f"RCPT TO:<{n}@d.example>",
                "DATA",
            )
        ),
        "QUIT",
    ]


def test_the_end_of_a_letter_goes_out_with_the_next_envelope() -> None:
    group = Group(letters_for(5))
    server, _ = send(group, await_next=4, require_pipelining=True)
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert len(server.accepted) == 5


def test_no_letters_is_no_conversation() -> None:
    server, alive = send(Group([]))
    assert alive
    assert server.commands == ["EHLO client.example", "QUIT"]


@BOTH
def test_a_large_letter_between_small_ones(extensions: Sequence[str]) -> None:
    small, _, last = letters_for(3)
    big = prepare(b"Subject: big\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000)
    group = Group([small, Letter("big@d.example", big), last])
    server, _ = send(group, extensions=extensions)
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert [len(one.message) for one in server.accepted] == [
        letter.message.size for letter in group.all
    ]


# Refusals


@BOTH
@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("code", [450, 552])
@pytest.mark.parametrize("verb", OK)
def test_a_refusal_is_of_one_letter(
    verb: str, code: int, number: int, extensions: Sequence[str]
) -> None:
    group = Group(letters_for(4))
    replies = [f"250 2.0.0 queued as {n}" for n in range(4)]
    script = {"DOT": [reply for n, reply in enumerate(replies) if n != number]}
    if verb == "DOT":
        script["DOT"].insert(number, f"{code} no")
    else:
        script |= at(verb, number, f"{code} no")
    server, alive = send(group, script=script, extensions=extensions)
    for n, outcome in enumerate(group.told()):
        assert outcome is not None
        assert not isinstance(outcome, Broken)
        if n == number:
            assert isinstance(outcome, Refused)
            assert (outcome.stage, outcome.reply.code) == (STAGES[verb], code)
        else:
            assert isinstance(outcome, Accepted)
            assert outcome.reply.text == replies[n].removeprefix("250 ")
    assert accepted_by(server) == [f"{n}@d.example" for n in range(4) if n != number]
    assert alive
    assert not group.returned
    assert server.unpipelined_violations == 0


def test_all_can_be_refused() -> None:
    group = Group(letters_for(5))
    server, alive = send(group, script={"RCPT": "550 5.1.1 nobody"})
    assert all(isinstance(outcome, Refused) for outcome in group.told())
    assert alive
    assert not server.received


@pytest.mark.parametrize("empty", ["554 5.5.1 nobody", "250 thanks"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_server_that_wants_a_letter_to_nobody(number: int, empty: str) -> None:
    """RFC 2920 section 3.1: DATA let through behind a refused RCPT."""
    group = Group(letters_for(3))
    script = {**at("RCPT", number, "550 no"), "DATA": "354 go ahead", "EMPTY": empty}
    server, _ = send(group, script=script)
    assert [type(outcome) for outcome in group.told()] == [
        Refused if n == number else Accepted for n in range(3)
    ]
    assert accepted_by(server) == [f"{n}@d.example" for n in range(3) if n != number]


@BOTH
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("verb", OK)
def test_a_server_that_closes_says_so_to_one_letter_at_most(
    verb: str, number: int, extensions: Sequence[str]
) -> None:
    group = Group(letters_for(4))
    server, alive = send(group, script=at(verb, number, "421 4.3.2 closing"), extensions=extensions)
    told = group.told()
    assert not alive
    assert all(isinstance(outcome, Accepted) for outcome in told[:number])
    if verb == "MAIL" and number:  # the connection's age, not this letter
        assert told[number] is None
        assert group.returned[group.all[number]] == 1
    else:
        outcome = told[number]
        assert isinstance(outcome, Refused)
        assert (outcome.stage, outcome.reply.code) == (STAGES[verb], 421)
    assert told[number + 1 :] == [None] * (3 - number)
    assert max(group.returned.values(), default=0) <= 1
    assert accepted_by(server) == [f"{n}@d.example" for n in range(number)]


# Breaks


@BOTH
@pytest.mark.parametrize("action", [DROP, HANG])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("verb", OK)
def test_a_break_is_of_one_letter_at_most(
    verb: str, number: int, action: str, extensions: Sequence[str]
) -> None:
    group = Group(letters_for(4))
    script = at(verb, number, action)
    server, alive = send(group, script=script, extensions=extensions, timeouts=HASTY)
    told = group.told()
    assert not alive
    assert all(isinstance(outcome, Accepted) for outcome in told[:number])
    if verb == "MAIL" and number and action == DROP:
        assert told[number] is None
        assert group.returned[group.all[number]] == 1
    else:
        outcome = told[number]
        assert isinstance(outcome, Broken)
        assert outcome.stage == STAGES[verb]
        assert outcome.error == ("closed" if action == DROP else "timeout")
        assert outcome.after_dot is (verb == "DOT")
    assert told[number + 1 :] == [None] * (3 - number)
    following = verb == "DOT" and "PIPELINING" in extensions
    assert sum(group.returned.values()) == (
        1 if following or (verb == "MAIL" and number and action == DROP) else 0
    )
    assert len(server.accepted) == number


@pytest.mark.parametrize("number", [0, 1])
def test_a_server_that_hangs_up_within_a_letter_leaves_it_safe_to_repeat(number: int) -> None:
    group = Group(letters_for(3))
    server, alive = send(group, script=at("FIRST", number, DROP), hold=1.0)
    told = group.told()
    outcome = told[number]
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error, outcome.after_dot) == ("body", "closed", False)
    assert told[number + 1 :] == [None] * (2 - number)
    assert not group.returned
    assert not alive
    assert len(server.received) == number


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_answer_that_is_none_ends_the_connection(number: int) -> None:
    group = Group(letters_for(4))
    _, alive = send(group, script=at("DOT", number, "hello"))
    told = group.told()
    assert not alive
    outcome = told[number]
    assert isinstance(outcome, Broken)
    assert (outcome.error, outcome.after_dot) == ("bad_reply", True)
    assert told[number + 1 :] == [None] * (3 - number)


def cancelled(group: Group, script: dict[str, Any], reached: Callable[[FakeServer], bool]) -> None:
    async def go() -> None:
        async with FakeServer(script) as server:
            connection = await Connection.open(server.endpoint())
            assert isinstance(connection, Connection)
            task = asyncio.create_task(
                connection.send_each("s@s.example", group, limit=1000, hold=lambda: 0.0)
            )
            async with asyncio.timeout(30):
                while not reached(server):
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert not connection.alive

    asyncio.run(go())


def test_who_cancels_after_the_end_of_a_letter_does_not_get_it_back() -> None:
    group = Group(letters_for(4))
    cancelled(group, at("DOT", 1, HANG), lambda server: len(server.received) == 2)
    told = group.told()
    assert isinstance(told[0], Accepted)
    assert isinstance(told[1], Broken)
    assert told[1].after_dot
    assert told[2:] == [None, None]
    assert group.returned == {group.all[2]: 1}


@pytest.mark.parametrize("number", [0, 1])
def test_who_cancels_before_the_end_gets_the_letter_back(number: int) -> None:
    group = Group(letters_for(3))
    cancelled(
        group,
        at("RCPT", number, HANG),
        lambda server: f"RCPT TO:<{number}@d.example>" in server.commands,
    )
    assert group.told()[number:] == [None] * (3 - number)
    assert group.returned == {group.all[number]: 1}


# Letters that cannot be written


@BOTH
@pytest.mark.parametrize("numbers", [{0}, {1}, {3}, {1, 2}, {0, 1, 2, 3}])
@pytest.mark.parametrize("bad", ["a b@d.example", "<a@d.example", "a@d\r\nDATA", "", "\ud800@d.ex"])
def test_an_address_that_no_command_takes(
    bad: str, numbers: set[int], extensions: Sequence[str]
) -> None:
    letters = letters_for(4)
    group = Group(
        replace(letter, recipient=bad) if n in numbers else letter
        for n, letter in enumerate(letters)
    )
    server, alive = send(group, extensions=extensions)
    for n, outcome in enumerate(group.told()):
        if n in numbers:
            assert isinstance(outcome, Broken)
            assert (outcome.stage, outcome.error, outcome.after_dot) == ("mail", "stopped", False)
        else:
            assert isinstance(outcome, Accepted)
    assert alive
    assert len(server.sessions) == 1
    assert accepted_by(server) == [f"{n}@d.example" for n in range(4) if n not in numbers]


@pytest.mark.parametrize("numbers", [{0}, {1}, {3}, {1, 2}])
def test_what_the_server_does_not_offer(numbers: set[int]) -> None:
    letters = letters_for(4)
    group = Group(
        replace(letter, recipient="иван@d.example") if n in numbers else letter
        for n, letter in enumerate(letters)
    )
    server, _ = send(group, extensions=["PIPELINING"])
    for n, outcome in enumerate(group.told()):
        assert isinstance(outcome, Refused if n in numbers else Accepted)
        if isinstance(outcome, Refused):
            assert (outcome.stage, outcome.reply.code) == ("mail", 553)
    assert accepted_by(server) == [f"{n}@d.example" for n in range(4) if n not in numbers]


# Limits and pools


@BOTH
def test_nothing_is_begun_beyond_the_limit(extensions: Sequence[str]) -> None:
    group = Group(letters_for(5))
    server, _ = send(group, limit=3, extensions=extensions)
    assert [outcome is None for outcome in group.told()] == [False] * 3 + [True] * 2
    assert not group.returned
    assert sum(command.startswith("MAIL") for command in server.commands) == 3
    assert server.commands[-1] == "QUIT"


def pooled(
    group: Group, script: dict[str, Any], *, connections: int = 1, before: int = 0, **options: Any
) -> tuple[FakeServer, list[Refused | Broken | None]]:
    """Through a pool with as many workers as connections, after `before` other letters."""

    async def go() -> tuple[FakeServer, list[Refused | Broken | None]]:
        async with FakeServer(script) as server:
            pool = Pool(server.endpoint(), max_connections=connections, timeouts=HASTY, **options)
            if before:
                first = Group(letters_for(before))
                await pool.send_each("s@s.example", first)
                assert all(isinstance(outcome, Accepted) for outcome in first.told())
            async with asyncio.timeout(60):
                ends = await asyncio.gather(
                    *(pool.send_each("s@s.example", group) for _ in range(connections))
                )
            assert pool.free == connections
            assert pool.stats().sent == before + sum(
                isinstance(outcome, Accepted) for outcome in group.outcomes.values()
            )
            await pool.close_idle()
            return server, ends

    return asyncio.run(go())


def test_a_pool_goes_on_over_new_connections() -> None:
    group = Group(letters_for(7))
    server, ends = pooled(group, {}, max_messages=3)
    assert ends == [None]
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert [
        sum(command.startswith("MAIL") for command in session.commands)
        for session in server.sessions
    ] == [3, 3, 1]


@pytest.mark.parametrize("dead", [DROP, "421 4.4.2 idle for too long"])
@pytest.mark.parametrize("before", [1, 3])
def test_a_kept_connection_that_is_dead_costs_no_letter(dead: str, before: int) -> None:
    group = Group(letters_for(4))
    server, ends = pooled(group, dict(at("MAIL", before, dead)), before=before)
    assert ends == [None]
    assert all(isinstance(outcome, Accepted) for outcome in group.told())
    assert group.returned == {group.all[0]: 1}
    assert len(server.sessions) == 2


def test_a_kept_connection_whose_rset_fails_costs_no_letter() -> None:
    group = Group(letters_for(4))
    script = {**at("DOT", 1, "550 no"), **at("MAIL", 2, "550 no"), "RSET": "500 what?"}
    _, ends = pooled(group, script)
    assert ends == [None]
    assert [type(outcome) for outcome in group.told()] == [Accepted, Refused, Refused, Accepted]


def test_a_server_that_cannot_be_had_leaves_the_letters() -> None:
    group = Group(letters_for(3))
    _, ends = pooled(group, {"BANNER": "421 full"})
    assert isinstance(ends[0], Refused)
    assert group.told() == [None] * 3
    assert not group.returned


# Whatever the server does

ANSWERS = st.sampled_from(
    ("", "", "", "", "450 later", "550 no", "421 closing", DROP, DROP, "hello", "250 fine", "354 ?")
)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            place: st.lists(ANSWERS, max_size=8)
            for place in ("BANNER", "MAIL", "RCPT", "DATA", "FIRST", "DOT", "RSET", "EMPTY")
        },
    ),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 5),
    st.booleans(),
)
def test_every_letter_is_settled_once_or_put_back(
    script: dict[str, list[str]], count: int, connections: int, most: int, hangs: bool
) -> None:
    usual = {**OK, "BANNER": "220 fake", "FIRST": "", "RSET": "250 ok", "EMPTY": "554 nobody"}
    whole: dict[str, list[str]] = {
        place: [answer or usual[place] for answer in answers] + [usual[place]]
        for place, answers in script.items()
    }
    if hangs:
        whole.setdefault("DOT", [OK["DOT"]]).insert(0, HANG)
    group = Group(letters_for(count))
    server, ends = pooled(group, whole, connections=connections, max_messages=most)
    told = group.told()
    if all(end is None for end in ends):
        assert None not in told
    arrived = accepted_by(server)
    assert len(arrived) == len(set(arrived)), "sent twice"
    by_recipient = dict(zip((letter.recipient for letter in group.all), told, strict=True))
    for recipient, outcome in by_recipient.items():
        if isinstance(outcome, Accepted):
            assert recipient in arrived
    for recipient in arrived:
        outcome = by_recipient[recipient]
        assert isinstance(outcome, Accepted) or (isinstance(outcome, Broken) and outcome.after_dot)
    for one in server.received:
        number = int(one.recipients[0].partition("@")[0])
        assert one.message == b"Subject: %d\r\n\r\n.Hello %d\r\n" % (number, number)
