"""Chunks of a file: rows mapped to contacts, one chunk made while another is written."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from apps.mailer.kinds import Reader, reader_of
from apps.mailer.models import ContactField, Import
from apps.mailer.services import imports
from mailkit.imports.readers import read_rows
from mailkit.imports.rows import ContactRow, Rejected, map_row
from mailkit.imports.table import FileFault, Row

# Of a rejected row, so that a file of nothing but rubbish does not fill the disk twice.
LONGEST_CELL = 1000
LONGEST_ROW = 10_000
_NOT_STORED = {0: "\ufffd"} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


@dataclass
class Chunk:
    """Consecutive rows: the first one of each address, how many repeat one, what is rejected.

    `unfit` has, for the key of a field, how many cells did not fit it, and the first one's line
    and text. `fault`: why the rows after these cannot be read.
    """

    contacts: dict[str, ContactRow] = field(default_factory=dict)
    duplicates: int = 0
    rejected: list[tuple[Rejected, list[str]]] = field(default_factory=list)
    unfit: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    fault: FileFault | None = None

    @property
    def rows(self) -> int:
        return len(self.contacts) + self.duplicates + len(self.rejected)


def chunks_of(job: Import, size: int) -> Generator[Chunk, None, None]:
    """The rows of the import's file after its checkpoint, `size` at a time."""
    path = Path(job.file.path)
    if not path.exists():
        yield Chunk(fault=FileFault("file_missing"))
        return
    mapping = {int(index): target for index, target in job.mapping.items()}
    fields = ContactField.objects.filter(workspace=job.workspace_id, key__in=mapping.values())
    readers = {one.key: reader for one in fields if (reader := reader_of(one))}
    with closing(read_rows(path, imports.source_of(job), skip=job.checkpoint)) as rows:
        chunks = _chunked(rows, mapping, readers, size)
        with ThreadPoolExecutor(1, "rows") as thread:
            coming = thread.submit(next, chunks, None)
            while (chunk := coming.result()) is not None:
                # Made while the database is busy with the one before.
                coming = thread.submit(next, chunks, None)
                yield chunk


def _chunked(
    rows: Iterator[Row | FileFault],
    mapping: Mapping[int, str],
    readers: Mapping[str, Reader],
    size: int,
) -> Iterator[Chunk]:
    chunk, count = Chunk(), 0
    for row in rows:
        if isinstance(row, FileFault):
            chunk.fault = row
            break
        count += 1
        contact = map_row(row, mapping)
        if isinstance(contact, Rejected):
            chunk.rejected.append((contact, _kept(row.cells)))
        else:
            if readers:
                _fit(contact, readers, chunk)
            if chunk.contacts.setdefault(contact.email, contact) is not contact:
                chunk.duplicates += 1
        if count == size:
            yield chunk
            chunk, count = Chunk(), 0
    if count or chunk.fault:
        yield chunk


def _fit(contact: ContactRow, readers: Mapping[str, Reader], chunk: Chunk) -> None:
    """Put the values in the form in which they are stored; leave out those that do not fit."""
    for key, reader in readers.items():
        if (value := contact.fields.get(key)) is None:
            continue
        stored = reader(value)
        if stored is not None:
            contact.fields[key] = stored
            continue
        del contact.fields[key]
        count, line, first = chunk.unfit.get(key, (0, contact.line, value[:100]))
        chunk.unfit[key] = (count + 1, line, first)


def _kept(cells: tuple[str, ...]) -> list[str]:
    """The cells as they stand in the file, cut, without what a database does not take."""
    left, kept = LONGEST_ROW, []
    for cell in cells:
        text = cell[: min(LONGEST_CELL, left)]
        left -= len(text)
        kept.append(text if text.isprintable() else text.translate(_NOT_STORED))
    return kept
