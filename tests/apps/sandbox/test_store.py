from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from apps.sandbox.models import Message
from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.store import PostgresStore, SaveFailed, StoredMessage
from mailkit.smtp.connection import Connection
from mailkit.smtp.endpoint import Endpoint
from mailkit.smtp.outcomes import Accepted, Refused
from tests.support.concurrency import own_database_url
from tests.support.letters import send_letter

pytestmark = pytest.mark.django_db(transaction=True)

LETTER = b"Message-ID: <1@x.test>\r\nSubject: =?utf-8?b?0J/RgNC40LLQtdGC?=\r\n\r\nHi\r\n"


def message(number: int = 1, **fields: Any) -> StoredMessage:
    values: dict[str, Any] = {
        "inbox": "7",
        "envelope_from": "news@x.test",
        "recipient": f"n{number}@inbox.sandbox.test",
        "message_id": f"<{number}@x.test>",
        "subject": "Привет",
        "data": LETTER,
        "received_at": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return StoredMessage(**(values | fields))


def with_store(work: Callable[[PostgresStore], Awaitable[None]], url: str = "") -> None:
    async def go() -> None:
        async with PostgresStore(url or own_database_url()) as store:
            await work(store)

    asyncio.run(go())


async def count() -> int:
    """What another session sees: nothing that is not committed."""
    async with await psycopg.AsyncConnection.connect(own_database_url()) as other:
        row = await (await other.execute("SELECT count(*) FROM sandbox_message")).fetchone()
        assert row
        return int(row[0])


async def end_sessions(store: PostgresStore) -> None:
    assert store._connection is not None
    pid = store._connection.info.backend_pid
    async with await psycopg.AsyncConnection.connect(own_database_url()) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_saved_message_is_committed_before_save_returns() -> None:
    async def work(store: PostgresStore) -> None:
        for number in range(1, 4):
            await store.save(message(number), message(number + 100))
            assert await count() == number * 2

    with_store(work)
    saved = Message.objects.order_by("id")[0]
    assert (saved.inbox, saved.recipient, saved.message_id, saved.subject) == (
        "7",
        "n1@inbox.sandbox.test",
        "<1@x.test>",
        "Привет",
    )
    assert bytes(saved.data) == LETTER
    assert saved.received_at == datetime(2026, 1, 2, tzinfo=UTC)


def test_what_comes_at_once_is_saved_once_each() -> None:
    async def work(store: PostgresStore) -> None:
        await asyncio.gather(*(store.save(message(number)) for number in range(1500)))
        assert await count() == 1500

    with_store(work)
    assert Message.objects.values("message_id").distinct().count() == 1500


def test_it_connects_again_after_its_session_was_ended() -> None:
    async def work(store: PostgresStore) -> None:
        await store.save(message(1))
        await end_sessions(store)
        # The loss shows on the next use: nothing is stored, and the client is told so.
        with pytest.raises(SaveFailed):
            await store.save(message(2))
        await store.save(message(2))
        assert await count() == 2

    with_store(work)


def test_without_a_database_every_save_fails_at_once() -> None:
    async def work(store: PostgresStore) -> None:
        for _ in range(5):
            with pytest.raises(SaveFailed):
                await store.save(message())

    with_store(work, "postgresql://127.0.0.1:1/nowhere")


def test_a_closed_store_saves_nothing() -> None:
    async def go() -> None:
        store = PostgresStore(own_database_url())
        with pytest.raises(SaveFailed):
            await store.save(message())
        async with store:
            await store.save(message())
        with pytest.raises(SaveFailed):
            await store.save(message())

    asyncio.run(go())
    assert Message.objects.count() == 1


def test_closing_saves_what_was_queued() -> None:
    async def go() -> None:
        async with PostgresStore(own_database_url()) as store:
            saves = [asyncio.ensure_future(store.save(message(n))) for n in range(20)]
            await asyncio.sleep(0)  # let them queue up
        await asyncio.gather(*saves)

    asyncio.run(go())
    assert Message.objects.count() == 20


def test_one_message_that_no_column_takes_fails_no_other() -> None:
    async def work(store: PostgresStore) -> None:
        odd = message(1, subject="a\0b\udc80", inbox=None, recipient="x\0@inbox.sandbox.test")
        too_long = message(2, recipient="x" * 321)
        results = await asyncio.gather(
            store.save(odd), store.save(message(3)), return_exceptions=True
        )
        assert list(results) == [None, None]
        with pytest.raises(SaveFailed):
            await store.save(too_long)
        await store.save(message(4))
        assert await count() == 3

    with_store(work)
    assert Message.objects.get(message_id="<1@x.test>").subject == "ab?"


def test_a_cancelled_caller_stops_nobody_else() -> None:
    async def work(store: PostgresStore) -> None:
        saves = [asyncio.ensure_future(store.save(message(n))) for n in range(3)]
        await asyncio.sleep(0)
        saves[1].cancel()
        done = await asyncio.gather(*saves, return_exceptions=True)
        assert [type(one) for one in done] == [type(None), asyncio.CancelledError, type(None)]
        await store.save(message(9))

    with_store(work)


def test_the_server_says_250_after_the_commit_and_451_without_one() -> None:
    async def work(store: PostgresStore) -> None:
        server = SmtpServer(store)
        await server.start()
        endpoint = Endpoint("127.0.0.1", server.port, "none", "client.example")
        connection = await Connection.open(endpoint)
        assert isinstance(connection, Connection)

        async def send() -> Any:
            return await send_letter(connection, "news@x.test", "anna@inbox.sandbox.test", LETTER)

        assert isinstance(await send(), Accepted)
        assert await count() == 1
        await end_sessions(store)
        refused = await send()
        assert isinstance(refused, Refused)
        assert (refused.stage, refused.reply.code) == ("body", 451)
        assert await count() == 1
        assert isinstance(await send(), Accepted)
        assert await count() == 2
        await connection.close()
        await server.stop()

    with_store(work)
