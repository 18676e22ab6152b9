"""Contacts and the suppression list as a file to download."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from django.core.files.storage import default_storage
from django.utils import timezone
from openpyxl import Workbook

from apps.mailer.models import BulkJob, Contact, ContactField, ListMember, Suppression
from apps.mailer.services import bulk
from mailkit.imports.rows import field_key, guarded

FORMATS = ("csv", "xlsx", "json")
FOLDER = "jobs/exports"
# What a sheet can hold, its header among them.
SHEET_ROWS = 1_048_576
_LONGEST_CELL = 32_767
# What XML 1.0 (section 2.2) has no place for.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Writer(Protocol):
    def write(self, row: Mapping[str, Any]) -> None: ...


def write_file(job: BulkJob) -> None:
    """Write the file of an export from its beginning, and finish the job with it."""
    kind = job.arguments.get("format", "csv")
    folder = Path(default_storage.path(FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{job.pk}-*"):  # by a worker that died over it
        left.unlink(missing_ok=True)
    path = folder / f"{job.pk}-{job.token}.{kind}"
    bulk.held(job).update(done=0, changed=0, checkpoint=0)
    job.checkpoint = 0
    kept = False
    try:
        if job.action == BulkJob.Action.EXPORT_SUPPRESSION:
            columns, chunks = _SUPPRESSION_COLUMNS, _suppression_chunks(job)
        else:
            columns, chunks = contact_columns(job.workspace_id), _contact_chunks(job)
        with open_writer(path, kind, columns) as writer:
            for rows in chunks:
                for row in rows:
                    writer.write(row)
        kept = bulk.finish(
            job,
            BulkJob.State.FINISHED,
            file=f"{FOLDER}/{path.name}",
            expires_at=timezone.now() + bulk.FILES_LAST,
        )
    finally:
        if not kept:
            path.unlink(missing_ok=True)


def contact_columns(workspace_id: int) -> dict[str, str]:
    """Key to header. The headers are such that an import of ours gives the same keys again."""
    columns = {"email": "Email", "first_name": "First name", "last_name": "Last name"}
    taken = {field_key(header) for header in [*columns.values(), *_MORE_COLUMNS.values()]}
    for key, label in (
        ContactField.objects.filter(workspace=workspace_id)
        .order_by("label", "key")
        .values_list("key", "label")
    ):
        header = label if field_key(label) == key and key not in taken else key
        columns[f"fields.{key}"] = header
    return columns | _MORE_COLUMNS


_MORE_COLUMNS = {
    "status": "Status",
    "verdict": "Verdict",
    "reason": "Verdict reason",
    "tags": "Tags",
    "lists": "Lists",
    "created_at": "Added",
    "updated_at": "Changed",
    "verified_at": "Checked",
}
_SUPPRESSION_COLUMNS = {
    "email": "Email",
    "reason": "Reason",
    "source": "Source",
    "created_at": "Added",
}


def _contact_chunks(job: BulkJob) -> Iterator[list[dict[str, Any]]]:
    while ids := bulk.next_contacts(job):
        yield rows_of(ids)
        bulk.advance(job, checkpoint=ids[-1], done=len(ids), changed=len(ids))


def rows_of(ids: Sequence[int]) -> list[dict[str, Any]]:
    """These contacts as rows of a file."""
    lists: dict[int, list[str]] = {}
    members = ListMember.objects.filter(contact__in=ids).order_by("list__name")
    for contact_id, name in members.values_list("contact", "list__name"):
        lists.setdefault(contact_id, []).append(name)
    return [
        {
            "email": one.email,
            "first_name": one.first_name,
            "last_name": one.last_name,
            **{f"fields.{key}": value for key, value in one.fields.items()},
            "status": one.status,
            "verdict": one.verdict,
            "reason": one.reason,
            "tags": one.tags,
            "lists": lists.get(one.pk, []),
            "created_at": one.created_at,
            "updated_at": one.updated_at,
            "verified_at": one.verified_at,
        }
        for one in Contact.objects.filter(pk__in=ids).order_by("pk")
    ]


def _suppression_chunks(job: BulkJob) -> Iterator[list[dict[str, Any]]]:
    entries = Suppression.objects.filter(workspace=job.workspace_id, pk__lte=job.up_to)
    while found := list(entries.filter(pk__gt=job.checkpoint).order_by("pk")[: bulk.CHUNK]):
        yield [
            {"email": one.email, "reason": one.reason, "source": one.source,
             "created_at": one.created_at}
            for one in found if one.reason != Suppression.Reason.ERASED
        ]  # fmt: skip
        bulk.advance(job, checkpoint=found[-1].pk, done=len(found), changed=len(found))


@contextmanager
def open_writer(path: Path, kind: str, columns: Mapping[str, str]) -> Iterator[Writer]:
    """Write rows to a new file of this kind; it is whole once the context has ended."""
    if kind == "xlsx":
        book = _Sheets(columns)
        yield book
        book.save(path)
        return
    # The mark tells Excel that the text is UTF-8.
    encoding = "utf-8-sig" if kind == "csv" else "utf-8"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = _Csv(file, columns) if kind == "csv" else _Json(file, columns)
        yield writer
        writer.end()


class _Csv:
    def __init__(self, file: IO[str], columns: Mapping[str, str]) -> None:
        self._writer = csv.writer(file)
        self._keys = list(columns)
        self._writer.writerow([guarded(header) for header in columns.values()])

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow([_cell(row.get(key)) for key in self._keys])

    def end(self) -> None:
        pass


class _Json:
    """A list of objects, one a line; custom fields in an object of their own."""

    def __init__(self, file: IO[str], columns: Mapping[str, str]) -> None:
        self._file = file
        self._before = "[\n"

    def write(self, row: Mapping[str, Any]) -> None:
        plain: dict[str, Any] = {}
        for key, value in row.items():
            custom = key.removeprefix("fields.")
            place = plain if custom == key else plain.setdefault("fields", {})
            place[custom] = value.isoformat() if hasattr(value, "isoformat") else value
        self._file.write(self._before + json.dumps(plain, ensure_ascii=False))
        self._before = ",\n"

    def end(self) -> None:
        self._file.write("\n]\n" if self._before == ",\n" else "[]\n")


class _Sheets:
    """A workbook, with a further sheet wherever one is full."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._book = Workbook(write_only=True)
        self._keys = list(columns)
        self._header = [_sheet_text(guarded(header)) for header in columns.values()]
        self._begin()

    def _begin(self) -> None:
        self._sheet = self._book.create_sheet()
        self._sheet.append(self._header)
        self._rows = 1

    def write(self, row: Mapping[str, Any]) -> None:
        if self._rows == SHEET_ROWS:
            self._begin()
        self._sheet.append([_sheet_text(_cell(row.get(key))) for key in self._keys])
        self._rows += 1

    def save(self, path: Path) -> None:
        self._book.save(path)


def _cell(value: Any) -> str:
    """A value as text that a spreadsheet takes for text."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ", ".join(value)
    elif hasattr(value, "isoformat"):
        value = value.isoformat(timespec="seconds")
    return guarded(str(value))


def _sheet_text(text: str) -> str:
    return _NOT_XML.sub("", text)[:_LONGEST_CELL]
