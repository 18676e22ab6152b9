"""What happened to one contact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.mailer import people
from apps.mailer.messages import reason_text
from apps.mailer.models import (
    Contact,
    ContactEdit,
    Import,
    LeavingReason,
    ListMember,
    Signup,
)
from apps.mailer.people import Event
from apps.mailer.selectors.audience import suppression_of

PAGE = 30


@dataclass(frozen=True, slots=True)
class Timeline:
    """Newest first; `next_before` continues where the events end, None at the beginning."""

    events: list[Event]
    next_before: datetime | None


def timeline(contact: Contact, *, before: datetime | None = None, size: int = PAGE) -> Timeline:
    """A page of everything that happened to the contact before a moment.

    Events of one moment stay on one page: the moment is what the next page begins behind.
    """
    found: list[Event] = []
    for source in (_created, _imports, _lists, _checked, _suppressed, _edits, _consents, _reasons,
                   *people.timeline_sources):  # fmt: skip
        found += [one for one in source(contact, before, size + 1)
                  if before is None or one.at < before]  # fmt: skip
    found.sort(key=lambda one: one.at, reverse=True)
    if len(found) <= size:
        return Timeline(found, None)
    cut = found[size].at
    page = list(takewhile(lambda one: one.at > cut, found)) or [
        one for one in found if one.at == cut
    ]
    return Timeline(page, page[-1].at)


def whole_timeline(contact: Contact) -> Iterator[Event]:
    """Everything, page by page."""
    before: datetime | None = None
    while True:
        page = timeline(contact, before=before, size=500)
        yield from page.events
        if page.next_before is None:
            return
        before = page.next_before


def _created(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    yield Event(contact.created_at, "created", _("Contact created"), icon="plus")


def _imports(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    found = Import.objects.filter(
        workspace=contact.workspace_id, importedcontact__contact=contact, started_at__isnull=False
    )
    for job in _earlier(found, "started_at", before)[:limit]:
        at = job.started_at
        assert at is not None
        # A contact that this file brought was made while it was read.
        if at <= contact.created_at and (
            not job.finished_at or contact.created_at <= job.finished_at
        ):
            at = contact.created_at
        yield Event(
            at,
            "import",
            _("In the imported file “%(name)s”") % {"name": job.name},
            icon="file-import",
            url=reverse("mailer:import", args=[contact.workspace.slug, job.pk]),
            data={"file": job.name},
        )


def _lists(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    found = ListMember.objects.filter(contact=contact).select_related("list")
    for one in _earlier(found, "created_at", before)[:limit]:
        yield Event(
            one.created_at,
            "list",
            _("Joined the list “%(name)s”") % {"name": one.list.name},
            icon="list-details",
            url=reverse("mailer:list", args=[contact.workspace.slug, one.list_id]),
            data={"list": one.list.name},
        )


def _checked(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    if contact.verified_at and contact.verdict:
        yield Event(
            contact.verified_at,
            "checked",
            _("Checked: %(verdict)s") % {"verdict": contact.get_verdict_display().lower()},
            detail=str(reason_text(contact.reason)),
            icon="mail-check",
            data={
                "verdict": contact.verdict,
                "reason": contact.reason,
                "evidence": contact.evidence,
            },
        )


def _suppressed(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    if entry := suppression_of(contact):
        yield Event(
            entry.created_at,
            "suppressed",
            _("On the suppression list: %(reason)s")
            % {"reason": entry.get_reason_display().lower()},
            detail=source_text(entry.source),
            icon="ban",
            data={"entry": entry.email, "reason": entry.reason, "source": entry.source},
        )


def _edits(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    found = ContactEdit.objects.filter(contact=contact).select_related("created_by")
    for one in _earlier(found, "created_at", before)[:limit]:
        yield Event(
            one.created_at,
            "edited",
            _("Edited by %(person)s") % {"person": one.created_by}
            if one.created_by
            else _("Edited"),
            detail="; ".join(
                f"{what}: {old or '—'} → {new or '—'}" for what, (old, new) in one.changes.items()
            ),
            icon="pencil",
            data={"changes": one.changes},
        )


def _consents(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    found = Signup.objects.filter(
        workspace=contact.workspace_id, email=contact.email, confirmed_at__isnull=False
    )
    for one in _earlier(found, "confirmed_at", before)[:limit]:
        yield Event(
            one.confirmed_at,
            "consent",
            _("Confirmed a sign-up by “%(name)s”") % {"name": one.form_name},
            detail=one.consent,
            icon="forms",
            data={"form": one.form_name, "wording": one.consent, "address": one.address},
        )


def _reasons(contact: Contact, before: datetime | None, limit: int) -> Iterator[Event]:
    found = LeavingReason.objects.filter(contact=contact)
    for one in _earlier(found, "created_at", before)[:limit]:
        yield Event(
            one.created_at,
            "reason",
            _("Why no more letters: %(reason)s") % {"reason": one.get_reason_display().lower()},
            detail=one.comment,
            icon="message-report",
            data={"reason": one.reason, "comment": one.comment, "campaign": one.campaign_id},
        )


def _earlier(found: QuerySet[Any], column: str, before: datetime | None) -> QuerySet[Any]:
    if before is not None:
        found = found.filter(**{f"{column}__lt": before})
    return found.order_by(f"-{column}")


def source_text(source: str) -> str:
    """Where an entry of the suppression list came from, in a person's words."""
    kind, _separator, rest = source.partition(":" if ":" in source else " ")
    if kind == "user":
        return _("by a member of the workspace")
    if kind == "campaign":
        return _("by the link in campaign %(number)s") % {"number": rest}
    if kind == "file":
        return _("from the file “%(name)s”") % {"name": rest}
    return source
