from __future__ import annotations

import asyncio
import smtplib
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sandbox.server import serve
from apps.sandbox.store import (
    MemoryStore,
    SaveFailed,
    SaveUnknown,
    StoredMessage,
)
from tests.support.sandbox_smtp import MESSAGE, World, login, run, with_smtplib


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
