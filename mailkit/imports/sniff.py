"""Find out how a contact file is to be read, from its content and never from its name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from . import encoding as encodings
from .delimited import records
from .formats import Format, format_of, is_packed
from .lines import Line, Lines, PlainRecords, Record, TextLines
from .listed import HEADERS as LIST_HEADERS
from .listed import is_list
from .objects import Damaged, keys_of, line_values, values
from .packing import UNREADABLE, Contents, packing_fault, zip_members
from .readers import data_rows, is_blank, read_blocks
from .table import (
    MAX_COLUMNS,
    MAX_LINE,
    SAMPLE_ROWS,
    WORKBOOKS,
    FileFault,
    Kind,
    Row,
    Source,
)
from .vcards import HEADERS as CARD_HEADERS
from .workbook import sheet_batches

HEAD = 1 << 16
SNIFFED_LINES = 200
SNIFFED_OBJECTS = 1000
TRIED_MEMBERS = 10
TABLE_NAMES = (
    *(".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xls", ".ods"),
    *(".json", ".jsonl", ".ndjson", ".vcf", ".vcard"),
)
# In the order of preference where two split the lines equally well: commas and bars are
# common within text, tabs and semicolons are not.
DELIMITERS = ("\t", ";", "|", ",", ":", "^", "~")

_SEPARATOR_HINT = re.compile(r"sep=([,;|\t])[\r\n]*")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a person has chosen in place of what is found."""

    encoding: str | None
    delimiter: str | None


def sniff(
    path: Path,
    *,
    name: str,
    encoding: str | None = None,
    delimiter: str | None = None,
    member: str = "",
) -> Source | FileFault:
    """Describe the file at `path`, uploaded as `name`, or say why it cannot be read.

    The name decides nothing that the content can tell; its `.tsv` or `.tab` only makes a file of
    one column a tab-separated one. Reads the beginning of a text file and, to find its encoding,
    on to the first megabyte beyond ASCII; a workbook is parsed. `encoding` (of
    `encoding.ENCODINGS`) and `delimiter` (one character) take precedence over what is found. Of a
    ZIP the file `member` is read, or the first that is a table. Raises OSError, and LookupError
    for an unknown encoding.
    """
    wish = _Wish(encoding, delimiter)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return FileFault("empty_file")
    found = format_of(path, head)
    try:
        if found == "zip":
            return _sniff_zip(path, wish, member)
        if found == "gzip":
            inner = re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)
            return _sniff_packed(Contents(path, "gzip"), inner, wish)
        return _sniff_contents(Contents(path), found, name, wish)
    except UNREADABLE as error:
        return packing_fault(error)


def _sniff_zip(path: Path, wish: _Wish, member: str) -> Source | FileFault:
    names = zip_members(path)
    tables = [name for name in names if name.lower().removesuffix(".gz").endswith(TABLE_NAMES)]
    candidates = tables or names
    if member:
        candidates = [member] if member in names else []
    first: FileFault | None = None
    for candidate in candidates[:TRIED_MEMBERS]:
        found = _sniff_packed(Contents(path, "zip", candidate), candidate, wish)
        if isinstance(found, Source):
            more = sum(other != candidate for other in tables)
            return replace(found, more_members=more)
        first = first or found
    return first or FileFault("no_table_in_archive")


def _sniff_packed(contents: Contents, name: str, wish: _Wish) -> Source | FileFault:
    with contents.opened() as stream:
        head = stream.read(HEAD)
    if not head:
        return FileFault("empty_file")
    if not is_packed(head):
        return _sniff_contents(contents, format_of(contents.path, head), name, wish)
    with contents.on_disk() as unpacked:
        found = format_of(unpacked, head)
        if found in ("gzip", "zip"):
            return FileFault("nested_archive")
        source = _sniff_contents(Contents(unpacked), found, name, wish)
    if isinstance(source, FileFault):
        return source
    size = contents.path.stat().st_size
    return replace(source, packing=contents.packing, member=contents.member, size=size)


def _sniff_contents(
    contents: Contents, found: Format | FileFault, name: str, wish: _Wish
) -> Source | FileFault:
    if isinstance(found, FileFault):
        # Zeros are a fault of text in one encoding and nothing special in another.
        if found.code != "nul_bytes" or not (wish.encoding or "").startswith("utf-16"):
            return found
        found = "text"
    blank = Source("csv", "utf-8", "", "", (), (), 0, contents.path.stat().st_size)
    blank = replace(blank, packing=contents.packing, member=contents.member)
    if found in WORKBOOKS:
        return _sniff_workbook(contents, replace(blank, kind=found))
    encoding = wish.encoding
    if encoding is None:
        with contents.opened() as stream:
            encoding = encodings.detect(stream)
    if encoding is None:
        return FileFault("unreadable_encoding")
    text = replace(blank, encoding=encoding)
    if found == "json":
        return _sniff_json(contents, text)
    if found == "vcf":
        return _sampled(contents.path, replace(text, kind="vcf", headers=CARD_HEADERS))
    return _sniff_text(contents, text, name, wish.delimiter)


def _sniff_workbook(contents: Contents, source: Source) -> Source | FileFault:
    with closing(sheet_batches(contents.path)) as sheet:
        batch = next(sheet, None)
        if isinstance(batch, FileFault):
            return batch
        if not batch:
            return FileFault("empty_file")
        first = Record(batch.line, batch.cells[0]) if isinstance(batch, PlainRecords) else batch[0]
        headed = _headed(source, first)
        if isinstance(headed, FileFault):
            return headed
        rows = next(data_rows(iter([batch]), headed))
    if isinstance(rows, FileFault):
        return rows
    return replace(headed, sample=_sample(rows))


def _sniff_json(contents: Contents, source: Source) -> Source | FileFault:
    """An array, or an object that holds one, or else an object on each line."""
    first: FileFault | None = None
    kinds: tuple[Kind, ...] = ("json", "jsonl")
    for kind in kinds:
        read = values if kind == "json" else line_values
        with contents.opened() as stream:
            try:
                headers = keys_of(read(TextLines(stream, source.encoding)), SNIFFED_OBJECTS)
            except Damaged as damaged:
                first = first or damaged.fault
                continue
        if len(headers) > MAX_COLUMNS:
            return FileFault("too_many_columns", None, str(len(headers)))
        if headers:
            return _sampled(contents.path, replace(source, kind=kind, headers=headers))
    return first or FileFault("not_a_table", None, "json")


def _sniff_text(
    contents: Contents, source: Source, name: str, delimiter: str | None
) -> Source | FileFault:
    lines = _first_lines(contents, source.encoding)
    default = "\t" if _says_tabs(name) else ","
    found, quotechar = _dialect(lines, default, delimiter)
    if delimiter is None and is_list([line.text for line in lines[:100]]):
        return _sampled(contents.path, replace(source, kind="txt", headers=LIST_HEADERS))
    source = replace(source, delimiter=found, quotechar=quotechar)
    filled = list(itertools.islice(_filled(lines, found, quotechar), SAMPLE_ROWS))
    headed = _headed(source, filled[0] if filled else None)
    if isinstance(headed, FileFault) and headed.detail == "address" and _is_headless(filled):
        count = len(filled[0].cells)
        headed = replace(source, headers=tuple(f"Column {n}" for n in range(1, count + 1)))
    return headed if isinstance(headed, FileFault) else _sampled(contents.path, headed)


def _is_headless(filled: list[Record]) -> bool:
    """Whether the first record is like the next ones: the addresses stand in the same columns."""
    first, *others = ([_is_address(cell) for cell in record.cells] for record in filled)
    like = sum(other == first for other in others)
    return len(first) <= MAX_COLUMNS and any(first) and like * 10 >= len(others) * 7


def _is_address(cell: str) -> bool:
    return _ADDRESS.fullmatch(cell.strip()) is not None


def _headed(source: Source, header: Record | None) -> Source | FileFault:
    if header is None:
        return FileFault("empty_file")
    if header.fault is not None:
        code = {"broken_quote": "no_header", "bad_encoding": "unreadable_encoding"}
        return FileFault(code.get(header.fault, header.fault), header.line, header.fault)
    headers = tuple(cell.strip() for cell in header.cells)
    if any(map(_is_address, headers)):
        return FileFault("no_header", header.line, "address")
    if len(headers) > MAX_COLUMNS:
        return FileFault("too_many_columns", header.line, str(len(headers)))
    return replace(source, headers=headers, header_line=header.line)


def _sampled(path: Path, source: Source) -> Source | FileFault:
    sample: list[Row] = []
    with closing(read_blocks(path, source, size=SAMPLE_ROWS)) as blocks:
        block = next(blocks, sample)
        if isinstance(block, FileFault):
            return block
        sample = block
    return replace(source, sample=_sample(sample))


def _sample(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    return tuple(row.cells for row in rows[:SAMPLE_ROWS] if row.fault is None)


def _says_tabs(name: str) -> bool:
    return name.lower().endswith((".tsv", ".tab"))


def _first_lines(contents: Contents, encoding: str) -> list[Line]:
    """Up to 200 lines from the first one with text, about 1 MiB at most."""
    found: list[Line] = []
    size = 0
    with contents.opened() as stream:
        lines = TextLines(stream, encoding)
        while (line := lines.next()) is not None:
            if not found and line.fault is None and line.text.isspace():
                continue
            found.append(line)
            size += len(line.text)
            if size > MAX_LINE or len(found) == SNIFFED_LINES:
                break
    return found


def _dialect(lines: list[Line], default: str, delimiter: str | None) -> tuple[str, str]:
    """Delimiter and quote of the lines; drops Excel's `sep=;` line from them."""
    hint = _SEPARATOR_HINT.fullmatch(lines[0].text) if lines else None
    if hint:
        del lines[0]
    if delimiter is not None:
        return delimiter, _quotechar(lines, delimiter)
    if hint:
        return hint[1], '"'
    candidates = [(delimiter, _quotechar(lines, delimiter)) for delimiter in DELIMITERS]
    scored = [(_score(lines, *candidate), candidate) for candidate in candidates]
    best, dialect = max(scored, key=lambda pair: pair[0])
    if best > (0.0, 0):
        return dialect
    return default, _quotechar(lines, default)


def _quotechar(lines: list[Line], delimiter: str) -> str:
    """An apostrophe only where every header is within a pair: O'Brien is a name."""
    cells = lines[0].text.strip().split(delimiter) if lines else [""]
    quoted = all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells)
    return "'" if quoted else '"'


def _score(lines: list[Line], delimiter: str, quotechar: str) -> tuple[float, int]:
    """How well a delimiter fits: the share of records as wide as the header, and that width."""
    widths = [len(record.cells) for record in _filled(lines, delimiter, quotechar)]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return widths.count(widths[0]) / len(widths), widths[0]


def _filled(lines: list[Line], delimiter: str, quotechar: str) -> Iterator[Record]:
    for record in records(Lines(lines), delimiter=delimiter, quotechar=quotechar):
        if record.fault is not None or not is_blank(record.cells):
            yield record
