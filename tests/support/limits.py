"""Limits as a process keeps them."""

from __future__ import annotations

from apps.senders.services import limits


def forget_rules() -> None:
    """Read the rows anew, at once."""
    limits._known.clear()
