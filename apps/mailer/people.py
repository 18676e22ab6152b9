"""What other apps know about a person, told to the audience, which may not import them.

An app registers in its `ready()` a source for the timeline and whatever replaces the person's data
when they are erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apps.mailer.models import Contact


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a contact. `data` is for programs, `title` for people.

    `icon` is one of the interface's icons, `url` a page about it or empty.
    """

    at: datetime
    kind: str
    title: str
    detail: str = ""
    icon: str = "info-circle"
    url: str = ""
    data: dict[str, Any] = field(default_factory=dict)


# At most so many events of a contact before a moment (None: now), the newest first.
TimelineSource = Callable[[Contact, datetime | None, int], Iterable[Event]]
# Runs in the transaction that deletes the contact, before that.
Eraser = Callable[[Contact], None]

timeline_sources: list[TimelineSource] = []
erasers: list[Eraser] = []


def register(*, timeline: TimelineSource | None = None, eraser: Eraser) -> None:
    """Add an app's source and eraser; once, however often it is called."""
    if timeline and timeline not in timeline_sources:
        timeline_sources.append(timeline)
    if eraser not in erasers:
        erasers.append(eraser)
