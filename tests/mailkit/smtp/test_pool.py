from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailkit.smtp.client import Connection, Endpoint, Timeouts
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.smtp.pool import Pool, PoolStats

from .fake_server import DROP, FakeServer

MESSAGE = b"Subject: hi\r\n\r\nHello\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def send(pool: Pool, recipient: str = "r@d.example", **options: Any) -> Any:
    return await pool.send("s@s.example", recipient, MESSAGE, **options)


def test_one_connection_carries_many_messages() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint())
            for _ in range(20):
                assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == 1
            assert pool.stats() == PoolStats(open=1, idle=1, sent=20)
            await pool.close()
            assert pool.stats() == PoolStats(open=0, idle=0, sent=20)
            assert server.commands[-1] == "QUIT"
            with pytest.raises(RuntimeError):
                await send(pool)

    asyncio.run(go())


def test_never_more_connections_than_allowed_and_first_come_first_served() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_connections=3)
            busy = most = 0
            order: list[int] = []

            async def one(number: int) -> None:
                async def before_dot() -> bool:
                    nonlocal busy, most
                    order.append(number)
                    busy += 1
                    most = max(most, busy)
                    await asyncio.sleep(0)
                    busy -= 1
                    return True

                assert isinstance(await send(pool, before_dot=before_dot), Accepted)

            await asyncio.gather(*[one(number) for number in range(30)])
            assert most <= 3
            assert len(server.sessions) <= 3
            # A slot is passed on in the order of asking; three run side by side.
            assert all(abs(place - number) < 3 for place, number in enumerate(order))
            await pool.close()

    asyncio.run(go())


def test_connection_is_replaced_after_its_messages() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_messages=4)
            for _ in range(10):
                assert isinstance(await send(pool), Accepted)
            await pool.close()
            counts = [
                sum(command.startswith("MAIL") for command in session.commands)
                for session in server.sessions
            ]
            assert counts == [4, 4, 2]
            assert all(session.commands[-1] == "QUIT" for session in server.sessions)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("steps", "sessions"),
    [
        ([29.0, 29.0, 29.0], 1),
        ([30.0], 2),
        ([29.0] * 12, 2),  # busy all the time, yet past its age
    ],
)
def test_idle_and_aged_connections_are_not_used(steps: list[float], sessions: int) -> None:
    async def go() -> None:
        clock = Clock()
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_idle=30, max_age=300, clock=clock)
            await send(pool)
            for step in steps:
                clock.now += step
                assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == sessions
            await pool.close()

    asyncio.run(go())


def test_expire_and_close_idle() -> None:
    async def go() -> None:
        clock = Clock()
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), clock=clock)
            async with pool.connection() as first, pool.connection() as second:
                assert isinstance(first, Connection)
                assert isinstance(second, Connection)
                assert pool.stats() == PoolStats(open=2, idle=0, sent=0)
            clock.now += 10
            await send(pool)
            await pool.expire()
            assert pool.stats().idle == 2
            await pool.close_idle(5)
            assert pool.stats().idle == 1
            clock.now += 30
            await pool.expire()
            assert pool.stats() == PoolStats(open=0, idle=0, sent=1)
            assert all(session.commands[-1] == "QUIT" for session in server.sessions)
            await pool.close()

    asyncio.run(go())


@pytest.mark.parametrize("goodbye", [DROP, "421 4.4.2 idle for too long"])
def test_dead_kept_connection_is_replaced_once(goodbye: str) -> None:
    async def go() -> None:
        async with FakeServer({"MAIL": ["250 ok", goodbye, "250 ok"]}) as server:
            pool = Pool(server.endpoint())
            asked = 0

            async def before_dot() -> bool:
                nonlocal asked
                asked += 1
                return True

            await send(pool)
            assert isinstance(await send(pool, before_dot=before_dot), Accepted)
            assert asked == 1
            assert len(server.sessions) == 2
            assert len(server.accepted) == 2
            server.script["MAIL"] = DROP
            outcome = await send(pool)
            assert isinstance(outcome, Broken)  # the new one is dead too: no third
            assert len(server.sessions) == 3
            await pool.close()

    asyncio.run(go())


def test_refused_rset_is_not_the_messages_fault() -> None:
    async def go() -> None:
        script = {"RCPT": ["550 no", "250 ok"], "RSET": "502 what?"}
        async with FakeServer(script) as server:
            pool = Pool(server.endpoint())
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Accepted)
            assert [item.message for item in server.received] == [MESSAGE]
            await pool.close()

    asyncio.run(go())


def test_no_second_attempt_once_the_message_was_on_its_way() -> None:
    async def go() -> None:
        async with FakeServer({"DOT": ["250 ok", DROP, "250 ok"]}) as server:
            pool = Pool(server.endpoint())
            await send(pool)
            outcome = await send(pool)
            assert isinstance(outcome, Broken)
            assert outcome.after_dot
            assert len(server.received) == 2
            assert pool.stats() == PoolStats(open=0, idle=0, sent=1)
            await pool.close()

    asyncio.run(go())


def test_fresh_connection_is_not_tried_twice() -> None:
    async def go() -> None:
        async with FakeServer({"MAIL": DROP}) as server:
            pool = Pool(server.endpoint())
            assert isinstance(await send(pool), Broken)
            assert len(server.sessions) == 1
            await pool.close()

    asyncio.run(go())


def test_failure_to_open_is_the_outcome_and_frees_the_slot() -> None:
    async def go() -> None:
        async with FakeServer({"BANNER": ["554 no", DROP, "220 hi"]}) as server:
            pool = Pool(server.endpoint(), max_connections=1)
            refused = await send(pool)
            assert isinstance(refused, Refused)
            assert refused.stage == "banner"
            async with pool.connection() as broken:
                assert isinstance(broken, Broken)
            assert isinstance(await send(pool), Accepted)
            await pool.close()
        endpoint = server.endpoint()
        pool = Pool(endpoint, timeouts=Timeouts(connect=5))
        outcome = await send(pool)
        assert isinstance(outcome, Broken)
        assert outcome.stage == "connect"
        await pool.close()

    asyncio.run(go())


def test_bad_message_costs_no_connection_and_refusals_keep_it() -> None:
    async def go() -> None:
        script = {"RCPT": ["250 ok", "550 5.1.1 no", "450 later", "250 ok"]}
        async with FakeServer(script) as server:
            pool = Pool(server.endpoint(), max_connections=1)
            await send(pool)
            with pytest.raises(ValueError, match="bare"):
                await pool.send("s@s.example", "r@d.example", b"a\nb")
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == 1
            await pool.close()

    asyncio.run(go())


def test_cancelled_waiter_and_sender_leave_the_pool_usable() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_connections=1)
            inside, leave = asyncio.Event(), asyncio.Event()

            async def hold() -> bool:
                inside.set()
                await leave.wait()
                return True

            sender = asyncio.create_task(send(pool, before_dot=hold))
            await inside.wait()
            waiter = asyncio.create_task(send(pool))
            await asyncio.sleep(0)
            waiter.cancel()
            sender.cancel()
            results = await asyncio.gather(sender, waiter, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert isinstance(await send(pool), Accepted)
            assert len(server.accepted) == 1
            await pool.close()

    asyncio.run(go())


def test_close_waits_for_what_is_being_sent() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint())
            inside, leave = asyncio.Event(), asyncio.Event()

            async def hold() -> bool:
                inside.set()
                await leave.wait()
                return True

            sender = asyncio.create_task(send(pool, before_dot=hold))
            await inside.wait()
            closing = asyncio.create_task(pool.close())
            await asyncio.sleep(0)
            assert not closing.done()
            leave.set()
            assert isinstance(await sender, Accepted)
            await closing
            assert server.commands[-1] == "QUIT"

    asyncio.run(go())


def test_impossible_limits_are_errors() -> None:
    endpoint = Endpoint("127.0.0.1", 25, "none", "client.example")
    with pytest.raises(ValueError, match="room"):
        Pool(endpoint, max_connections=0)
