"""Export formats: rows as text that can be appended to, and the whole file made of it."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

from openpyxl.utils import get_column_letter

from mailkit.imports.rows import guarded

FORMATS = ("csv", "xlsx", "json")
# What a sheet can hold, its header among them.
SHEET_ROWS = 1_048_576
_LONGEST_CELL = 32_767
# What XML 1.0 (section 2.2) has no place for.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BLANKS = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_COPIED = 1 << 20
# Writes of compressed text, of some kilobytes each, that are passed on together.
_PIECES = 8

Row = Mapping[str, Any]


def text_of(kind: str, rows: Iterable[Row], keys: Sequence[str], before: int) -> bytes:
    """Rows as the file has them; `before` so many others. All but CSV: a line for each."""
    if kind == "csv":
        return _csv([_cell(row.get(key)) for key in keys] for row in rows)
    if kind == "json":
        return "".join(_object(row) + "\n" for row in rows).encode()
    letters = [get_column_letter(number) for number in range(1, len(keys) + 1)]
    return "".join(
        _sheet_row(number % (SHEET_ROWS - 1) + 2, letters, [_cell(row.get(key)) for key in keys])
        for number, row in enumerate(rows, before)
    ).encode()


def _cell(value: Any) -> str:
    """A value as text that a spreadsheet takes for text."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ", ".join(value)
    elif hasattr(value, "isoformat"):
        value = value.isoformat(timespec="seconds")
    return guarded(str(value))


def write_whole(
    kind: str,
    path: Path,
    spool: IO[bytes],
    headers: Sequence[str],
    number: int,
    alive: Callable[[], None],
) -> None:
    """Write the file of these `number` rows. `alive` is called on the way, and may raise."""
    write = {"csv": _write_csv, "json": _write_json, "xlsx": _write_book}[kind]
    write(path, spool, [guarded(header) for header in headers], number, alive)


def _write_csv(
    path: Path, spool: IO[bytes], headers: Sequence[str], number: int, alive: Callable[[], None]
) -> None:
    with path.open("wb") as file:
        # The mark tells Excel that the text is UTF-8.
        file.write(b"\xef\xbb\xbf" + _csv([headers]))
        while piece := spool.read(_COPIED):
            file.write(piece)
            alive()


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _write_json(
    path: Path, spool: IO[bytes], headers: Sequence[str], number: int, alive: Callable[[], None]
) -> None:
    """A list of objects, one a line; custom fields in an object of their own."""
    with path.open("wb") as file:
        before = b"["
        for line in _lines(spool, alive):
            file.write(before + b"\n" + line.rstrip(b"\n"))
            before = b","
        file.write(b"\n]\n" if number else b"[]\n")


def _object(row: Row) -> str:
    plain: dict[str, Any] = {}
    for key, value in row.items():
        custom = key.removeprefix("fields.")
        place = plain if custom == key else plain.setdefault("fields", {})
        place[custom] = value.isoformat() if hasattr(value, "isoformat") else value
    return json.dumps(plain, ensure_ascii=False)


def _lines(spool: IO[bytes], alive: Callable[[], None]) -> Iterator[bytes]:
    while lines := spool.readlines(_COPIED):
        yield from lines
        alive()


# A workbook (ECMA-376, part 1): a sheet is a list of rows, so that it can be written piece by
# piece, which no library does across processes.


def _sheet_row(place: int, letters: Sequence[str], cells: Sequence[str]) -> str:
    found = "".join(
        f'<c r="{letter}{place}" t="inlineStr"><is><t xml:space="preserve">'
        f"{escape(_NOT_XML.sub('', text)[:_LONGEST_CELL], _BLANKS)}</t></is></c>"
        for letter, text in zip(letters, cells, strict=True)
        if text
    )
    return f'<row r="{place}">{found}</row>\n'


def _write_book(
    path: Path, spool: IO[bytes], headers: Sequence[str], number: int, alive: Callable[[], None]
) -> None:
    """A workbook, with a further sheet wherever one is full."""
    sheets = range(1, max(1, -(-number // (SHEET_ROWS - 1))) + 1)
    letters = [get_column_letter(number) for number in range(1, len(headers) + 1)]
    head = _sheet_row(1, letters, headers).encode()
    lines = _lines(spool, alive)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as book:
        for name, text in _book_parts(sheets):
            book.writestr(name, text)
        for sheet in sheets:
            with book.open(f"xl/worksheets/sheet{sheet}.xml", "w", force_zip64=True) as file:
                file.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                for line in chain([head], islice(lines, SHEET_ROWS - 1)):
                    file.write(line)
                file.write(b"</sheetData></worksheet>")


def book_pieces(headers: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """A workbook of rows, piece by piece while they come: for an answer that is streamed.

    Which sheets there are is known only at the end, so their list comes last.
    """
    letters = [get_column_letter(number) for number in range(1, len(headers) + 1)]
    head = _sheet_row(1, letters, list(map(_cell, headers))).encode()
    pipe, left, sheet = _Pipe(), iter(rows), 0
    book = zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=3)
    first: list[Sequence[Any]] = list(islice(left, 1))
    while first or not sheet:
        sheet += 1
        with book.open(f"xl/worksheets/sheet{sheet}.xml", "w", force_zip64=True) as file:
            file.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode() + head)
            yield pipe.take()
            for place, row in enumerate(chain(first, islice(left, SHEET_ROWS - 2)), 2):
                file.write(_sheet_row(place, letters, list(map(_cell, row))).encode())
                if len(pipe.pieces) > _PIECES:
                    yield pipe.take()
            file.write(b"</sheetData></worksheet>")
        first = list(islice(left, 1))
    for name, text in _book_parts(range(1, sheet + 1)):
        book.writestr(name, text)
    book.close()
    yield pipe.take()


class _Pipe(io.RawIOBase):
    """What is written, until it is taken. It cannot be rewound, and ZipFile does without."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(self.pieces[-1])

    def take(self) -> bytes:
        taken, self.pieces = b"".join(self.pieces), []
        return taken


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_FORMAT = "http://schemas.openxmlformats.org"
_MAIN = f"{_FORMAT}/spreadsheetml/2006/main"
_OFFICE = f"{_FORMAT}/officeDocument/2006/relationships"
_PACKAGE = f"{_FORMAT}/package/2006"
_TYPES = "application/vnd.openxmlformats"


def _book_parts(sheets: Sequence[int]) -> Iterator[tuple[str, str]]:
    """The files of a workbook beside its sheets."""
    spreadsheet = f"{_TYPES}-officedocument.spreadsheetml"
    parts = [("/xl/workbook.xml", "sheet.main")]
    parts += [(f"/xl/worksheets/sheet{one}.xml", "worksheet") for one in sheets]
    types = "".join(
        f'<Override PartName="{name}" ContentType="{spreadsheet}.{kind}+xml"/>'
        for name, kind in parts
    )
    yield (
        "[Content_Types].xml",
        f'{_XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        f'ContentType="{_TYPES}-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{types}</Types>',
    )
    yield "_rels/.rels", _relations([(1, "officeDocument", "xl/workbook.xml")])
    yield (
        "xl/_rels/workbook.xml.rels",
        _relations([(one, "worksheet", f"worksheets/sheet{one}.xml") for one in sheets]),
    )
    listed = "".join(f'<sheet name="Sheet{one}" sheetId="{one}" r:id="r{one}"/>' for one in sheets)
    yield (
        "xl/workbook.xml",
        f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
    )


def _relations(targets: Iterable[tuple[int, str, str]]) -> str:
    found = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, kind, target in targets
    )
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{found}</Relationships>'
