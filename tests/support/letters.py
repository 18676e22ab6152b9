"""Letters for an SMTP connection or a pool, and what came of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from mailkit.smtp.connection import Connection
from mailkit.smtp.message import WireMessage, prepare
from mailkit.smtp.outcomes import Accepted, Broken, Refused
from mailkit.smtp.pool import Pool

Outcome = Accepted | Refused | Broken

MESSAGE = b"Subject: hi\r\n\r\nHello\r\n"
BIG = MESSAGE + b"x" * 70 + (b"\r\n" + b"x" * 70) * 120_000 + b"\r\n"  # beyond all buffers


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    recipient: str
    message: WireMessage
    sender: str = ""


class Group:
    """Letters on their way; what happens to each is checked as it happens."""

    def __init__(self, letters: Iterable[Letter]) -> None:
        self.queue = deque(letters)
        self.all = list(self.queue)
        self.taken: set[Letter] = set()
        self.returned: Counter[Letter] = Counter()
        self.outcomes: dict[Letter, Outcome] = {}

    @property
    def waiting(self) -> bool:
        return bool(self.queue)

    def take(self) -> Letter | None:
        if not self.queue:
            return None
        letter = self.queue.popleft()
        assert letter not in self.taken
        self.taken.add(letter)
        return letter

    def settle(self, letter: Letter, outcome: Outcome) -> None:
        assert letter not in self.outcomes, "settled twice"
        self.taken.remove(letter)
        self.outcomes[letter] = outcome

    def put_back(self, letter: Letter) -> None:
        assert letter not in self.outcomes, "settled and put back"
        self.taken.remove(letter)
        self.returned[letter] += 1
        self.queue.appendleft(letter)

    def told(self) -> list[Outcome | None]:
        """What came of the letters, in their order; None for those that wait."""
        assert not self.taken, "neither settled nor put back"
        assert len(self.outcomes) + len(self.queue) == len(self.all)
        return [self.outcomes.get(letter) for letter in self.all]


async def send_letter(
    connection: Connection, envelope_from: str, recipient: str, message: bytes
) -> Outcome | None:
    """What came of one letter; None where the connection put it back."""
    group = Group([Letter(recipient, prepare(message))])
    await connection.send_each(envelope_from, group, limit=1000, hold=lambda: 0.0)
    return group.told()[0]


async def send_letter_through(
    pool: Pool, envelope_from: str, recipient: str, message: bytes
) -> Outcome | None:
    """What came of one letter, or why there was no connection for it."""
    group = Group([Letter(recipient, prepare(message))])
    failure = await pool.send_each(envelope_from, group)
    return group.told()[0] or failure
