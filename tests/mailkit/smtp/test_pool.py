from __future__ import annotations

import asyncio

import pytest

from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.message import prepare
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.smtp.pool import Pool, PoolStats
from tests.support.letters import MESSAGE, Group, Letter, Outcome, send_letter_through

from .fake_server import DROP, HANG, FakeServer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def send(pool: Pool) -> Outcome | None:
    return await send_letter_through(pool, "s@s.example", "r@d.example", MESSAGE)


def test_one_connection_carries_many_messages() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint())
            for _ in range(20):
                assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == 1
            assert pool.stats() == PoolStats(open=1, idle=1, sent=20)
            await pool.close_idle()
            assert pool.stats() == PoolStats(open=0, idle=0, sent=20)
            assert server.commands[-1] == "QUIT"

    asyncio.run(go())


def test_never_more_connections_than_allowed_and_first_come_first_served() -> None:
    busy = most = 0
    order: list[int] = []

    class Counted(Group):
        def __init__(self, number: int) -> None:
            super().__init__([Letter("r@d.example", prepare(MESSAGE))])
            self.number = number

        def take(self) -> Letter | None:
            nonlocal busy, most
            if self.waiting:
                order.append(self.number)
                busy += 1
                most = max(most, busy)
            return super().take()

        def settle(self, letter: Letter, outcome: Outcome) -> None:
            nonlocal busy
            busy -= 1
            super().settle(letter, outcome)

    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_connections=3)
            groups = [Counted(number) for number in range(30)]
            await asyncio.gather(*(pool.send_each("s@s.example", group) for group in groups))
            assert all(isinstance(group.told()[0], Accepted) for group in groups)
            assert most == 3
            assert len(server.sessions) == 3
            # A slot is passed on in the order of asking; three run side by side.
            assert all(abs(place - number) < 3 for place, number in enumerate(order))
            await pool.close_idle()

    asyncio.run(go())


def test_connection_is_replaced_after_its_messages() -> None:
    async def go() -> None:
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), max_messages=4)
            for _ in range(10):
                assert isinstance(await send(pool), Accepted)
            await pool.close_idle()
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
            await pool.close_idle()

    asyncio.run(go())


def test_expire_and_close_idle() -> None:
    async def go() -> None:
        clock = Clock()
        async with FakeServer() as server:
            pool = Pool(server.endpoint(), clock=clock)
            await asyncio.gather(send(pool), send(pool))
            assert pool.stats() == PoolStats(open=2, idle=2, sent=2)
            clock.now += 10
            await send(pool)
            await pool.expire()
            assert pool.stats().idle == 2
            clock.now += 25
            await pool.expire()
            assert pool.stats() == PoolStats(open=1, idle=1, sent=3)
            await send(pool)
            await pool.close_idle()
            assert pool.stats() == PoolStats(open=0, idle=0, sent=4)
            assert all(session.commands[-1] == "QUIT" for session in server.sessions)

    asyncio.run(go())


@pytest.mark.parametrize("goodbye", [DROP, "421 4.4.2 idle for too long"])
def test_dead_kept_connection_is_replaced_once(goodbye: str) -> None:
    async def go() -> None:
        async with FakeServer({"MAIL": ["250 ok", goodbye, "250 ok"]}) as server:
            pool = Pool(server.endpoint())
            await send(pool)
            assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == 2
            assert len(server.accepted) == 2
            server.script["MAIL"] = DROP
            outcome = await send(pool)
            assert isinstance(outcome, Broken)  # the new one is dead too: no third
            assert len(server.sessions) == 3
            await pool.close_idle()

    asyncio.run(go())


def test_refused_rset_is_not_the_messages_fault() -> None:
    async def go() -> None:
        script = {"RCPT": ["550 no", "250 ok"], "RSET": "502 what?"}
        async with FakeServer(script) as server:
            pool = Pool(server.endpoint())
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Accepted)
            assert [item.message for item in server.received] == [MESSAGE]
            await pool.close_idle()

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
            await pool.close_idle()

    asyncio.run(go())


def test_fresh_connection_is_not_tried_twice() -> None:
    async def go() -> None:
        async with FakeServer({"MAIL": DROP}) as server:
            pool = Pool(server.endpoint())
            assert isinstance(await send(pool), Broken)
            assert len(server.sessions) == 1
            await pool.close_idle()

    asyncio.run(go())


def test_failure_to_open_is_the_outcome_and_frees_the_slot() -> None:
    async def go() -> None:
        async with FakeServer({"BANNER": ["554 no", DROP, "220 hi"]}) as server:
            pool = Pool(server.endpoint(), max_connections=1)
            refused = await send(pool)
            assert isinstance(refused, Refused)
            assert refused.stage == "banner"
            assert isinstance(await send(pool), Broken)
            assert isinstance(await send(pool), Accepted)
            await pool.close_idle()
        endpoint = server.endpoint()
        pool = Pool(endpoint, timeouts=Timeouts(connect=5))
        outcome = await send(pool)
        assert isinstance(outcome, Broken)
        assert outcome.stage == "connect"
        await pool.close_idle()

    asyncio.run(go())


def test_refusals_keep_the_connection() -> None:
    async def go() -> None:
        script = {"RCPT": ["250 ok", "550 5.1.1 no", "450 later", "250 ok"]}
        async with FakeServer(script) as server:
            pool = Pool(server.endpoint(), max_connections=1)
            await send(pool)
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Refused)
            assert isinstance(await send(pool), Accepted)
            assert len(server.sessions) == 1
            await pool.close_idle()

    asyncio.run(go())


def test_cancelled_waiter_and_sender_leave_the_pool_usable() -> None:
    async def go() -> None:
        async with FakeServer({"RCPT": [HANG, "250 ok"]}) as server:
            pool = Pool(server.endpoint(), max_connections=1)
            sender = asyncio.create_task(send(pool))
            async with asyncio.timeout(30):
                while "RCPT TO:<r@d.example>" not in server.commands:
                    await asyncio.sleep(0.01)
            waiter = asyncio.create_task(send(pool))
            await asyncio.sleep(0)
            waiter.cancel()
            sender.cancel()
            results = await asyncio.gather(sender, waiter, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert isinstance(await send(pool), Accepted)
            assert len(server.accepted) == 1
            await pool.close_idle()

    asyncio.run(go())


def test_impossible_limits_are_errors() -> None:
    endpoint = Endpoint("127.0.0.1", 25, "none", "client.example")
    with pytest.raises(ValueError, match="room"):
        Pool(endpoint, max_connections=0)
