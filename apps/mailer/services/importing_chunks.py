"""Chunks of a file: rows mapped to contacts and shared out, one made while others are written.

All rows of an address go to the same writer, so each writer meets them in the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast
from zlib import crc32

from apps.mailer.models import ContactField, Import
from apps.mailer.services import imports
from mailkit.imports.kinds import FieldKind, canonical, is_month_first
from mailkit.imports.readers import read_blocks
from mailkit.imports.rows import ContactRow, Rejected, map_rows
from mailkit.imports.table import FileFault, Row

WRITERS = 2
# Of a rejected row, so that a file of nothing but rubbish does not fill the disk twice.
LONGEST_CELL = 1000
LONGEST_ROW = 10_000
# Rows may be a megabyte each: few of them as they stand in the file, and a chunk by its text.
BLOCK_ROWS = 100
LARGEST_CHUNK = 1 << 23
Reader = Callable[[str], str | None]
_NOT_STORED = {0: "\ufffd"} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


@dataclass
class Share:
    """What one writer gets of a chunk: the first row of each address, how many repeat one, what
    is rejected.

    `unfit` has, for the key of a field, how many cells did not fit it, and the first one's line
    and text.
    """

    contacts: dict[str, ContactRow] = field(default_factory=dict)
    duplicates: int = 0
    rejected: list[tuple[Rejected, list[str]]] = field(default_factory=list)
    unfit: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.contacts) + self.duplicates + len(self.rejected)


@dataclass
class Chunk:
    """Consecutive rows up to number `until`, 0 where there are none.

    `fault`: why the rows after these cannot be read.
    """

    shares: tuple[Share, ...] = field(
        default_factory=lambda: tuple(Share() for _ in range(WRITERS))
    )
    until: int = 0
    fault: FileFault | None = None

    @property
    def rows(self) -> int:
        return sum(share.rows for share in self.shares)


def chunks_of(job: Import, size: int) -> Generator[Chunk, None, None]:
    """The rows of the import's file that are not written yet, about `size` at a time."""
    path = Path(job.file.path) if job.file else None
    if path is None or not path.exists():
        yield Chunk(fault=FileFault("file_missing"))
        return
    mapping = {int(index): target for index, target in job.mapping.items()}
    readers = _readers(job, mapping)
    blocks = read_blocks(
        path, imports.source_of(job), skip=min(job.written_up_to), size=min(size, BLOCK_ROWS)
    )
    with closing(blocks):
        chunks = _chunked(blocks, mapping, readers, size, job.written_up_to)
        with ThreadPoolExecutor(1, "rows") as thread:
            coming = thread.submit(next, chunks, None)
            while (chunk := coming.result()) is not None:
                # Made while the database is busy with the one before.
                coming = thread.submit(next, chunks, None)
                yield chunk


def _readers(job: Import, mapping: Mapping[int, str]) -> dict[str, Reader]:
    """What gives the stored form of a cell, or None where it does not fit, by the field's key."""
    fields = ContactField.objects.filter(workspace=job.workspace_id, key__in=mapping.values())
    kinds = {one.key: one for one in fields if one.kind != ContactField.Kind.TEXT}
    sample = job.source["sample"]
    readers: dict[str, Reader] = {}
    for index, key in mapping.items():
        if (field := kinds.get(key)) is None:
            continue
        if field.kind == ContactField.Kind.CHOICE:
            choices = {choice.casefold(): choice for choice in field.choices}
            readers[key] = partial(_choice, choices)
            continue
        month_first = is_month_first(row[index] for row in sample if index < len(row))
        kind = cast(FieldKind, field.kind)
        readers[key] = partial(canonical, kind=kind, month_first=month_first)
    return readers


def _choice(choices: Mapping[str, str], value: str) -> str | None:
    return choices.get(value.casefold())


def _chunked(
    blocks: Iterator[list[Row] | FileFault],
    mapping: Mapping[int, str],
    readers: Mapping[str, Reader],
    size: int,
    written_up_to: Sequence[int],
) -> Iterator[Chunk]:
    chunk, rows, characters = Chunk(), 0, 0
    for block in blocks:
        if isinstance(block, FileFault):
            chunk.fault = block
            break
        _add(chunk, block, mapping, readers, written_up_to)
        rows += len(block)
        characters += sum(sum(map(len, row.cells)) for row in block)
        if rows >= size or characters > LARGEST_CHUNK:
            yield chunk
            chunk, rows, characters = Chunk(), 0, 0
    if rows or chunk.fault:
        yield chunk


def _add(
    chunk: Chunk,
    block: list[Row],
    mapping: Mapping[int, str],
    readers: Mapping[str, Reader],
    written_up_to: Sequence[int],
) -> None:
    for row, contact in zip(block, map_rows(block, mapping), strict=True):
        if isinstance(contact, Rejected):
            if row.number > written_up_to[0]:
                chunk.shares[0].rejected.append((contact, _kept(row.cells)))
            continue
        writer = crc32(contact.email.encode()) % WRITERS
        if row.number <= written_up_to[writer]:
            continue
        share = chunk.shares[writer]
        if readers:
            _fit(contact, readers, share)
        if share.contacts.setdefault(contact.email, contact) is not contact:
            share.duplicates += 1
    chunk.until = block[-1].number


def _fit(contact: ContactRow, readers: Mapping[str, Reader], share: Share) -> None:
    """Put the values in the form in which they are stored; leave out those that do not fit."""
    for key, reader in readers.items():
        if (value := contact.fields.get(key)) is None:
            continue
        stored = reader(value)
        if stored is not None:
            contact.fields[key] = stored
            continue
        del contact.fields[key]
        count, line, first = share.unfit.get(key, (0, contact.line, value[:100]))
        share.unfit[key] = (count + 1, line, first)


def _kept(cells: tuple[str, ...]) -> list[str]:
    """The cells as they stand in the file, cut, without what a database does not take."""
    left, kept = LONGEST_ROW, []
    for cell in cells:
        text = cell[: min(LONGEST_CELL, left)]
        left -= len(text)
        kept.append(text if text.isprintable() else text.translate(_NOT_STORED))
    return kept
