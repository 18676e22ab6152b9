from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.smtp.connection import Connection
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.message import prepare
from mailkit.smtp.outcomes import Accepted, Broken, Refused, Reply
from tests.support.letters import BIG, MESSAGE, Outcome, send_letter

from .fake_server import DROP, EXTENSIONS, HANG, HASTY, UNPIPELINED, FakeServer


async def connect(server: FakeServer, timeouts: Timeouts | None = None, **ep: Any) -> Connection:
    connection = await Connection.open(server.endpoint(**ep), timeouts)
    assert isinstance(connection, Connection), connection
    return connection


def send_one(
    server_settings: dict[str, Any],
    message: bytes = MESSAGE,
    timeouts: Timeouts | None = None,
) -> tuple[Outcome | None, FakeServer, Connection]:
    async def go() -> tuple[Outcome | None, FakeServer, Connection]:
        async with FakeServer(**server_settings) as server:
            connection = await connect(server, timeouts)
            outcome = await send_letter(connection, "bounce@s.example", "r@d.example", message)
            alive_after = connection.alive
            if alive_after:  # what is left must still carry a message
                server.script = {}
                again = await send_letter(connection, "b@s.example", "again@d.example", MESSAGE)
                assert isinstance(again, Accepted), again
            await connection.close()
            assert not connection.alive
            connection.was_alive = alive_after  # type: ignore[attr-defined]
            return outcome, server, connection

    return asyncio.run(go())


@pytest.mark.parametrize("extensions", [EXTENSIONS, UNPIPELINED])
@pytest.mark.parametrize("dribble", [False, True])
def test_message_is_accepted(extensions: tuple[str, ...], dribble: bool) -> None:
    outcome, server, connection = send_one({"extensions": extensions, "dribble": dribble})
    assert outcome == Accepted(Reply(250, "2.0.0", "2.0.0 queued"))
    first = server.accepted[0]
    assert (first.sender, first.recipients) == ("bounce@s.example", ["r@d.example"])
    assert first.message == MESSAGE
    assert connection.sent == 2
    assert server.unpipelined_violations == 0
    assert server.commands[-1] == "QUIT"


def test_envelope_goes_out_in_one_go_where_offered() -> None:
    outcome, _, _ = send_one({"require_pipelining": True})
    assert isinstance(outcome, Accepted)


@pytest.mark.parametrize("extensions", [EXTENSIONS, UNPIPELINED])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("code", [421, 450, 451, 452, 550, 552, 554])
def test_refusal_at_each_stage(verb: str, code: int, extensions: tuple[str, ...]) -> None:
    reply = f"{code}-{code // 100}.7.1 first line\r\n{code} {code // 100}.7.1 second"
    outcome, server, connection = send_one({"script": {verb: reply}, "extensions": extensions})
    assert isinstance(outcome, Refused)
    assert outcome.stage == {"DOT": "body"}.get(verb, verb.lower())
    assert outcome.reply.code == code
    assert outcome.reply.enhanced == f"{code // 100}.7.1"
    assert outcome.permanent is (code >= 500)
    assert connection.was_alive is (code != 421)  # type: ignore[attr-defined]
    assert len(server.accepted) == (0 if code == 421 else 1)  # the one sent afterwards
    assert server.unpipelined_violations == 0


@pytest.mark.parametrize("empty_reply", ["554 5.5.1 no recipients", "250 2.0.0 thanks", "421 bye"])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_data_accepted_without_a_recipient(verb: str, empty_reply: str) -> None:
    """RFC 2920 section 3.1: the server lets a pipelined DATA through all the same."""
    script = {verb: "550 5.1.1 no", "DATA": "354 go ahead", "EMPTY": empty_reply}
    outcome, server, connection = send_one({"script": script})
    assert outcome == Refused(verb.lower(), Reply(550, "5.1.1", "5.1.1 no"))  # type: ignore[arg-type]
    assert all(item.message == MESSAGE for item in server.received)
    assert connection.was_alive is not empty_reply.startswith("421")  # type: ignore[attr-defined]


@pytest.mark.parametrize("extensions", [EXTENSIONS, UNPIPELINED])
@pytest.mark.parametrize(
    ("verb", "stage", "after_dot"),
    [
        ("MAIL", "mail", False),
        ("RCPT", "rcpt", False),
        ("DATA", "data", False),
        ("DOT", "body", True),
    ],
)
@pytest.mark.parametrize("action", [DROP, HANG])
def test_break_at_each_stage(
    verb: str, stage: str, after_dot: bool, action: str, extensions: tuple[str, ...]
) -> None:
    settings_ = {"script": {verb: action}, "extensions": extensions}
    outcome, server, _ = send_one(settings_, timeouts=HASTY)
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.after_dot) == (stage, after_dot)
    assert outcome.error == ("closed" if action == DROP else "timeout")
    assert server.accepted == []


@pytest.mark.parametrize(("action", "error"), [(DROP, "closed"), (HANG, "timeout")])
def test_break_inside_the_body_is_safe_to_repeat(action: str, error: str) -> None:
    outcome, server, _ = send_one({"script": {"BODY": action}}, message=BIG, timeouts=HASTY)
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error, outcome.after_dot) == ("body", error, False)
    assert server.received == []


def test_refusal_inside_the_body() -> None:
    script = {"BODY": "552 5.3.4 too much"}
    outcome, server, connection = send_one({"script": script}, message=BIG)
    assert outcome == Refused("body", Reply(552, "5.3.4", "5.3.4 too much"))
    assert not connection.was_alive  # type: ignore[attr-defined]
    assert server.received == []


@pytest.mark.parametrize("data", ["354 go ahead", "334 what", "250 ok"])
def test_no_empty_letter_is_handed_over(data: str) -> None:
    """MAIL refused, RCPT and DATA let through: a lone dot would be a letter."""
    outcome, server, connection = send_one(
        {"script": {"MAIL": "450 4.0.0 no", "EARLY RCPT": "250 ok", "DATA": data}}
    )
    assert isinstance(outcome, Refused)
    assert outcome.stage == "mail"
    assert not connection.was_alive  # type: ignore[attr-defined]
    assert server.received == []


def test_refusal_wins_over_a_break_behind_it() -> None:
    outcome, _, connection = send_one({"script": {"RCPT": "550 no", "DATA": DROP}})
    assert isinstance(outcome, Refused)
    assert outcome.stage == "rcpt"
    assert not connection.was_alive  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("reply", ["nonsense", "550-no\r\n250 ok", "199 x", "999 x", "334 x", ""])
def test_senseless_reply_ends_the_connection(verb: str, reply: str) -> None:
    outcome, server, connection = send_one({"script": {verb: reply}})
    assert isinstance(outcome, Broken)
    assert outcome.error == "bad_reply"
    assert outcome.after_dot is (verb == "DOT")
    assert not connection.was_alive  # type: ignore[attr-defined]
    assert server.accepted == []


@pytest.mark.parametrize("size", [BIG, MESSAGE, b"", b".", b"..\r\n.", b"\r\n.\r\n", b"." * 70_000])
def test_bodies_arrive_unchanged(size: bytes) -> None:
    outcome, server, _ = send_one({}, message=size)
    assert isinstance(outcome, Accepted)
    expected = size if size.endswith(b"\r\n") or not size else size + b"\r\n"
    assert server.received[0].message == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text(".a \u00fc", max_size=4), max_size=6), max_size=8))
def test_dot_stuffing_round_trip(letters: list[list[str]]) -> None:
    messages = ["".join(f"{line}\r\n" for line in lines).encode() for lines in letters]

    async def go() -> list[bytes]:
        async with FakeServer() as server:
            connection = await connect(server)
            for message in messages:
                outcome = await send_letter(connection, "s@s.example", "r@d.example", message)
                assert isinstance(outcome, Accepted)
            await connection.close()
            return [item.message for item in server.received]

    assert asyncio.run(go()) == messages


ACTIONS = st.sampled_from(["", "", "450 4.0.0 later", "550 5.0.0 no", "421 4.3.2 bye", DROP])


@settings(max_examples=120, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(("RSET", "MAIL", "RCPT", "DATA", "DOT"), ACTIONS)),
    st.booleans(),
    st.booleans(),
)
def test_outcome_tells_what_the_server_did(
    actions: dict[str, str], pipelining: bool, dirty: bool
) -> None:
    """Whatever the server does at any stage, the first thing it did wrong is the outcome."""
    script = {verb: action for verb, action in actions.items() if action}
    wrong = [verb for verb in ("RSET", "MAIL", "RCPT", "DATA", "DOT") if verb in script]
    if not dirty:
        wrong = [verb for verb in wrong if verb != "RSET"]

    async def go() -> None:
        extensions = EXTENSIONS if pipelining else UNPIPELINED
        async with FakeServer(extensions=extensions) as server:
            connection = await connect(server)
            if dirty:
                server.script = {"RCPT": "550 no"}
                assert isinstance(
                    await send_letter(connection, "", "r@d.example", MESSAGE), Refused
                )
            server.script = dict(script)
            outcome = await send_letter(connection, "s@s.example", "r@d.example", MESSAGE)
            assert len(server.accepted) == isinstance(outcome, Accepted)
            ended = wrong and script[wrong[0]] in (DROP, "421 4.3.2 bye")
            if not wrong:
                assert isinstance(outcome, Accepted)
                assert connection.alive
            elif dirty and (wrong[0] == "RSET" or (wrong[0] == "MAIL" and ended)):
                assert outcome is None  # nothing was said about this letter
                assert not connection.alive
            elif script[wrong[0]] == DROP or wrong[0] == "RSET":
                assert isinstance(outcome, Broken)
                assert not connection.alive
                assert outcome.after_dot is (wrong[0] == "DOT")
            else:
                assert isinstance(outcome, Refused)
                assert str(outcome.reply.code) == script[wrong[0]][:3]
            if wrong and outcome is not None:
                expected = "body" if wrong[0] == "DOT" else wrong[0].lower()
                assert outcome.stage == expected  # type: ignore[union-attr]
            if connection.alive:
                server.script = {}
                again = await send_letter(connection, "s@s.example", "r@d.example", MESSAGE)
                assert isinstance(again, Accepted)
            await connection.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "message",
    [b"a\nb\r\n", b"a\rb\r\n", b"\n", b"\r", b"a\r\n\n", b"\r\r\n", b"a\r", b"a\r\n.\n", b"a\0b"],
)
def test_bare_line_ends_are_refused_before_a_byte(message: bytes) -> None:
    with pytest.raises(ValueError, match="in the message"):
        prepare(message)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", " ", "<", ">", "\t", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("place", ["sender", "recipient", "probe", "rcpt"])
def test_addresses_that_add_commands_are_refused(bad: str, place: str) -> None:
    address = f"a{bad}b@d.example"

    async def go() -> list[str]:
        async with FakeServer() as server:
            connection = await connect(server)
            if place in ("sender", "recipient"):
                outcome = (
                    await send_letter(connection, address, "r@d.example", MESSAGE)
                    if place == "sender"
                    else await send_letter(connection, "s@s.example", address, MESSAGE)
                )
                assert isinstance(outcome, Broken)
                assert (outcome.stage, outcome.error, outcome.after_dot) == (
                    "mail",
                    "stopped",
                    False,
                )
                assert "in an address" in outcome.detail
            else:
                ask = connection.probe_mail if place == "probe" else connection.rcpt
                with pytest.raises(ValueError, match="in an address"):
                    await ask(address)
            await connection.close()
            return server.commands

    assert asyncio.run(go()) == ["EHLO client.example", "QUIT"]


@pytest.mark.parametrize(
    "changes", [{"local_hostname": "a\r\nb"}, {"host": ""}, {"username": "a\0b"}]
)
def test_a_bad_endpoint_is_an_error(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"host": "h", "local_hostname": "l"} | changes
    with pytest.raises(ValueError, match=r"control character|ASCII"):
        Endpoint(port=25, security="none", **fields)


def test_null_sender_and_parameters() -> None:
    async def go() -> list[str]:
        async with FakeServer() as server:
            connection = await connect(server)
            await send_letter(connection, "", "r@d.example", MESSAGE)
            await send_letter(connection, "s@s.example", "r@d.example", "\r\nпривет\r\n".encode())
            await send_letter(connection, "s@s.example", "иван@d.example", MESSAGE)
            await send_letter(
                connection, "s@s.example", "r@d.example", "To: иван@d\r\n\r\n".encode()
            )
            await connection.close()
            assert len(server.accepted) == 4
            return [command for command in server.commands if command.startswith("MAIL")]

    assert asyncio.run(go()) == [
        f"MAIL FROM:<> SIZE={len(MESSAGE)}",
        "MAIL FROM:<s@s.example> SIZE=16 BODY=8BITMIME",
        f"MAIL FROM:<s@s.example> SIZE={len(MESSAGE)} SMTPUTF8",
        "MAIL FROM:<s@s.example> SIZE=18 BODY=8BITMIME SMTPUTF8",
    ]


def test_what_the_server_cannot_take_is_not_offered_to_it() -> None:
    async def go() -> None:
        async with FakeServer(extensions=()) as server:
            connection = await connect(server)
            outcome = await send_letter(connection, "s@s.example", "иван@d.example", MESSAGE)
            assert isinstance(outcome, Refused)
            assert (outcome.reply.code, outcome.reply.enhanced) == (553, "5.6.7")
            outcome = await send_letter(connection, "s@s.example", "r@d.example", b"\r\n\xff\r\n")
            assert isinstance(outcome, Refused)
            assert (outcome.reply.code, outcome.reply.enhanced) == (554, "5.6.3")
            assert isinstance(await send_letter(connection, "", "r@d.example", MESSAGE), Accepted)
            await connection.close()

    asyncio.run(go())


def test_many_messages_on_one_connection() -> None:
    async def go() -> None:
        async with FakeServer(require_pipelining=True) as server:
            connection = await connect(server)
            for number in range(200):
                body = b"%d\r\n" % number
                assert isinstance(await send_letter(connection, "", "r@d.example", body), Accepted)
            assert connection.sent == 200
            await connection.close()
            assert [item.message for item in server.accepted] == [
                b"%d\r\n" % number for number in range(200)
            ]
            assert len(server.sessions) == 1
            assert "RSET" not in server.commands

    asyncio.run(go())


def test_old_server_is_greeted_with_helo() -> None:
    outcome, server, _ = send_one({"script": {"EHLO": "502 5.5.1 what?"}})
    assert isinstance(outcome, Accepted)
    assert server.commands[1] == "HELO client.example"


def test_reply_nobody_asked_for_is_not_taken_for_the_next() -> None:
    async def go() -> None:
        async with FakeServer({"DOT": "250 ok\r\n250 and one more"}) as server:
            connection = await connect(server)
            assert isinstance(await send_letter(connection, "", "r@d.example", MESSAGE), Accepted)
            assert not connection.alive
            # It waits for another connection.
            assert await send_letter(connection, "", "r@d.example", MESSAGE) is None

    asyncio.run(go())


def test_against_aiosmtpd() -> None:
    class Keep(Sink):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[tuple[str, list[str], bytes]] = []

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            self.kept.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
            return "250 2.0.0 kept"

    async def go() -> Keep:
        keep = Keep()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(keep, enable_SMTPUTF8=True), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            endpoint = Endpoint("127.0.0.1", port, "none", "client.example")
            connection = await Connection.open(endpoint)
            assert isinstance(connection, Connection)
            for message in (MESSAGE, b".\r\n..\r\n", "\r\nпривет\r\n".encode()):
                outcome = await send_letter(connection, "s@s.example", "иван@d.example", message)
                assert isinstance(outcome, Accepted)
                assert outcome.reply.text == "2.0.0 kept"
            await connection.close()
        return keep

    keep = asyncio.run(go())
    assert [content for _, _, content in keep.kept] == [
        MESSAGE,
        b".\r\n..\r\n",
        "\r\nпривет\r\n".encode(),
    ]
    assert keep.kept[0][:2] == ("s@s.example", ["иван@d.example"])
