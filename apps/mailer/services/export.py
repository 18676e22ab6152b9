"""Contacts and the suppression list as a file to download, written in slices.

Rows are spooled, a compressed member of a gzip file for each chunk: what a worker that died has
appended behind the checkpoint is cut off. Once all rows are there the file is made of them.
"""

from __future__ import annotations

import fcntl
import gzip
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.core.files.storage import default_storage
from django.utils import timezone

from apps.mailer.models import BulkJob, Contact, ContactField, ListMember, Suppression
from apps.mailer.services import bulk, export_files
from mailkit.imports.rows import field_key

logger = logging.getLogger(__name__)

FOLDER = "jobs/exports"
NOTHING_DONE = {"checkpoint": 0, "done": 0, "changed": 0, "position": 0}
# The key that the next chunk begins behind, how many rows were looked at, and those to write.
Chunk = tuple[int, int, list[dict[str, Any]]]


def write_some(job: BulkJob) -> bool:
    """Write rows behind the checkpoint for bulk.SLICE_SECONDS; with the last ones, the file.

    Whether that was all. Raises LeaseLost, and Failed where the disk takes no more.
    """
    try:
        over = _write_some(job)
    except bulk.LeaseLost:
        if not BulkJob.objects.filter(pk=job.pk, state__in=bulk.IN_MOTION).exists():
            clear(job.pk)
        raise
    except OSError as error:
        logger.exception("export %s cannot be written", job.pk)
        clear(job.pk)
        raise bulk.Failed("not_written") from error
    if over:
        _spool_path(job.pk).unlink(missing_ok=True)
    return over


def _write_some(job: BulkJob) -> bool:
    until = time.monotonic() + bulk.SLICE_SECONDS
    kind = job.arguments.get("format", "csv")
    with _spool(job) as spool:
        columns = _columns(job)
        keys = [key for key, _header in columns]
        for last, looked_at, rows in _chunks(job):
            text = export_files.text_of(kind, rows, keys, job.changed)
            spool.write(gzip.compress(text, 1))
            spool.flush()
            os.fsync(spool.fileno())
            bulk.advance(
                job,
                checkpoint=last,
                done=looked_at,
                changed=len(rows),
                position=spool.tell(),
            )
            if time.monotonic() > until:
                return False
        _finish(job, kind, spool, [header for _key, header in columns])
    return True


@contextmanager
def _spool(job: BulkJob) -> Iterator[IO[bytes]]:
    """The rows done so far, to append to; held by one process alone.

    A worker that was suspended for longer than its lease may wake up and write once more.
    """
    path = _spool_path(job.pk)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            bulk.put_back(job)
            raise bulk.LeaseLost from error
        if not 0 < job.position <= file.seek(0, os.SEEK_END):
            _begin_again(job)
        file.truncate(job.position)
        yield file


def _begin_again(job: BulkJob) -> None:
    """Where the rows done are lost: another disk, or a backup without it."""
    if not bulk.held(job).update(**NOTHING_DONE):
        raise bulk.LeaseLost
    for name, value in NOTHING_DONE.items():
        setattr(job, name, value)


def _finish(job: BulkJob, kind: str, spool: IO[bytes], headers: Sequence[str]) -> None:
    for left in _folder().glob(f"{job.pk}-*"):  # by a worker that died over it
        left.unlink(missing_ok=True)
    path = _folder() / f"{job.pk}-{job.token}.{kind}"
    kept = False
    try:
        spool.seek(0)
        with gzip.open(spool) as rows:
            export_files.write_whole(
                kind,
                path,
                cast("IO[bytes]", rows),
                headers,
                job.changed,
                lambda: bulk.keep_lease(job),
            )
        kept = bulk.finish(
            job,
            BulkJob.State.FINISHED,
            file=f"{FOLDER}/{path.name}",
            expires_at=timezone.now() + bulk.FILES_LAST,
        )
        if not kept:
            raise bulk.LeaseLost
    finally:
        if not kept:
            path.unlink(missing_ok=True)


def clear(job_id: int) -> None:
    """Remove whatever an export has written."""
    for path in [_spool_path(job_id), *_folder().glob(f"{job_id}-*")]:
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(default_storage.path(FOLDER))


def _spool_path(job_id: int) -> Path:
    return _folder() / f"{job_id}.part"


def _columns(job: BulkJob) -> list[list[str]]:
    """(key, header) of each column, the same in all slices whatever fields are added meanwhile."""
    chosen: list[list[str]] | None = job.arguments.get("columns")
    if chosen is None:
        suppression = job.action == BulkJob.Action.EXPORT_SUPPRESSION
        found = _SUPPRESSION_COLUMNS if suppression else contact_columns(job.workspace_id)
        chosen = [[key, header] for key, header in found.items()]
        job.arguments["columns"] = chosen
        if not bulk.held(job).update(arguments=job.arguments):
            raise bulk.LeaseLost
    return chosen


def _chunks(job: BulkJob) -> Iterator[Chunk]:
    if job.action == BulkJob.Action.EXPORT_SUPPRESSION:
        return _suppression_chunks(job)
    return ((ids[-1], len(ids), rows_of(ids)) for ids in bulk.chunks_of_contacts(job))


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


def _suppression_chunks(job: BulkJob) -> Iterator[Chunk]:
    entries = Suppression.objects.filter(workspace=job.workspace_id, pk__lte=job.up_to)
    while found := list(entries.filter(pk__gt=job.checkpoint).order_by("pk")[: bulk.CHUNK]):
        rows = [
            {"email": one.email, "reason": one.reason, "source": one.source,
             "created_at": one.created_at}
            for one in found if one.reason != Suppression.Reason.ERASED
        ]  # fmt: skip
        yield found[-1].pk, len(found), rows
