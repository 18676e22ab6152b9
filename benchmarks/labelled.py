"""Addresses of the sandbox whose truth is known, and how verdicts compare with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apps.sandbox.world import BEHAVIOURS, ROOT, Smtp, recipient_behaviour

VALID, DEAD, UNKNOWABLE = "valid", "dead", "unknowable"
_TRUTHS = {"valid": VALID, "invalid": DEAD, "risky": UNKNOWABLE, "unknown": UNKNOWABLE}
# Their servers take until the time-out: a few are enough.
SLOW = ("timeout", "dnstimeout")
_PEOPLE = (
    "anna.petrova",
    "ivan",
    "j_smith",
    "sergey.k",
    "marta.lind",
    "boris17",
    "o'neil",
    "lee+x",
)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """matrix: addresses by (truth, verdict)."""

    matrix: Counter[tuple[str, str]]

    @property
    def false_invalid(self) -> int:
        return self.matrix[VALID, "invalid"]

    @property
    def dead_found(self) -> float:
        """Percent of the dead that are called invalid."""
        dead = sum(number for (truth, _verdict), number in self.matrix.items() if truth == DEAD)
        return 100 * self.matrix[DEAD, "invalid"] / dead if dead else 100.0

    @property
    def guessed(self) -> int:
        """What nobody can know and is called valid or invalid all the same."""
        return self.matrix[UNKNOWABLE, "valid"] + self.matrix[UNKNOWABLE, "invalid"]


def labelled_addresses(each: int, slow: int = 2) -> dict[str, str]:
    """`each` addresses of every kind of domain and mailbox with its truth, by address."""
    found = {}
    for row in BEHAVIOURS:
        if row.domain is None:
            continue
        number = slow if row.domain in SLOW else each
        for index in range(number):
            person = f"{_PEOPLE[index % len(_PEOPLE)]}.{index}"
            found[f"{person}@shop-{index % 7}.{row.domain}.{ROOT}"] = _TRUTHS[row.verdict]
            if row.word and row.domain not in SLOW:
                found[f"{row.word}.{index}@shop-{index % 7}.inbox.{ROOT}"] = _TRUTHS[row.verdict]
    return found


def compare(truths: Mapping[str, str], verdicts: Iterable[tuple[str, str]]) -> Accuracy:
    """verdicts: (address, verdict)."""
    return Accuracy(Counter((truths[email], verdict) for email, verdict in verdicts))


def bounces(email: str) -> bool:
    """Whether a letter to an address of the sandbox bounces for good."""
    row = recipient_behaviour(*email.rsplit("@", 1))
    about_us = " 5.7." in row.reply
    return row.smtp is Smtp.REFUSE and row.reply.startswith("5") and not about_us
