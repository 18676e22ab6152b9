"""Files to import and the steps of an import, in as few words as a test needs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import openpyxl
from django.core.files.base import ContentFile
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, ContactList, DomainFact, Import, RejectedRow, Verification
from apps.mailer.services import importing, imports, verification
from tests.support import factories

COUNTERS = ("created", "updated", "unchanged", "duplicate", "rejected")


def csv_of(emails: Iterable[str]) -> str:
    return "Email\n" + "".join(f"{email}\n" for email in emails)


def workbook(rows: Sequence[Sequence[Any]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def upload(workspace: Workspace, content: str | bytes, name: str = "people.csv") -> Import:
    data = content.encode() if isinstance(content, str) else content
    return imports.upload_file(workspace=workspace, by=None, file=ContentFile(data, name))


def start(
    job: Import,
    to: ContactList | None = None,
    *,
    mapping: Mapping[int, str] | None = None,
    labels: Mapping[str, str] | None = None,
    level: str = "full",
) -> Import:
    """Queue the import, with the suggested mapping where none is given."""
    imports.start_import(
        job=job,
        contact_list=to or factories.make_list(job.workspace),
        mapping=selectors.suggested_mapping(job) if mapping is None else mapping,
        labels=labels or {},
        level=level,
    )
    job.refresh_from_db()
    return job


def queued(workspace: Workspace, content: str | bytes, **options: Any) -> Import:
    return start(upload(workspace, content), **options)


def imported(workspace: Workspace, content: str | bytes, **options: Any) -> Import:
    """A file imported to its end, or to its fault; its contacts are not checked yet."""
    return run(queued(workspace, content, **options))


def run(job: Import) -> Import:
    importing.run_import(job.pk)
    job.refresh_from_db()
    return job


def counters(job: Import) -> dict[str, int]:
    """The counters that are not 0, held against the rows that they count."""
    job.refresh_from_db()
    found = {name: getattr(job, name) for name in COUNTERS}
    assert sum(found.values()) == job.checkpoint
    assert RejectedRow.objects.filter(of_import=job).count() == job.rejected
    return {name: number for name, number in found.items() if number}


def rejections(job: Import) -> list[tuple[int, str, str]]:
    rows = RejectedRow.objects.filter(of_import=job).order_by("number")
    return list(rows.values_list("line", "reason", "email"))


def emails(workspace: Workspace) -> list[str]:
    return sorted(Contact.objects.filter(workspace=workspace).values_list("email", flat=True))


def expire_lease(job: Import) -> None:
    """As if the worker that holds the import had died long ago."""
    Import.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(minutes=1))


def check(job: Import) -> Verification:
    """Check what is due of an import's contacts, as a worker would."""
    run = verification.verification_of(job)
    while verification.validate_batch(run.pk):
        pass
    run.refresh_from_db()
    return run


def make_due(workspace: Workspace) -> None:
    """Let the time pass until the next check of each contact; facts of the DNS expire too."""
    before = timezone.now() - timedelta(hours=1)
    waiting = Contact.objects.filter(workspace=workspace, check_due_at__isnull=False)
    waiting.update(check_due_at=before)
    DomainFact.objects.update(expires_at=before)


def verdicts(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """(verdict, reason) of each contact, by address."""
    rows = Contact.objects.filter(workspace=workspace).order_by("email")
    return {email: (verdict, reason) for email, verdict, reason in rows.values_list(
        "email", "verdict", "reason")}  # fmt: skip


def make_import(workspace: Workspace, **fields: Any) -> Import:
    values = {"name": "people.csv", "state": Import.State.FINISHED, "file": "imports/none.csv"}
    source = {"kind": "csv", "encoding": "utf-8", "delimiter": ",", "quotechar": '"', "size": 80,
              "headers": ["Email", "Имя"], "sample": [["ann@example.com", "Анна"]],
              "header_line": 1}  # fmt: skip
    return Import.objects.create(workspace=workspace, source=source, **values | fields)
