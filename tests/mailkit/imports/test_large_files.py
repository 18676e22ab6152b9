"""Files as large, or as wide, as nobody means them: little memory, and a clear ending.

With FULL_SIZE=1 in the environment the full sizes run too: gigabytes of disk, a minute each.
"""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mailkit.imports.measured import ending_of
from tests.mailkit.imports.test_workbooks import cell, zipped

full_size = pytest.mark.skipif(
    "FULL_SIZE" not in os.environ, reason="gigabytes of disk: set FULL_SIZE=1 to run it"
)
CSV = b"Email,Name\na@x.test,An\n"
MB = 1 << 20
GB = 1 << 30


def one_line(path: Path, size: int, *, head: bytes = b"", tail: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        for _ in range(size // MB):
            file.write(b"x" * MB)
        file.write(tail)
    return path


def sheet_rows(count: int, columns: int) -> Iterator[str]:
    for n in range(1, count + 1):
        texts = [f"p{n * 7919}@d{n % 97}.test", *(f"x{n % 1009}" for _ in range(columns - 1))]
        cells = map(cell, [f"{letter}{n}" for letter in "ABCDEF"], texts)
        yield f'<row r="{n}">{"".join(cells)}</row>'


def large_workbook(path: Path, rows: int, columns: int = 3) -> Path:
    """Of the size of a real one: addresses that do not pack to nothing."""
    small = zipped(path.with_name("small"), "")
    header = f'<row r="1">{cell("A1", "Email")}{cell("B1", "B")}{cell("C1", "C")}</row>'
    with zipfile.ZipFile(small) as parts, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name in parts.namelist():
            text = parts.read(name).decode()
            with book.open(name, "w") as part:
                first, split, last = text.partition("</sheetData>")
                part.write(first.encode())
                if split:
                    part.write(header.encode())
                    rest = sheet_rows(rows + 1, columns)
                    next(rest)
                    for row in rest:
                        part.write(row.encode())
                part.write((split + last).encode())
    return path


def a_line_without_end(path: Path, size: int) -> None:
    one_line(path, size)


def a_line_among_rows(path: Path, size: int) -> None:
    one_line(path, size, head=CSV, tail=b"\nb@x.test,Bo\n")


def an_open_quote(path: Path, size: int) -> None:
    one_line(path, size, head=CSV + b'"', tail=b"\nb@x.test,Bo\n")


def zeros(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def zeros_after_a_header(path: Path, size: int) -> None:
    path.write_bytes(CSV * 9000)
    os.truncate(path, size)


LINES: list[tuple[Callable[[Path, int], None], tuple[str, int, list[str]]]] = [
    (a_line_without_end, ("line_too_long", 0, [])),
    (a_line_among_rows, ("csv", 3, ["line_too_long"])),
    (an_open_quote, ("csv", 3, ["line_too_long"])),
    (zeros, ("nul_bytes", 0, [])),
]


@pytest.mark.parametrize(("make", "ending"), LINES)
def test_one_long_line(
    tmp_path: Path, make: Callable[[Path, int], None], ending: tuple[str, int, list[str]]
) -> None:
    make(tmp_path / "x", 48 * MB)
    assert ending_of(tmp_path / "x") == ending


@full_size
@pytest.mark.parametrize(("make", "ending"), LINES)
def test_one_line_of_two_gigabytes(
    tmp_path: Path, make: Callable[[Path, int], None], ending: tuple[str, int, list[str]]
) -> None:
    make(tmp_path / "x", 2 * GB)
    assert ending_of(tmp_path / "x") == ending
    (tmp_path / "x").unlink()


def test_zeros_after_good_rows_cost_one_row(tmp_path: Path) -> None:
    zeros_after_a_header(tmp_path / "x", 48 * MB)
    code, rows, faults = ending_of(tmp_path / "x")
    assert (code, rows, faults) == ("csv", 18_000, ["line_too_long"])


def test_a_workbook_of_many_rows(tmp_path: Path) -> None:
    assert ending_of(large_workbook(tmp_path / "x", 60_000)) == ("xlsx", 60_000, [])


@full_size
def test_a_workbook_of_a_million_rows(tmp_path: Path) -> None:
    assert ending_of(large_workbook(tmp_path / "x", 1_000_000)) == ("xlsx", 1_000_000, [])


def far_apart(path: Path) -> None:
    zipped(
        path,
        f'<row r="1">{cell("A1", "Email")}</row><row r="1048576">{cell("XFD1048576", "x")}</row>',
    )


def far_apart_below_the_limit_of_memory(path: Path) -> None:
    zipped(
        path,
        f'<row r="1">{cell("A1", "Email")}</row><row r="1048576">{cell("L1048576", "x")}</row>',
    )


def far_right_in_the_middle(path: Path) -> None:
    rows = "".join(f'<row r="{n}">{cell(f"A{n}", f"a{n}@x.test")}</row>' for n in range(2, 9000))
    zipped(
        path,
        f'<row r="1">{cell("A1", "Email")}</row>{rows}'
        f'<row r="9000">{cell("XFD9000", "x")}</row>'
        f'<row r="9001">{cell("A9001", "z@x.test")}</row>',
    )


def columns_of_a_sheet(path: Path) -> None:
    zipped(path, "<row>" + "<c><v>1</v></c>" * 1_000_000 + "</row>")


def columns_of_a_line(path: Path) -> None:
    path.write_bytes(b"Email" + b",c" * 1_000_000 + b"\na@x.test\n")


def columns_of_a_short_line(path: Path) -> None:
    path.write_bytes(b"Email" + b";" * 1_000_000 + b"\na@x.test\n")


def cells_of_a_row(path: Path) -> None:
    path.write_bytes(CSV + b"b@x.test" + b"," * 1_000_000 + b"x\nc@x.test,Cy\n")


def cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(CSV + os.urandom(1 << 16).hex().encode())[:-30_000])


def cut_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", CSV * 1000)
    os.truncate(path, path.stat().st_size - 40)


def formulas(path: Path) -> None:
    zipped(
        path,
        f'<row r="1">{cell("A1", "Email")}{cell("B1", "Note")}</row>'
        '<row r="2"><c r="A2" t="str"><f>HYPERLINK("http://x.test")</f><v>a@x.test</v></c>'
        '<c r="B2"><f>1/0</f><v>#DIV/0!</v></c></row>'
        f'<row r="3">{cell("A3", "b@x.test")}<c r="B3" t="e"><f>NA()</f><v>#N/A</v></c></row>',
    )


def workbook_called_csv(path: Path) -> None:
    zipped(path, f'<row r="1">{cell("A1", "Email")}</row><row r="2">{cell("A2", "a@x.test")}</row>')


@pytest.mark.parametrize(
    ("make", "ending"),
    [
        (far_apart, ("too_large_xlsx", 0, [])),
        (far_apart_below_the_limit_of_memory, ("too_large_xlsx", 0, [])),
        (far_right_in_the_middle, ("too_large_xlsx", 0, [])),
        (columns_of_a_sheet, ("too_many_columns", 0, [])),
        (columns_of_a_line, ("line_too_long", 0, [])),
        (columns_of_a_short_line, ("too_many_columns", 0, [])),
        (cells_of_a_row, ("csv", 3, ["wrong_cell_count"])),
        (cut_gzip, ("damaged_archive", 0, [])),
        (cut_zip, ("damaged_archive", 0, [])),
        (formulas, ("xlsx", 2, [])),
        (workbook_called_csv, ("xlsx", 1, [])),
    ],
)
def test_wide_broken_and_misnamed_files(
    tmp_path: Path, make: Callable[[Path], None], ending: tuple[str, int, list[str]]
) -> None:
    make(tmp_path / "x")
    assert ending_of(tmp_path / "x") == ending
