"""Reading delimited text: round trips, resuming, and files that are broken or hostile."""

from __future__ import annotations

import codecs
import csv
import io
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailkit.imports.delimited import records
from mailkit.imports.lines import Line, Lines
from mailkit.imports.readers import read_rows
from mailkit.imports.sniff import sniff
from mailkit.imports.table import FileFault, Row, Source

ROOT = Path(__file__).parents[3]


def source_of(path: Path, *, name: str = "contacts.csv") -> Source:
    source = sniff(path, name=name)
    assert isinstance(source, Source), source
    return source


def rows_of(path: Path, *, skip: int = 0) -> list[Row]:
    rows = list(read_rows(path, source_of(path), skip=skip))
    assert all(isinstance(row, Row) for row in rows)
    return [row for row in rows if isinstance(row, Row)]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def fault_of(path: Path, *, name: str = "contacts.csv") -> FileFault:
    fault = sniff(path, name=name)
    assert isinstance(fault, FileFault), fault
    return fault


WORDS = st.text(alphabet="abcdefgABCZхцжЁя _", min_size=1, max_size=12).filter(str.strip)
TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(",;\t|\"' \n\r@.-"),
        st.sampled_from("abcxyzАБВабвёЁ№"),
    ),
    max_size=20,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    width = draw(st.integers(2, 6))
    headers = draw(st.lists(WORDS, min_size=width, max_size=width))
    rows = draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), max_size=25))
    return headers, rows


@settings(max_examples=150, deadline=None)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
    skip=st.integers(0, 30),
)
@example((["a", "b"], [['x"', 'y\n"z']]), ",", csv.QUOTE_MINIMAL, "utf-8", 0)
def test_what_csv_writes_is_read_back(
    table: tuple[list[str], list[list[str]]],
    delimiter: str,
    quoting: int,
    encoding: str,
    skip: int,
) -> None:
    headers, rows = table
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(headers)
    writer.writerows(rows)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "x"), mark + out.getvalue(), encoding)
        source = source_of(path)
        found = rows_of(path)
        tail = rows_of(path, skip=skip)
    expected = [tuple(row) for row in rows if any(cell.strip() for cell in row)]
    assert source.delimiter == delimiter
    assert source.headers == tuple(header.strip() for header in headers)
    assert source.sample == tuple(expected[:20])
    assert [row.cells for row in found] == expected
    assert all(row.fault is None for row in found)
    assert [row.number for row in found] == list(range(1, len(expected) + 1))
    assert tail == found[skip:]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(data)
        source = sniff(path, name="x.csv")
        if isinstance(source, Source) and source.kind == "csv":
            for row in read_rows(path, source):
                assert isinstance(row, Row)
                assert row.fault or len(row.cells) == len(source.headers)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='a",\n', max_size=200))
def test_every_line_is_in_one_record_at_most_and_none_is_lost(text: str) -> None:
    lines = text.splitlines(keepends=True)
    numbered = Lines(Line(number, line, None) for number, line in enumerate(lines, 1))
    found = list(
        records(numbered, delimiter=",", quotechar='"', fits=lambda cells: len(cells) == 2)
    )
    starts = [record.line for record in found]
    assert starts == sorted(set(starts))
    for record, following in zip(found, [*starts, len(lines) + 1][1:], strict=True):
        if following - record.line > 1:  # it swallowed lines: only where it makes a sound row
            assert record.fault is None
            assert len(record.cells) == 2


@pytest.mark.parametrize(
    ("text", "delimiter", "headers"),
    [
        ("Email,Name\na@x.test,Anna\n", ",", ("Email", "Name")),
        ("Имя, фамилия;Email\nАнна Петрова;a@x.test\n", ";", ("Имя, фамилия", "Email")),
        ("Email\tNotes; more\na@x.test\tb; c\n", "\t", ("Email", "Notes; more")),
        ("sep=|\nEmail|A,B\nx@x.test|1,2\n", "|", ("Email", "A,B")),
        ("Email\na@x.test\nb@x.test\n", ",", ("Email",)),
        ("'Email';'Имя'\n'a@x.test';'О''Хара; Анна'\n", ";", ("Email", "Имя")),
        ("\n \n;;\nEmail;Имя\na@x.test;Анна\n", ";", ("Email", "Имя")),
        ('"Email\naddress",Name\na@x.test,Anna\n', ",", ("Email\naddress", "Name")),
        ("Email;Email;;Имя;\na@x.test;b@x.test;1;Анна;\n", ";", ("Email", "Email", "", "Имя", "")),
        ("Email,Name\rA@x.test,Anna\rB@x.test,Bo\r", ",", ("Email", "Name")),
    ],
)
def test_delimiters_quotes_and_headers(
    tmp_path: Path, text: str, delimiter: str, headers: tuple[str, ...]
) -> None:
    path = written(tmp_path / "x", text)
    source = source_of(path)
    assert (source.delimiter, source.headers) == (delimiter, headers)
    rows = rows_of(path)
    assert rows
    assert all(row.fault is None and "@x.test" in "".join(row.cells) for row in rows)
    assert source.sample == tuple(row.cells for row in rows)


def test_one_column_file_named_tsv_is_tab_separated(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "Email\na@x.test\n")
    assert source_of(path, name="List.TSV").delimiter == "\t"


def test_quotes_within_names_are_text(tmp_path: Path) -> None:
    text = 'a;b\n1;ООО "Ромашка"\n2;"Ромашка" ООО\n3;5" disk\n4;"ООО ""Ромашка; Лес"""\n'
    rows = rows_of(written(tmp_path / "x", text))
    assert [row.cells[1] for row in rows] == [
        'ООО "Ромашка"',
        "Ромашка ООО",
        '5" disk',
        'ООО "Ромашка; Лес"',
    ]
    assert not any(row.fault for row in rows)


@pytest.mark.parametrize(
    "after",
    [
        'b@x.test;Bo;1\nc@x.test;"Cy";1\nd@x.test;Di;1\n',  # a later quote does not close it
        'b@x.test;Bo;1\nc@x.test;Cy;1\nd@x.test;"D\ni";1\n',  # nor does a cell of two lines
        'b@x.test;Bo;1\nc@x.test;Cy;1"\nd@x.test;Di;1\n',  # closes it, but the cells are too few
        "b@x.test;Bo;1\n" * 500,
        "b@x.test;Bo;1",
    ],
)
def test_unterminated_quote_costs_one_row(tmp_path: Path, after: str) -> None:
    path = written(tmp_path / "x", f'email;name;city\n\na@x.test;"An;1\n{after}')
    broken, *rows = rows_of(path)
    assert (broken.number, broken.line, broken.fault) == (1, 3, "broken_quote")
    assert [row.fault for row in rows] == [None] * len(rows)
    assert len(rows) == after.count("@")
    assert rows[0].cells == ("b@x.test", "Bo", "1")


def test_quotes_that_never_close_do_not_make_reading_quadratic() -> None:
    taken = 0

    def lines() -> list[Line]:
        return [Line(number, 'a"b,"c\n', None) for number in range(1, 20_001)]

    class Counted(Lines):
        def next(self) -> Line | None:
            nonlocal taken
            taken += 1
            return super().next()

    found = list(records(Counted(lines()), delimiter=",", quotechar='"', fits=lambda _: True))
    assert len(found) == 20_000
    assert taken < 100_000


def test_rows_with_the_wrong_number_of_cells(tmp_path: Path) -> None:
    text = "a;b;c;\n1;2;3\n1;2;3;;;\n1;2\n1;2;3;;5\n;;;\n\n1;2;3;4\n"
    rows = rows_of(written(tmp_path / "x", text))
    assert [(row.line, row.fault) for row in rows] == [
        (2, None),
        (3, None),
        (4, "wrong_cell_count"),
        (5, "wrong_cell_count"),
        (8, None),
    ]
    assert rows[0].cells == rows[1].cells == ("1", "2", "3", "")


def test_bad_bytes_and_nul_cost_their_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "x"
    good = "почта;имя\nа@x.test;Анна\n".encode()
    path.write_bytes(good + b"\xff\xfe@x.test;B\nc@x.test;C\0C\n" + "д@x.test;Дар\n".encode())
    rows = rows_of(path)
    assert [row.fault for row in rows] == [None, "bad_encoding", "nul_bytes", None]
    assert rows[1].cells == ("\ufffd\ufffd@x.test", "B")  # fit for printing
    assert source_of(path).sample == (rows[0].cells, rows[3].cells)


RUSSIAN = "Эл. почта;Имя;Город\n" + "".join(
    f"a{n}@x.test;Ёлка «{n}» – №;Нижний Новгород\n" for n in range(40)
)


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("cp1251", "cp1251"),
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_russian_files(tmp_path: Path, encoding: str, found: str) -> None:
    path = written(tmp_path / "x", RUSSIAN, encoding)
    source = source_of(path)
    assert source.encoding == found
    assert source.headers == ("Эл. почта", "Имя", "Город")
    assert rows_of(path)[39].cells == ("a39@x.test", "Ёлка «39» – №", "Нижний Новгород")


@pytest.mark.parametrize("encoding", ["cp866", "utf-32"])
def test_other_encodings_are_refused_and_not_guessed(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "x", RUSSIAN.translate(dict.fromkeys(map(ord, "«»–№"))), encoding)
    assert fault_of(path).code == "unreadable_encoding"


def test_encoding_is_found_far_into_the_file(tmp_path: Path) -> None:
    text = "Email,Name\n" + "a@x.test,Anna\n" * 200_000 + "b@x.test,Борис\n"
    path = written(tmp_path / "x", text, "cp1251")
    assert source_of(path).encoding == "cp1251"
    assert rows_of(path, skip=200_000)[0].cells == ("b@x.test", "Борис")


@pytest.mark.parametrize(
    ("data", "code", "detail"),
    [
        (b"", "empty_file", ""),
        (b" \r\n\n \n", "empty_file", ""),
        (codecs.BOM_UTF8, "empty_file", ""),
        (codecs.BOM_UTF16_LE, "empty_file", ""),
        (b"a@x.test,Anna\nName,Email\nBo,b@x.test\n", "no_header", "address"),
        (b'"a,b\n1,2\n', "no_header", "broken_quote"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_a_table", "pdf"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not_a_table", "png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "not_a_table", "jpeg"),
        (b"\n<!DOCTYPE html><table><tr><td>a", "not_a_table", "html"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Workbook/>", "not_a_table", "xml"),
        (random.Random(1).randbytes(5000), "not_a_table", "binary"),
        (b"Em\0ail,Name\n" + b"a@x.test,Anna\n" * 99, "nul_bytes", "nul_bytes"),
        (b"Email\0" * 99, "nul_bytes", ""),
        (b"a," * 1000 + b"b\n", "too_many_columns", "1001"),
        (b"a," * 1_000_000, "line_too_long", "line_too_long"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, data: bytes, code: str, detail: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    fault = fault_of(path)
    assert (fault.code, fault.detail) == (code, detail)


def test_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "Email,Name")
    assert source_of(path).sample == ()
    assert rows_of(path) == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_long_lines_and_records_are_faults(tmp_path: Path, end: str) -> None:
    long = "x" * (1 << 20)
    lines = ["a,b", f"{long},1", "2,2", f'"{long}",3', "4,4", f'5,"{long[:200_000]}"', "6,6", ""]
    rows = rows_of(written(tmp_path / "x", end.join(lines)))
    assert [(row.line, row.fault) for row in rows] == [
        (2, "line_too_long"),
        (3, None),
        (4, "line_too_long"),
        (5, None),
        (6, "line_too_long"),  # one cell over 128 KiB
        (7, None),
    ]


MEASURE = """
import resource, sys
from pathlib import Path
from mailkit.imports.readers import read_rows
from mailkit.imports.sniff import sniff
path = Path(sys.argv[1])
source = sniff(path, name="x.csv")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
faults = [row.fault for row in read_rows(path, source)]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(faults, grown // 1024)
"""


def test_a_line_of_100_mb_stays_out_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(b"email,name\na@x.test,Anna\n")
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\nb@x.test,Bo\n")
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    faults, _, megabytes = done.stdout.rpartition(" ")
    assert faults == "[None, 'line_too_long', None]"
    assert int(megabytes) < 20
