"""Handing a group of letters over: a route's connections take one letter after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.smtp.pool import Pool

Outcome = Accepted | Refused | Broken


@dataclass(slots=True, eq=False)
class Ready:
    """A letter that may be sent now. `attempts` counts the hand-offs before.

    `sender`: its return path; "" where that is the sender's address.
    """

    contact_id: int
    recipient: str
    message: WireMessage
    attempts: int
    sender: str = ""


class Handover:
    """The letters of one group. Runs on the loop; `stop`, `collect` and `left` are for the thread
    that waits for it: each is one operation that cannot be interrupted half-way.

    `answered`: how many letters are told about; `failure`: why a connection could not be had.
    """

    def __init__(self, letters: Iterable[Ready]) -> None:
        self._queue = deque(letters)
        self.contact_ids = tuple(letter.contact_id for letter in self._queue)
        self._outcomes: dict[Ready, Outcome] = {}
        self._stopped = False
        self.answered = 0
        self.failure: Refused | Broken | None = None

    @property
    def waiting(self) -> bool:
        return bool(self._queue) and not self._stopped

    def take(self) -> Ready | None:
        try:
            return self._queue.popleft() if self.waiting else None
        except IndexError:  # taken back by `left` in this very moment
            return None

    def settle(self, letter: Ready, outcome: Outcome) -> None:
        self._outcomes[letter] = outcome
        self.answered += 1

    def put_back(self, letter: Ready) -> None:
        self._queue.appendleft(letter)

    def stop(self) -> None:
        """Begin no further letter; those that are begun go on."""
        self._stopped = True

    def collect(self) -> list[tuple[Ready, Outcome]]:
        """What is known and was not collected before."""
        return [(letter, self._outcomes.pop(letter)) for letter in list(self._outcomes)]

    def left(self) -> list[Ready]:
        """Letters that were not begun; nobody else will begin them."""
        letters = []
        while True:
            try:
                letters.append(self._queue.popleft())
            except IndexError:
                return letters

    async def run(self, pool: Pool, envelope_from: str, connections: int) -> None:
        """Until all letters are told about or, once stopped, those that were begun."""
        await asyncio.gather(*(self._work(pool, envelope_from) for _ in range(connections)))

    async def _work(self, pool: Pool, envelope_from: str) -> None:
        """A connection that cannot be had ends its part: some relays allow fewer than we were
        told. Once none can be had, the letters are left."""
        failure = await pool.send_each(envelope_from, self)
        self.failure = failure or self.failure
