from __future__ import annotations

import asyncio
import base64
import smtplib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sandbox.server import serve
from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.smtp_syntax import MAX_SIZE
from apps.sandbox.store import (
    MemoryStore,
    SaveFailed,
    SaveUnknown,
    Store,
    StoredMessage,
    headers,
)
from apps.sandbox.world import BEHAVIOURS, Behaviour, Smtp

MESSAGE = b"Message-ID: <1@x>\r\nSubject: Hello\r\n\r\nHi\r\n"


class Client:
    """Sends bytes as they are and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        lines = []
        while True:
            line = await self.reader.readline()
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def send(self, *commands: str | bytes) -> list[str]:
        """Pipeline the commands; the replies to them."""
        for command in commands:
            self.write((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return [await self.reply() for _ in commands]

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def code(self, command: str | bytes) -> str:
        """The code and the enhanced code of the reply."""
        (reply,) = await self.send(command)
        return " ".join(reply.split()[:2])

    async def begin(self, *recipients: str, sender: str = "me@example.org") -> list[str]:
        """MAIL and RCPT in one group; the codes of the replies to RCPT."""
        replies = await self.send(
            f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)
        )
        assert replies[0].startswith("250")
        return [reply[:3] for reply in replies[1:]]

    async def data(self, message: bytes = MESSAGE) -> str:
        assert (await self.code("DATA")).startswith("354")
        self.write(message + b".\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """What comes until the server closes or breaks the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


class World:
    def __init__(self, store: Store, **options: Any) -> None:
        self.server = SmtpServer(store, **options)
        self.clients: list[Client] = []

    async def raw(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def client(self) -> Client:
        client = await self.raw()
        assert (await client.reply()).startswith("220")
        assert (await client.send("EHLO me.example.org"))[0].startswith("250")
        return client


@asynccontextmanager
async def running(store: Store, **options: Any) -> AsyncIterator[World]:
    world = World(store, **options)
    await world.server.start()
    try:
        yield world
    finally:
        for client in world.clients:
            client.writer.close()
        await world.server.stop()


def run(
    scenario: Callable[[World], Coroutine[Any, Any, None]],
    store: Store | None = None,
    **options: Any,
) -> list[StoredMessage]:
    """Play the scenario against a server; what it stored, where the store is a MemoryStore."""
    used = MemoryStore() if store is None else store

    async def main() -> None:
        async with running(used, **options) as world:
            await scenario(world)

    asyncio.run(main())
    return used.messages if isinstance(used, MemoryStore) else []


def login(user: str, password: str) -> str | None:
    return f"inbox-{user}" if password == "pä ss" else None


def with_smtplib(work: Callable[[smtplib.SMTP], None], **options: Any) -> list[StoredMessage]:
    async def scenario(world: World) -> None:
        def talk() -> None:
            with smtplib.SMTP("127.0.0.1", world.server.port, "me.example.org", 10) as client:
                work(client)

        await asyncio.to_thread(talk)

    return run(scenario, **options)


# Messages


def test_a_message_is_stored_as_it_came_once_for_each_recipient() -> None:
    message = EmailMessage()
    message["Subject"] = "Привет, мир"
    message["Message-ID"] = "<17@example.org>"
    message.set_content("One\n.\n..two\n.three\n\nпять\n")

    def work(client: smtplib.SMTP) -> None:
        refused = client.sendmail(
            "me@example.org",
            ["anna@sandbox.test", "nosuch@sandbox.test", "any.one@example.com"],
            message.as_bytes(policy=SMTP),
        )
        assert refused == {"nosuch@sandbox.test": (550, b"5.1.1 No such user here")}

    stored = with_smtplib(work)
    assert [row.recipient for row in stored] == ["anna@sandbox.test", "any.one@example.com"]
    for row in stored:
        assert row.data == message.as_bytes(policy=SMTP)
        assert row.envelope_from == "me@example.org"
        assert row.message_id == "<17@example.org>"
        assert row.subject == "Привет, мир"
        assert row.inbox is None
        assert row.received_at.tzinfo is not None


def test_extensions() -> None:
    def work(client: smtplib.SMTP) -> None:
        client.ehlo()
        assert client.esmtp_features.keys() == {
            *("pipelining", "8bitmime", "smtputf8", "size", "enhancedstatuscodes", "auth")
        }
        assert client.esmtp_features["size"] == str(25 * 1024 * 1024)
        assert client.vrfy("anna@sandbox.test")[0] == 252
        assert client.noop()[0] == 250
        assert client.helo("me")[0] == 250

    with_smtplib(work, authenticate=login)


lines = st.lists(
    st.one_of(
        st.sampled_from([b"", b".", b"..", b".x", b"...", b"QUIT", b"RCPT TO:<a@b.c>"]),
        st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
    ),
    max_size=8,
)


def test_dot_stuffing_and_chunks_do_not_change_a_message() -> None:
    """Every message comes out as it was, however the network cuts it up."""

    @given(st.lists(lines, min_size=1, max_size=3), st.integers(1, 7))
    def check(messages: list[list[bytes]], chunk: int) -> None:
        async def scenario(world: World) -> None:
            client = await world.client()
            for message in messages:
                await client.begin("anna@sandbox.test")
                assert (await client.code("DATA")).startswith("354")
                wire = b"".join(
                    (b"." + line if line.startswith(b".") else line) + b"\r\n" for line in message
                )
                wire += b".\r\n"
                for start in range(0, len(wire), chunk):
                    client.write(wire[start : start + chunk])
                    await client.writer.drain()
                assert (await client.reply()).startswith("250")

        stored = run(scenario)
        assert [row.data for row in stored] == [
            b"".join(line + b"\r\n" for line in message) for message in messages
        ]

    check()


def test_a_pipelined_group_is_answered_in_one_write_and_in_order() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(
            b"MAIL FROM:<>\r\nRCPT TO:<a@sandbox.test>\r\nRCPT TO:<full@sandbox.test>\r\nDATA\r\n"
        )
        replies = (await client.reader.read(4096)).decode().splitlines()
        assert [reply[:3] for reply in replies] == ["250", "250", "552", "354"]
        # The next transactions may follow the final dot at once (RFC 2920, 3.1).
        client.write(MESSAGE + b".\r\nMAIL FROM:<b@x.org>\r\nRCPT TO:<c@sandbox.test>\r\nDATA\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        client.write(MESSAGE + b".\r\nRSET\r\nBOGUS\r\nQUIT\r\nNOOP\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "500", "221"]
        assert await client.rest() == b""

    stored = run(scenario)
    assert [(row.envelope_from, row.recipient) for row in stored] == [
        ("", "a@sandbox.test"),
        ("b@x.org", "c@sandbox.test"),
    ]


def test_a_client_that_closes_its_side_after_the_dot_still_gets_the_reply() -> None:
    class SlowStore(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.called, self.release = asyncio.Event(), asyncio.Event()

        async def save(self, *messages: StoredMessage) -> None:
            self.called.set()
            await self.release.wait()
            await super().save(*messages)

    store = SlowStore()

    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("a@sandbox.test")
        await client.code("DATA")
        client.write(MESSAGE + b".\r\nQUIT\r\n")
        client.writer.write_eof()
        await store.called.wait()
        store.release.set()
        assert [line[:3] for line in (await client.rest()).split(b"\r\n")] == [b"250", b"221", b""]

    assert len(run(scenario, store)) == 1


def test_the_250_comes_after_the_commit() -> None:
    class CheckedStore(MemoryStore):
        session_replied = False

        async def save(self, *messages: StoredMessage) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            assert not self.session_replied
            await super().save(*messages)

    store = CheckedStore()

    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("a@sandbox.test")
        assert (await client.data()).startswith("250")
        store.session_replied = True
        assert len(store.messages) == 1

    run(scenario, store)


def test_many_clients_at_once() -> None:
    async def scenario(world: World) -> None:
        async def one(number: int) -> None:
            client = await world.client()
            for turn in range(3):
                name = f"user{number}.{turn}"
                assert await client.begin(f"{name}@sandbox.test") == ["250"]
                assert (await client.data(b"Subject: %s\r\n\r\n" % name.encode())).startswith("250")
            client.writer.close()

        await asyncio.gather(*(one(number) for number in range(100)))

    stored = run(scenario)
    assert len(stored) == len({row.recipient for row in stored}) == 300
    assert all(row.recipient == f"{row.subject}@sandbox.test" for row in stored)


# Behaviours


REFUSING = [row for row in BEHAVIOURS if row.smtp is Smtp.REFUSE]


@pytest.mark.parametrize("row", REFUSING, ids=lambda row: row.domain)
def test_refusing_recipients(row: Behaviour) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.send("MAIL FROM:<me@example.org>")
        addresses = [f"anna@{row.domain}.sandbox.test", f"x@shop.{row.domain}.sandbox.test"]
        if row.word:
            addresses.append(f"{row.word}-1@sandbox.test")
        for address in addresses:
            assert await client.send(f"RCPT TO:<{address}>") == [row.reply]
        assert await client.code("DATA") == "554 5.5.1"

    assert run(scenario) == []


@pytest.mark.parametrize(
    "address",
    [
        *("anna@sandbox.test", "b@inbox.sandbox.test", "c@shop.aonly.sandbox.test"),
        *("dropbox@sandbox.test", "x7f3k9q2m4w8z1@catchall.sandbox.test"),
        *("nosuch@gmail.example", '"quoted name"@sandbox.test'),
    ],
)
def test_accepting_recipients(address: str) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.begin(address) == ["250"]
        assert (await client.data()).startswith("250")

    assert [row.recipient for row in run(scenario)] == [address]


def test_made_up_recipients_do_not_exist() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.begin(
            "x7f3k9q2m4w8z1@sandbox.test", "9f86d081884c7d659a2feaa0c55ad015@drop.sandbox.test"
        ) == ["550", "550"]

    run(scenario)


@pytest.mark.parametrize("address", ["anna@grey.sandbox.test", "grey.1@sandbox.test"])
def test_greylisting(address: str) -> None:
    now = 1000.0

    async def scenario(world: World) -> None:
        nonlocal now
        client = await world.client()

        async def attempt(sender: str) -> str:
            await client.send("RSET")
            (code,) = await client.begin(address, sender=sender)
            return code

        assert await attempt("me@example.org") == "451"
        now += 59
        assert await attempt("Me@example.org") == "451"
        assert await attempt("you@example.org") == "451"
        now += 1
        assert await attempt("me@example.org") == "250"
        assert (await client.data()).startswith("250")
        assert await attempt("you@example.org") == "451"

    assert len(run(scenario, clock=lambda: now)) == 1


@pytest.mark.parametrize("address", ["anna@timeout.sandbox.test", "slow@sandbox.test"])
def test_silence_after_rcpt(address: str) -> None:
    """The replies before it arrive, none after, and the session ends in the end."""

    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(f"MAIL FROM:<>\r\nRCPT TO:<{address}>\r\nNOOP\r\nQUIT\r\n".encode())
        assert (await client.reply()).startswith("250")
        (session,) = world.server.sessions
        world.server.idle_timeout = 0
        session.check_idle()
        assert await client.rest() == b"421 4.4.2 Idle for too long\r\n"

    run(scenario)


def test_a_silent_session_ends_with_its_client() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        client.write(b"MAIL FROM:<>\r\nRCPT TO:<slow@sandbox.test>\r\n")
        await client.reply()
        client.writer.write_eof()
        assert await client.rest() == b""
        while world.server.sessions:
            await asyncio.sleep(0)

    run(scenario)


def test_an_idle_session_ends() -> None:
    async def scenario(world: World) -> None:
        client = await world.raw()
        assert (await client.reply()).startswith("220")
        assert (await client.rest()).startswith(b"421 4.4.2")

    run(scenario, idle_timeout=0.05)


@pytest.mark.parametrize("address", ["anna@drop.sandbox.test", "drop17@sandbox.test"])
def test_drop_breaks_the_first_delivery_of_each_message_and_recipient(address: str) -> None:
    async def scenario(world: World) -> None:
        async def deliver(message_id: bytes, *recipients: str) -> bool:
            client = await world.client()
            await client.begin(*recipients)
            await client.code("DATA")
            client.write(b"Message-ID: <%s>\r\n\r\nHi\r\n.\r\n" % message_id)
            client.writer.write_eof()
            return (await client.rest()).startswith(b"250")

        assert not await deliver(b"1", address)
        assert await deliver(b"1", address)
        assert await deliver(b"1", address.upper())
        assert not await deliver(b"2", address)
        assert not await deliver(b"1", address, f"drop-other@{address.partition('@')[2]}")
        assert await deliver(b"3", "anna@sandbox.test")

    assert [row.message_id for row in run(scenario)] == ["<1>", "<1>", "<3>"]


def test_drop_happens_in_the_middle_of_a_message() -> None:
    """Once the header block is in, before any final dot is sent."""

    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("dropalways@sandbox.test")
        await client.code("DATA")
        client.write(b"Message-ID: <1>\r\nSubject: a\r\n\r\nThe first of man")
        assert await client.rest() == b""

    assert run(scenario) == []


@pytest.mark.parametrize("address", ["a@dropalways.sandbox.test", "dropalways@sandbox.test"])
@pytest.mark.parametrize("message", [MESSAGE, b"", b"No header\r\n"])
def test_dropalways(address: str, message: bytes) -> None:
    async def scenario(world: World) -> None:
        for _ in range(3):
            client = await world.client()
            await client.begin("anna@sandbox.test", address)
            await client.code("DATA")
            client.write(message + b".\r\n")
            assert await client.rest() == b""

    assert run(scenario) == []


@pytest.mark.parametrize("address", ["anna@lost.sandbox.test", "lost@sandbox.test"])
def test_lost_stores_the_message_and_says_nothing(address: str) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin(address, "anna@sandbox.test")
        await client.code("DATA")
        client.write(MESSAGE + b".\r\nNOOP\r\n")
        assert await client.rest() == b""

    assert [row.recipient for row in run(scenario)] == [address, "anna@sandbox.test"]


# The store fails


class FailingStore:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.saved: list[StoredMessage] = []

    async def save(self, *messages: StoredMessage) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.saved += messages


@pytest.mark.parametrize("failure", [SaveFailed("down"), ValueError("a bug")])
@pytest.mark.parametrize("address", ["anna@sandbox.test", "lost@sandbox.test"])
def test_what_is_not_stored_gets_a_451(failure: Exception, address: str) -> None:
    store = FailingStore(failure)

    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin(address)
        assert (await client.data()).startswith("451 4.3.0")
        await client.begin("anna@sandbox.test")
        assert (await client.data()).startswith("250")

    run(scenario, store)
    assert [row.recipient for row in store.saved] == ["anna@sandbox.test"]


def test_an_unknown_commit_gets_no_reply() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        await client.begin("anna@sandbox.test")
        await client.code("DATA")
        client.write(MESSAGE + b".\r\n")
        assert await client.rest() == b""

    run(scenario, FailingStore(SaveUnknown("lost in commit")))


# Strictness


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


# AUTH


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [True, False])
def test_auth_with_smtplib(mechanism: str, initial: bool) -> None:
    def work(client: smtplib.SMTP) -> None:
        client.user, client.password = "anna", "wrong"
        client.ehlo()
        method = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.auth(mechanism, method, initial_response_ok=initial)
        assert refusal.value.smtp_code == 535

    with_smtplib(work, authenticate=login)


@pytest.mark.parametrize(
    "exchange",
    [
        [("AUTH PLAIN " + encoded("\0anna\0pä ss"), "235")],
        [("auth plain", "334"), (encoded("\0anna\0pä ss"), "235")],
        [("AUTH LOGIN", "334"), (encoded("anna"), "334"), (encoded("pä ss"), "235")],
        [("AUTH LOGIN " + encoded("anna"), "334"), (encoded("pä ss"), "235")],
        [
            ("AUTH PLAIN " + encoded("\0anna\0wrong"), "535"),
            ("AUTH PLAIN " + encoded("\0anna\0pä ss"), "235"),
            ("AUTH PLAIN " + encoded("\0anna\0pä ss"), "503"),
        ],
    ],
)
def test_auth_gives_the_inbox(exchange: list[tuple[str, str]]) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        for line, code in exchange:
            assert (await client.code(line))[:3] == code
        await client.send("EHLO again")
        await client.begin("anyone@example.com")
        assert (await client.data()).startswith("250")

    assert [row.inbox for row in run(scenario, authenticate=login)] == ["inbox-anna"]


@pytest.mark.parametrize(
    "lines",
    [
        *(["AUTH PLAIN ="], ["AUTH PLAIN !!!"], ["AUTH PLAIN", "*"], ["AUTH LOGIN", "*"]),
        *(["AUTH LOGIN", "YQ==", "*"], ["AUTH PLAIN", "YQ=="], ["AUTH PLAIN", "/w=="]),
        *(["AUTH LOGIN", "é"], ["AUTH PLAIN", ""]),
    ],
)
def test_broken_auth_is_501_and_the_session_goes_on(lines: list[str]) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        for line in lines[:-1]:
            assert (await client.code(line)).startswith("334")
        assert await client.code(lines[-1]) == "501 5.5.2"
        assert await client.code("NOOP") == "250 2.0.0"

    run(scenario, authenticate=login)


def test_auth_that_cannot_be_checked_is_454() -> None:
    def broken(user: str, password: str) -> str | None:
        raise OSError("no database")

    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.code("AUTH PLAIN AGEAYg==") == "454 4.7.0"
        assert await client.code("AUTH CRAM-MD5") == "504 5.5.4"

    run(scenario, authenticate=broken)


def test_no_auth_without_authenticate() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.code("AUTH PLAIN AGEAYg==") == "502 5.5.1"
        assert "AUTH" not in (await client.send("EHLO me"))[0]

    run(scenario)


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


# Both servers


def test_serve_runs_both_servers_until_cancelled() -> None:
    async def main() -> None:
        ports: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        task = asyncio.create_task(
            serve(
                smtp_port=0,
                dns_port=0,
                store=MemoryStore(),
                authenticate=None,
                ready=lambda smtp, dns: ports.put_nowait((smtp, dns)),
            )
        )
        smtp_port, dns_port = await ports.get()
        for port in (smtp_port, dns_port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for port in (smtp_port, dns_port):
            with pytest.raises(OSError, match=str(port)):
                await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(main())
