from __future__ import annotations

import asyncio

import pytest

from apps.sandbox.world import BEHAVIOURS, Behaviour, Smtp
from tests.support.sandbox_smtp import MESSAGE, World, run

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
