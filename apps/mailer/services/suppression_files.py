"""A file of addresses and domains that are never to be mailed, read in the background."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path

from django.core.files.base import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.mailer.messages import file_fault_text
from apps.mailer.models import BulkJob
from apps.mailer.services import bulk, suppression
from core.errors import InvalidInput
from mailkit.imports import encoding as encodings
from mailkit.imports.readers import read_rows
from mailkit.imports.rows import unguarded
from mailkit.imports.sniff import sniff
from mailkit.imports.suggest import suggest_mapping
from mailkit.imports.table import FileFault, Source

LARGEST_FILE = 200 * 1024**2
CHUNK = 1000
LONGEST_LINE = 1000


def upload_file(*, workspace: Workspace, by: User, file: File[bytes]) -> BulkJob:
    """Keep the file and ask for its entries. Raises InvalidInput, with nothing kept."""
    name = "".join(filter(str.isprintable, Path(file.name or "").name))[-255:] or "file"
    if (file.size or 0) > LARGEST_FILE:
        raise InvalidInput(_("The file is larger than 200 MB: split it and upload the parts."))
    job = BulkJob(
        workspace=workspace,
        created_by=by,
        action=BulkJob.Action.SUPPRESS,
        name=name,
        lease_until=timezone.now() + bulk.LEASE,
        expires_at=timezone.now() + bulk.FILES_LAST,
    )
    job.file.save(f"{uuid.uuid4().hex}{Path(name).suffix[:10]}", file, save=False)
    try:
        found = _source(job)
        if isinstance(found, FileFault):
            raise InvalidInput(file_fault_text(found.code, found.line, found.detail))
        job.save()
    except BaseException:
        job.file.delete(save=False)
        raise
    bulk.ring(job.pk)
    return job


def suppress_some(job: BulkJob) -> bool:
    """Entries from the checkpoint on, for SLICE_SECONDS; whether that was all."""
    until = time.monotonic() + bulk.SLICE_SECONDS
    if not job.file or not Path(job.file.path).exists():
        raise bulk.Failed("file_missing")
    source = _source(job)
    if isinstance(source, FileFault):
        raise bulk.Failed(source.code)
    with closing(_entries(job, source)) as entries:
        while chunk := list(islice(entries, CHUNK)):
            with transaction.atomic():
                added = suppression.suppress_many(
                    workspace=job.workspace,
                    texts=[text for _number, text in chunk if text],
                    source=f"file:{job.name}",
                )
                bulk.advance(job, checkpoint=chunk[-1][0], done=len(chunk), changed=added.new)
            if time.monotonic() > until:
                return False
    return True


def _source(job: BulkJob) -> Source | str | FileFault:
    """How to read the file: a table, or the encoding of a text with one entry a line."""
    path = Path(job.file.path)
    found = sniff(path, name=job.name)
    if isinstance(found, FileFault) and found.code == "no_header":
        with path.open("rb") as file:
            return encodings.detect(file) or found
    if isinstance(found, Source) and suppression.entry_of(found.headers[0]):
        # A list of domains has no @ to tell its first line from a header.
        return found.encoding if found.kind == "csv" else found
    return found


def _entries(job: BulkJob, source: Source | str) -> Generator[tuple[int, str], None, None]:
    """The number and text of each row behind the checkpoint. Raises Failed at its end."""
    path = Path(job.file.path)
    if isinstance(source, str):
        with path.open(encoding=source, errors="replace") as lines:
            number = 0
            while line := lines.readline(LONGEST_LINE):
                number += 1
                if number > job.checkpoint:
                    yield number, line.strip("\ufeff\r\n\t ,;\"'")
        return
    mapping = suggest_mapping(source.headers, source.sample)
    column = next((index for index, key in mapping.items() if key == "email"), 0)
    with closing(read_rows(path, source, skip=job.checkpoint)) as rows:
        for row in rows:
            if isinstance(row, FileFault):
                raise bulk.Failed(row.code)
            text = row.cells[column] if column < len(row.cells) else ""
            yield row.number, unguarded(text.strip())
