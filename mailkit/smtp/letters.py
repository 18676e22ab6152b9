"""Letters on their way over a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import Accepted, Broken, Refused


class Outgoing(Protocol):
    """A letter on its way: from whom ("" is whom the group is from), to whom, and what."""

    @property
    def sender(self) -> str: ...
    @property
    def recipient(self) -> str: ...
    @property
    def message(self) -> WireMessage: ...


L = TypeVar("L", bound=Outgoing)


class Letters(Protocol[L]):
    """Where `send_each` gets its letters, and where it tells what came of each."""

    @property
    def waiting(self) -> bool: ...
    def take(self) -> L | None: ...
    def settle(self, letter: L, outcome: Accepted | Refused | Broken) -> None: ...
    def put_back(self, letter: L) -> None: ...


@dataclass(slots=True)
class Turn(Generic[L]):
    """A letter on a connection, what was said of it, and the one whose envelope is behind it."""

    letter: L | None
    envelope_said: bool = False
    end_said: bool = False
    following: L | None = None

    def go_on(self) -> None:
        """The letter is told about: the following one is the letter now."""
        self.letter, self.envelope_said = self.following, self.following is not None
        self.following, self.end_said = None, False
