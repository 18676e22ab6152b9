"""What a notice says."""

from __future__ import annotations

from dataclasses import dataclass

from mailkit.dsn import Report


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of one recipient. `key` is the provider's number of it, or a hash of the event.

    `message_ids` and `addresses` (the return path) may name the letter.
    """

    key: str
    report: Report
    message_ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    unsubscribes: bool = False
