from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.smtp_syntax import MAX_SIZE
from apps.sandbox.store import (
    MemoryStore,
    headers,
)
from tests.support.sandbox_smtp import World, login, run

SMUGGLED = b"MAIL FROM:<evil@x.org>\r\nRCPT TO:<anna@sandbox.test>\r\nDATA\r\nSubject: evil\r\n\r\n"


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r"]
)
def test_no_other_end_of_data_lets_a_second_message_in(end: bytes) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("anna@sandbox.test")
        reply = await client.data(b"Subject: a\r\n\r\nHi" + end + SMUGGLED)
        assert reply.startswith("550 5.5.2")
        assert await client.code("NOOP") == "250 2.0.0"  # nothing else was answered

    assert run(scenario) == []


@pytest.mark.parametrize("text", [b"a\nb\r\n", b"a\rb\r\n", b"\n\r\n", b"a\r\r\n", b"\r\n\n\r\n"])
def test_bare_line_ends_in_a_message_are_refused(text: bytes) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("anna@sandbox.test")
        assert (await client.data(text)).startswith("550 5.5.2")

    assert run(scenario) == []


@pytest.mark.parametrize(
    "line",
    [
        *(b"NOOP\nNOOP\r", b"NOOP\rNOOP\r", b"MAIL FROM:<a@b.c\0>", b"NOOP\t", b"NOOP \x1b"),
        *(b"MAIL FROM:<\xff@b.c>", b"\x7f", b"NOOP\r"),
    ],
)
def test_control_characters_in_commands_are_refused(line: bytes) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(line + b"\r\n")
        while (reply := await client.reply()).startswith("500 5.5.2"):
            refused = reply
            client.write(b"VRFY x\r\n")
        assert reply.startswith("252"), reply
        assert refused

    run(scenario)


def test_a_bare_lf_never_ends_a_command() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(b"MAIL FROM:<a@b.c>\nRCPT TO:<anna@sandbox.test>\r\n")
        assert [(await client.reply())[:3] for _ in range(2)] == ["500", "503"]

    run(scenario)


def test_a_message_that_does_not_wait_for_354_is_refused() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("anna@sandbox.test")
        client.write(b"DATA\r\nSubject: a\r\n\r\nQUIT\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.5.0")
        assert await client.rest() == b""

    assert run(scenario) == []


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["MAIL FROM:<a@b.c>"], "503 5.5.1"),
        (["AUTH PLAIN AGEAYg=="], "503 5.5.1"),
        (["EHLO"], "501 5.5.4"),
        (["HELO  "], "501 5.5.4"),
        (["EHLO me", "RCPT TO:<a@b.c>"], "503 5.5.1"),
        (["EHLO me", "DATA"], "503 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "DATA"], "554 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"], "503 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "AUTH PLAIN AGEAYg=="], "503 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RSET", "RCPT TO:<a@b.c>"], "503 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "EHLO me", "RCPT TO:<a@b.c>"], "503 5.5.1"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<>"], "501 5.1.3"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<a>"], "501 5.1.3"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<a@b.c> X=1"], "555 5.5.4"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<a@b.c><d@e.f>"], "501 5.1.3"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<é@b.c>"], "553 5.6.7"),
        (["EHLO me", "MAIL FROM:<a@b.c>", "RCPT TO:<a@b.c>", "DATA x"], "501 5.5.4"),
        (["EHLO me", "MAIL a@b.c"], "501 5.1.7"),
        (["EHLO me", "MAIL FROM:a@b.c"], "501 5.1.7"),
        (["EHLO me", f"MAIL FROM:<{'a' * 65}@b.c>"], "501 5.1.7"),
        (["EHLO me", f"MAIL FROM:<a@{'b' * 256}>"], "501 5.1.7"),
        (["EHLO me", "MAIL FROM:<é@b.c>"], "553 5.6.7"),
        (["EHLO me", "MAIL FROM:<a@b.c> RET=FULL"], "555 5.5.4"),
        (["EHLO me", "MAIL FROM:<a@b.c> SIZE=x"], "555 5.5.4"),
        (["EHLO me", f"MAIL FROM:<a@b.c> SIZE={MAX_SIZE + 1}"], "552 5.3.4"),
        (["EHLO me", f"mail from:<a@b.c> size={MAX_SIZE} body=8bitmime smtputf8"], "250 2.1.0"),
        (["EHLO me", "MAIL FROM:<a@b.c> SMTPUTF8", "RCPT TO:<é@sandbox.test>"], "250 2.1.5"),
        (["STARTTLS"], "500 5.5.2"),
        ([""], "500 5.5.2"),
    ],
)
def test_order_and_syntax(commands: list[str], code: str) -> None:
    async def scenario(world: World) -> None:
        client = await world.raw()
        await client.reply()
        replies = await client.send(*commands)
        assert " ".join(replies[-1].split()[:2]) == code
        assert all(reply.startswith("250") for reply in replies[:-1])

    run(scenario, authenticate=login)


def test_long_command_lines_end_the_session() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(b"NOOP " + b"x" * 2000)
        assert (await client.reply()).startswith("500 5.5.2")
        assert await client.rest() == b""

    run(scenario)


def test_text_lines_have_at_most_1000_octets() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("anna@sandbox.test")
        assert (await client.data(b"." + b"." + b"x" * 997 + b"\r\n")).startswith("250")
        await client.begin("anna@sandbox.test")
        assert (await client.data(b"x" * 999 + b"\r\n")).startswith("550 5.6.0")

    (stored,) = run(scenario)
    assert stored.data == b"." + b"x" * 997 + b"\r\n"


def test_too_big_messages_are_refused_and_the_session_goes_on() -> None:
    line = b"x" * 998 + b"\r\n"

    async def scenario(world: World) -> None:
        client = await world.client()
        for size, code in ((MAX_SIZE + 1000, "552 5.3.4"), (MAX_SIZE - 1000, "250 2.0.0")):
            await client.begin("anna@sandbox.test")
            reply = await client.data(line * (size // 1000))
            assert reply.startswith(code)
        await client.begin("anna@sandbox.test")
        assert (await client.data(line * (2 * MAX_SIZE // 1000))).startswith("552 5.3.4")
        await client.begin("anna@sandbox.test")
        assert (await client.data()).startswith("250")

    assert [len(row.data) // 1_000_000 for row in run(scenario)] == [26, 0]


def test_a_client_that_reads_nothing_is_held_back_and_ended() -> None:
    """Its commands stay unread while megabytes of replies wait, and idleness ends it."""

    async def scenario(world: World) -> None:
        client = await world.client()
        (session,) = world.server.sessions
        sent = 0
        client.writer.transport.set_write_buffer_limits(0)
        client.reader._limit = 0  # type: ignore[attr-defined]  # stop reading after one chunk
        group = b"VRFY x\r\n" * 8192
        while not client.writer.transport.get_write_buffer_size():
            client.write(group)
            sent += len(group)
            for _ in range(10):
                await asyncio.sleep(0)
        assert sent < 2**27
        world.server.idle_timeout = 0
        session.check_idle()
        while world.server.sessions:
            await asyncio.sleep(0)

    run(scenario)


def test_too_many_recipients() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        codes = await client.begin(*(f"user{n}@sandbox.test" for n in range(1002)))
        assert codes == ["250"] * 1000 + ["452"] * 2
        assert (await client.data()).startswith("250")

    assert len(run(scenario)) == 1000


def test_too_many_connections() -> None:
    async def scenario(world: World) -> None:
        for _ in range(2):
            await world.client()
        client = await world.raw()
        assert await client.rest() == b"421 4.3.2 Too many connections\r\n"

    run(scenario, max_connections=2)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_only_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        SmtpServer(MemoryStore(), host=host)


# Headers


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("", "")),
        (b"Subject: a\r\n", ("", "a")),
        (b"subject:a\r\nMESSAGE-ID:\r\n <1@x>\r\n\r\nSubject: no\r\n", ("<1@x>", "a")),
        (b"\r\nSubject: in the body\r\n", ("", "")),
        (b"Subject: one\r\nSubject: two\r\n\r\n", ("", "one")),
        (b"X-Subject: no\r\n\r\n", ("", "")),
        (b"Subject: a\r\n b\r\n\tc\r\n\r\n", ("", "a b c")),
        (b"Subject: =?utf-8?q?=D0=90?= =?utf-8?b?0JE=?= x\r\n\r\n", ("", "АБ x")),
        (b"Subject: =?utf-8?b?YQ?=\r\n\r\n", ("", "a")),
        (b"Subject: =?utf-8?b?a?=\r\n\r\n", ("", "=?utf-8?b?a?=")),
        (b"Subject: =?nope?q?a?=\r\n\r\n", ("", "=?nope?q?a?=")),
        (b"Subject: =?utf-8?q?a=0D=0ABcc:_b=00?=\r\n\r\n", ("", "a Bcc: b")),
        ("Subject: Привет\r\n\r\n".encode(), ("", "Привет")),
        (b"Subject: \xff\r\n\r\n", ("", "�")),
    ],
)
def test_headers(data: bytes, expected: tuple[str, str]) -> None:
    assert headers(data) == expected


@given(
    st.binary(max_size=60),
    st.sampled_from(["utf-8", "utf-7", "idna", "undefined", "utf-16", "rot13", "x", "hex"]),
    st.sampled_from("qb"),
)
def test_headers_of_anything_are_single_storable_lines(
    value: bytes, charset: str, encoding: str
) -> None:
    word = b"=?%s?%s?%s?=" % (charset.encode(), encoding.encode(), base64.b64encode(value))
    for subject in (value, word, b"=?%s?%s?" % (charset.encode(), encoding.encode()) + value):
        for text in headers(b"Message-ID: " + value + b"\r\nSubject: " + subject + b"\r\n\r\n"):
            assert len(text.encode()) <= 998
            assert "\0" not in text
            assert len(text.splitlines()) <= 1
