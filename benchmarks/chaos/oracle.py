"""What the sink's log says, held against the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

FINAL = frozenset({"sent", "failed", "unknown", "suppressed", "cancelled"})
_HAND_OFF = frozenset({"mail", "rcpt", "data", "accepted-before-reply"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the ledger."""

    email: str
    status: str
    attempts: int


@dataclass(slots=True)
class Record:
    """What the sink noted. A letter is told by its Subject, one a campaign, and its recipient."""

    accepted: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    refused_for_good: set[str] = field(default_factory=set)
    refused_for_good_unnamed: int = 0
    # Recipients of letters of which only the sink knows: their end was read and not answered.
    unanswered: Counter[str] = field(default_factory=Counter)
    # Of letters that the sink broke off: their end was perhaps written, and never read.
    cut: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    _hand_offs: list[float] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record:
        record = cls()
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record._take(*line.rstrip("\n").split("\t"))
        return record

    def hand_offs(self, since: float, until: float) -> int:
        """How many steps of hand-offs there were between two readings of the monotonic clock."""
        return sum(since < at < until for at in self._hand_offs)

    def _take(
        self, at: str, stage: str, message_id: str, recipient: str, label: str, detail: str
    ) -> None:
        self.stages[f"{stage} {detail}".rstrip()] += 1
        if stage in _HAND_OFF:
            self._hand_offs.append(float(at))
        if stage == "accepted-before-reply":
            self.accepted.setdefault(label, {}).setdefault(recipient, []).append(message_id)
        elif stage == "silent":
            self.unanswered[recipient] += 1
        elif stage == "dropped":
            if detail in ("after-dot", "reply") or detail.endswith("had come"):
                self.unanswered[recipient] += 1
            else:
                self.cut.add(recipient)
        elif stage == "refused" and detail.rpartition(" ")[2].startswith("5"):
            if recipient:
                self.refused_for_good.add(recipient)
            else:
                self.refused_for_good_unnamed += 1
        elif stage == "fault":
            self.faults.append(f"{detail} ({recipient})")


@dataclass(slots=True)
class Judgement:
    """A run's figures. `again` rows took more than one attempt; `wrong` says what else is not so.

    Lost: sent as the ledger says and never accepted; not final; without a row; failed though
    nobody refused it for good. Duplicates: accepts beyond the first of a letter.
    """

    letters: int = 0
    sent: int = 0
    failed: int = 0
    again: int = 0
    unknown: int = 0
    lost: int = 0
    duplicates: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(
        self,
        label: str,
        audience: int,
        rows: Iterable[Row],
        record: Record,
        in_flight: Collection[str] = (),
        careless: int = 0,
    ) -> None:
        """Judge one campaign, of which the sink knows the letters by `label`.

        `in_flight`: who was being sent to when something was killed. `careless`: how many
        letters that the sink broke off may be unknown, being the first ones of their processes.
        """
        accepted = record.accepted.get(label, {})
        rows = list(rows)
        statuses = Counter(row.status for row in rows)
        self.letters += audience
        self.sent += statuses["sent"]
        self.failed += statuses["failed"]
        self.unknown += statuses["unknown"]
        self.again += sum(row.attempts > 1 for row in rows)
        self.lost += audience - len(rows)
        self.lost += sum(row.status == "sent" and row.email not in accepted for row in rows)
        self.lost += sum(row.status not in FINAL for row in rows)
        groundless = sum(
            row.status == "failed" and row.email not in record.refused_for_good for row in rows
        )
        self.lost += max(0, groundless - record.refused_for_good_unnamed)
        self.duplicates += sum(len(ids) - 1 for ids in accepted.values())
        self._compare_ids(label, accepted)
        denied = sum(
            row.status not in ("sent", "unknown") and row.email in accepted for row in rows
        )
        if denied:
            self.wrong.append(f"{label}: {denied} letters accepted, but the ledger denies it")
        unaccounted = [
            row.email
            for row in rows
            if row.status == "unknown"
            and row.email not in in_flight
            and row.email not in record.unanswered
        ]
        broken_off = sum(email in record.cut for email in unaccounted)
        baseless = len(unaccounted) - min(broken_off, careless)
        if baseless:
            self.wrong.append(f"{label}: {baseless} letters unknown that were not in flight")
        strangers = accepted.keys() - {row.email for row in rows}
        if strangers:
            self.wrong.append(f"{label}: {len(strangers)} letters to nobody in the ledger")

    def _compare_ids(self, label: str, accepted: dict[str, list[str]]) -> None:
        ids = Counter(message_id for ids in accepted.values() for message_id in set(ids))
        shared = sum(number > 1 for number in ids.values())
        several = sum(len(set(ids)) > 1 for ids in accepted.values())
        if shared or several:
            self.wrong.append(
                f"{label}: {shared} Message-IDs of several recipients, "
                f"{several} recipients with several Message-IDs"
            )
