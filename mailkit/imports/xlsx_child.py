"""Print the first sheet of a workbook. Run as a script, under its own limits.

`xlsx_child.py PATH` prints `[[sheet row, …], bytes]` for every thousand rows that have text, and
after that line so many bytes of UTF-8 with those rows, `ROW` between them and `CELL` between
their cells (`TOO_LONG` stands for a row of too much text); then `{"end": true}`. Or it prints
`{"fault": code, "detail": word}`. XLSX, XLS and ODS are told by their content.

A process of its own, because the parser reserves memory for the whole rectangle between the
first and the last cell and aborts when it cannot get it. Imports nothing from the project.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta

MAX_MEMORY = 512 << 20
MAX_CPU_SECONDS = 55
MAX_LOAD_SECONDS = 55
# The parser takes 32 bytes for a cell of the rectangle, filled or not, and more for text.
MAX_CELLS = 12_000_000
MAX_MEMBERS = 5_000
MAX_DIRECTORY = 4 << 20
MAX_UNPACKED = 2 << 30
# Sheets of real contacts unpack to 5 to 40 times their size; deflate's own limit is 1032.
MAX_RATIO = 200
RATIO_MATTERS_FROM = 64 << 20
# Excel's own; formatting alone can make a sheet of few columns this wide.
MAX_WIDTH = 16_384
MAX_ROW_TEXT = 1 << 20
BATCH = 1000
# Separators that text does not have; a cell that spells one gets a space.
ROW, CELL = "\x1e", "\x1f"
TOO_LONG = "\x1d"
_TAKEN = str.maketrans(dict.fromkeys("\0" + ROW + CELL + TOO_LONG, " "))

Cell = int | float | str | bool | time | date | datetime | timedelta

_END_OF_DIRECTORY = b"PK\x05\x06"


class Refused(Exception):
    """The workbook is not going to be parsed: a code and a word about the reason."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def limit_resources() -> None:
    """Memory, processor and (until rows flow) wall-clock time, all fatal to this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # SIGALRM's default action ends the process even while the parser holds the interpreter lock.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MAX_LOAD_SECONDS)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def check_archive(path: str) -> None:
    """Refuse an archive that is broken, encrypted, a bomb, or holds a DTD."""
    try:
        check_directory_size(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_sizes(members)
            for member in members:
                if member.filename.endswith((".xml", ".rels")):
                    _check_prolog(archive, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Refused("damaged_xlsx", type(error).__name__) from error


def check_directory_size(path: str) -> None:
    """zipfile makes an object of each entry, so look at the directory's size before that."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    found = tail.rfind(_END_OF_DIRECTORY)
    if found < 0 or len(tail) < found + 22:
        raise Refused("damaged_xlsx", "truncated")
    # A Zip64 archive says 0xffffffff here: no contact list has that many members either.
    if int.from_bytes(tail[found + 12 : found + 16], "little") > MAX_DIRECTORY:
        raise Refused("too_large_xlsx", "members")


def _check_sizes(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        raise Refused("too_large_xlsx", "members")
    if any(member.flag_bits & 1 for member in members):
        raise Refused("encrypted_xlsx", "zip")
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > MAX_UNPACKED:
        raise Refused("too_large_xlsx", "unpacked")
    if unpacked > RATIO_MATTERS_FROM and unpacked > packed * MAX_RATIO:
        raise Refused("too_large_xlsx", "ratio")


def _check_prolog(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Office Open XML parts carry no DTD (ECMA-376 part 2), entity bombs do."""
    with archive.open(member) as file:
        if b"<!DOCTYPE" in file.read(4096):
            raise Refused("damaged_xlsx", "doctype")


def sheet_rows(path: str) -> Iterator[tuple[int, str]]:
    """(sheet row, text of its cells) of the first visible worksheet that has any, without blank
    rows. Empty cells end with the last filled one, but not before the first row's last.
    """
    import python_calamine as calamine  # after the limits are set

    try:
        # Under its own name the parser would go by the name's ending and not by the content.
        workbook = calamine.load_workbook(f"/dev/fd/{os.open(path, os.O_RDONLY)}")
        for index, meta in enumerate(workbook.sheets_metadata):
            hidden = meta.visible != calamine.SheetVisibleEnum.Visible
            if hidden or meta.typ != calamine.SheetTypeEnum.WorkSheet:
                continue
            sheet = workbook.get_sheet_by_index(index)
            if sheet.start is None:
                continue
            if sheet.width > MAX_WIDTH:
                raise Refused("too_many_columns", str(sheet.width))
            if sheet.width * sheet.height > MAX_CELLS:
                raise Refused("too_large_xlsx", "far_apart")
            yield from row_texts(sheet.iter_rows(), sheet.width)
            return
    except calamine.PasswordError as error:
        raise Refused("encrypted_xlsx", "password") from error
    except calamine.CalamineError as error:
        raise Refused("damaged_xlsx", type(error).__name__) from error


def row_texts(rows: Iterable[list[Cell]], width: int) -> Iterator[tuple[int, str]]:
    least = 0  # cells of the first row
    for number, row in enumerate(rows, 1):
        cells = [cell if type(cell) is str else as_text(cell) for cell in row]
        text = CELL.join(cells)
        # CELL is white space too.
        if not text or text.isspace():
            continue
        if len(text) > MAX_ROW_TEXT + len(cells):
            yield number, TOO_LONG
            continue
        if text.count(CELL) >= len(cells) or not _is_sound(text):
            text = CELL.join(cell.translate(_TAKEN) for cell in cells)
        if width != least:
            text = text.rstrip(CELL)
            text += CELL * (least - 1 - text.count(CELL))
            least = least or 1 + text.count(CELL)
        yield number, text


def _is_sound(text: str) -> bool:
    """A workbook can spell NUL, which no database text takes, as _x0000_, and separators too."""
    return "\0" not in text and ROW not in text and TOO_LONG not in text


def as_text(cell: Cell) -> str:
    """What the person sees in the cell, near enough: 7 and not 7.0, ISO 8601 dates."""
    if isinstance(cell, float):
        # Excel keeps 15 significant digits, so up to there an integer is exact.
        whole = cell.is_integer() and -1e15 < cell < 1e15
        return str(int(cell)) if whole else repr(cell)
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


def main(path: str) -> None:
    limit_resources()
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"PK"
        if packed:
            check_archive(path)
        rows = sheet_rows(path)
        batch = list(itertools.islice(rows, BATCH))
        # From here on the time is the reader's, who may be slow.
        signal.alarm(0)
        while batch:
            write_batch(batch)
            batch = list(itertools.islice(rows, BATCH))
        say({"end": True})
    except Refused as refused:
        say({"fault": refused.code, "detail": refused.detail})
    except MemoryError:
        say({"fault": "too_large_xlsx", "detail": "memory"})


def say(message: dict[str, str | bool]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")


def write_batch(batch: list[tuple[int, str]]) -> None:
    data = ROW.join(text for _number, text in batch).encode()
    head = json.dumps([[number for number, _text in batch], len(data)])
    sys.stdout.buffer.write(b"%b\n%b" % (head.encode(), data))


if __name__ == "__main__":
    main(sys.argv[1])
