"""Reading XLSX: cell values, names that mislead, and files that are broken or hostile."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.imports import workbook, xlsx_child
from mailkit.imports.lines import PlainRecords
from mailkit.imports.readers import read_rows
from mailkit.imports.sniff import sniff
from mailkit.imports.table import FileFault, Row, Source

Cell = str | int | float | bool | dt.date | dt.time | None


def saved(
    path: Path, rows: Sequence[Sequence[Cell]], *, first_row: int = 1, first_column: int = 1
) -> Path:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for number, row in enumerate(rows, first_row):
        for column, value in enumerate(row, first_column):
            if value is not None:
                sheet.cell(number, column, value)
    book.save(path)
    return path


CONTENT_TYPES = """<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels"
 ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>
</Types>"""
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def cell(reference: str, text: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'


def zipped(path: Path, sheet_data: str, *, prolog: str = "", extra: bytes = b"") -> Path:
    """A minimal workbook around the given XML."""
    parts = {
        "[Content_Types].xml": CONTENT_TYPES,
        "_rels/.rels": f'{RELS}<Relationship Id="r1" Type="{OFFICE}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="A" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{RELS}<Relationship Id="r1" Type="{OFFICE}/worksheet"'
        ' Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"{prolog}<worksheet {MAIN}>"
        f"<sheetData>{sheet_data}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        if extra:
            archive.writestr("xl/media/extra.bin", extra)
    return path


def source_of(path: Path, *, name: str = "contacts.xlsx") -> Source:
    source = sniff(path, name=name)
    assert isinstance(source, Source), source
    return source


def rows_of(path: Path, *, skip: int = 0) -> list[Row | FileFault]:
    return list(read_rows(path, source_of(path), skip=skip))


def fault_of(path: Path) -> tuple[str, str]:
    fault = sniff(path, name="contacts.xlsx")
    assert isinstance(fault, FileFault), fault
    return fault.code, fault.detail


def test_cells_become_the_text_that_people_see(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [
        ["Email", "Value"],
        ["a@x.test", 7],
        ["a@x.test", 79161234567],
        ["a@x.test", 1.5],
        ["a@x.test", -0.0],
        ["a@x.test", dt.date(2024, 2, 29)],
        ["a@x.test", dt.datetime(2024, 2, 29, 10, 30)],
        ["a@x.test", dt.time(10, 30)],
        ["a@x.test", True],
        ["a@x.test", "Ёлка\n№ 1 & <b>"],
        ["a@x.test", None],
    ]
    found = rows_of(saved(tmp_path / "x", rows))
    assert [row.cells[1] for row in found if isinstance(row, Row)] == [
        "7",
        "79161234567",
        "1.5",
        "0",
        "2024-02-29",
        "2024-02-29T10:30:00",
        "10:30:00",
        "true",
        "Ёлка\n№ 1 & <b>",
        "",
    ]


def test_formulas_give_their_cached_values(tmp_path: Path) -> None:
    data = (
        f'<row r="1">{cell("A1", "Email")}{cell("B1", "N")}</row>'
        '<row r="2"><c r="A2" t="str"><f>"a@"&amp;"x.test"</f><v>a@x.test</v></c>'
        '<c r="B2"><f>1+1</f><v>2</v></c></row>'
    )
    (row,) = rows_of(zipped(tmp_path / "x", data))
    assert row == Row(1, 2, ("a@x.test", "2"))


def test_rows_are_numbered_and_placed_as_in_the_sheet(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["Email", "Name", None], ["a@x.test", "An"], [], ["b@x.test"]]
    path = saved(tmp_path / "x", rows, first_row=4, first_column=3)
    source = source_of(path)
    assert (source.header_line, source.headers) == (4, ("Email", "Name"))
    expected = [Row(1, 5, ("a@x.test", "An")), Row(2, 7, ("b@x.test", ""))]
    assert rows_of(path) == expected
    assert rows_of(path, skip=1) == expected[1:]
    assert source.sample == (("a@x.test", "An"), ("b@x.test", ""))


def test_cells_outside_the_headers_are_a_wrong_count(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["Email", "Name"], ["a@x.test", "An", "x"], ["b@x.test", "Bo", " "]]
    found = rows_of(saved(tmp_path / "x", rows))
    assert [row.fault for row in found if isinstance(row, Row)] == ["wrong_cell_count", None]


def test_cells_may_spell_what_separates_cells(tmp_path: Path) -> None:
    data = f'<row r="1">{cell("A1", "Email")}{cell("B1", "Name")}</row>' + "".join(
        f'<row r="{n}">{cell(f"A{n}", "a@x.test")}{cell(f"B{n}", f"An_x00{code}_na")}</row>'
        for n, code in enumerate(("00", "1D", "1E", "1F"), 2)
    )
    rows = rows_of(zipped(tmp_path / "x", data))
    assert rows == [Row(n, n + 1, ("a@x.test", "An na")) for n in range(1, 5)]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(
                st.one_of(st.just(""), st.text("aж \0\x1d\x1e\x1f\n", max_size=3), st.integers()),
                min_size=width,
                max_size=width,
            ),
            max_size=6,
        )
    )
)
def test_rows_go_from_child_to_parent_as_they_are(rows: list[list[str | int]]) -> None:
    cells: list[list[xlsx_child.Cell]] = [[*row] for row in rows]
    kept = [*xlsx_child.row_texts(cells, len(rows[0]) if rows else 0)]
    found: list[tuple[int, list[str]]] = []
    if kept:
        batch = workbook._batch(
            [number for number, _text in kept], xlsx_child.ROW.join(text for _number, text in kept)
        )
        if isinstance(batch, PlainRecords):
            found = [*enumerate(batch.cells, batch.line)]
        else:
            found = [(record.line, record.cells) for record in batch]
    taken = str.maketrans(dict.fromkeys("\0\x1d\x1e\x1f", " "))
    expected = [(n, [str(one) for one in row]) for n, row in enumerate(rows, 1)]
    expected = [(n, row) for n, row in expected if "".join(row).strip()]
    assert [n for n, _cells in found] == [n for n, _cells in expected]
    for (_n, texts), (_m, row) in zip(found, expected, strict=True):
        padded = texts + [""] * (len(row) - len(texts))
        assert padded == [one.translate(taken) for one in row]
        assert len(texts) >= len(found[0][1])


def test_first_visible_sheet_with_cells_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()  # its first sheet stays empty
    for title, state, word in (("a", "hidden", "no"), ("b", "visible", "yes")):
        sheet = book.create_sheet(title)
        sheet.sheet_state = state
        sheet.append(["Email", word])
    book.save(tmp_path / "x")
    assert source_of(tmp_path / "x").headers == ("Email", "yes")


def test_names_do_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path / "contacts.csv", [["Email"], ["a@x.test"]])
    assert source_of(path, name="contacts.csv").kind == "xlsx"
    assert rows_of(path) == [Row(1, 2, ("a@x.test",))]
    text = tmp_path / "contacts.xlsx"
    text.write_text("Email\na@x.test\n")
    assert source_of(text).kind == "csv"
    assert rows_of(text) == [Row(1, 2, ("a@x.test",))]


@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_truncated_workbook(tmp_path: Path, part: float) -> None:
    path = saved(tmp_path / "x", [["Email"], *([f"a{n}@x.test"] for n in range(500))])
    os.truncate(path, int(path.stat().st_size * part))
    assert fault_of(path) == ("damaged_xlsx", "truncated")


def test_workbook_with_damaged_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", [["Email"], *([f"a{n}@x.test"] for n in range(500))])
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("xl/worksheets/sheet1.xml")
    data = bytearray(path.read_bytes())
    middle = member.header_offset + member.compress_size // 2
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    assert fault_of(path)[0] == "damaged_xlsx"


def test_workbooks_without_rows(tmp_path: Path) -> None:
    assert fault_of(saved(tmp_path / "x", [])) == ("empty_file", "")
    assert rows_of(saved(tmp_path / "y", [["Email", "Name"]])) == []


def test_far_apart_cells_run_into_the_memory_limit(tmp_path: Path) -> None:
    data = f'<row r="1">{cell("A1", "Email")}</row><row r="1048576">{cell("XFD1048576", "x")}</row>'
    assert fault_of(zipped(tmp_path / "x", data))[0] == "too_large_xlsx"


def test_far_apart_cells_below_the_memory_limit(tmp_path: Path) -> None:
    data = f'<row r="1">{cell("A1", "Email")}</row><row r="900">{cell("ALL900", "a@x.test")}</row>'
    assert rows_of(zipped(tmp_path / "x", data)) == [
        Row(1, 900, (*[""] * 999, "a@x.test"), "wrong_cell_count")
    ]


def test_too_many_columns(tmp_path: Path) -> None:
    cells = "".join(f'<c t="inlineStr"><is><t>h{n}</t></is></c>' for n in range(1001))
    path = zipped(tmp_path / "x", f'<row r="1">{cells}</row>')
    assert fault_of(path) == ("too_many_columns", "1001")


def test_a_million_columns(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", "<row>" + "<c><v>1</v></c>" * 1_000_000 + "</row>")
    assert fault_of(path) == ("too_many_columns", "1000000")


def test_zip_bombs(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", f"<row>{cell('A1', 'Email')}</row>", extra=bytes(80 << 20))
    assert path.stat().st_size < 1 << 20
    assert fault_of(path) == ("too_large_xlsx", "ratio")


def test_zip_directory_that_lies_about_sizes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", f"<row>{cell('A1', 'E' * (1 << 22))}</row>")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size.to_bytes(4, "little")
    path.write_bytes(data.replace(size, (900).to_bytes(4, "little")))
    assert fault_of(path)[0] in ("damaged_xlsx", "line_too_long")


def test_zip_of_very_many_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", "")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(xlsx_child.MAX_MEMBERS):
            archive.writestr(f"{number}", b"")
    assert fault_of(path) == ("too_large_xlsx", "members")


def test_entity_bomb(tmp_path: Path) -> None:
    entities = '<!ENTITY a "lol">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    prolog = f'<?xml version="1.0"?><!DOCTYPE x [{entities}]>'
    data = f'<row r="1">{cell("A1", "Email")}{cell("B1", "&i;")}</row>'
    assert fault_of(zipped(tmp_path / "x", data, prolog=prolog)) == ("damaged_xlsx", "doctype")


def test_entities_of_a_late_dtd_are_not_expanded(tmp_path: Path) -> None:
    prolog = " " * 5000 + '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    data = f'<row r="1">{cell("A1", "Email")}{cell("B1", "&a;")}</row>'
    found = sniff(zipped(tmp_path / "x", data, prolog=prolog), name="x")
    if isinstance(found, Source):
        assert found.headers[1] in ("", "&a;", "a")
    else:
        assert found.code == "damaged_xlsx"


def ole(stream: str) -> bytes:
    """An OLE container's header and a directory that names one stream."""
    header = bytearray(512)
    header[:8] = bytes.fromhex("d0cf11e0a1b11ae1")
    header[30:32] = b"\x09\x00"
    header[48:52] = (0).to_bytes(4, "little")
    return bytes(header) + stream.encode("utf-16-le").ljust(512, b"\0")


def test_other_containers(tmp_path: Path) -> None:
    path = tmp_path / "x"
    expected = {
        ole("EncryptedPackage"): ("encrypted_xlsx", ""),
        ole("Workbook"): ("damaged_xlsx", "CalamineError"),
        ole("WordDocument"): ("not_a_table", "ole"),
        bytes.fromhex("0908100000060500"): ("legacy_xls", ""),
    }
    for data, fault in expected.items():
        path.write_bytes(data)
        assert fault_of(path) == fault
    for member, kind in (("word/document.xml", "docx"), ("ppt/a.xml", "pptx")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "x")
        assert fault_of(path) == ("not_a_table", kind)


def test_encrypted_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", "")
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    data[first + 8] |= 1
    path.write_bytes(data)
    assert fault_of(path) == ("encrypted_xlsx", "zip")


def test_closing_the_rows_ends_the_child(tmp_path: Path) -> None:
    # More than a pipe holds: the child cannot have ended by itself.
    note = "x" * 100
    rows = [["Email", "Note"], *([f"a{n}@x.test", note] for n in range(5000))]
    path = saved(tmp_path / "x", rows)
    source = source_of(path)
    found = read_rows(path, source)
    assert next(found) == Row(1, 2, ("a0@x.test", note))
    (child,) = [
        child for child in psutil.Process().children() if str(path) in " ".join(child.cmdline())
    ]
    found.close()
    assert not child.is_running()


@pytest.fixture
def instead_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "child.py"
    monkeypatch.setattr(workbook, "_CHILD", script)
    return script


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("sys.exit(3)", "damaged_xlsx"),
        ("sys.exit(0)", "damaged_xlsx"),
        ("os.abort()", "too_large_xlsx"),
        ("os.kill(os.getpid(), 9)", "too_large_xlsx"),
        ("os.write(1, b'[[2], [[\"a@x'); os._exit(0)", "damaged_xlsx"),
        ("os.write(1, b'[[2], 9]\\na@x'); os._exit(0)", "damaged_xlsx"),
    ],
)
def test_death_of_the_child_is_a_fault(instead_of_the_child: Path, death: str, code: str) -> None:
    instead_of_the_child.write_text(
        f"import os, sys\nprint('[[1], 5]\\nEmail', end='', flush=True)\n{death}"
    )
    header, fault = workbook.sheet_batches(Path("x"))
    assert header == PlainRecords(1, [["Email"]])
    assert isinstance(fault, FileFault)
    assert fault.code == code


def test_limits_bind_before_parsing(tmp_path: Path) -> None:
    probe = (
        "import json, resource, runpy, signal, sys\n"
        f"child = runpy.run_path({xlsx_child.__file__!r})\n"
        "child['limit_resources']()\n"
        "print(json.dumps([resource.getrlimit(resource.RLIMIT_AS)[0],"
        " resource.getrlimit(resource.RLIMIT_CPU)[0], signal.alarm(0)]))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    memory, cpu, alarm = json.loads(done.stdout)
    assert memory == xlsx_child.MAX_MEMORY
    assert cpu == xlsx_child.MAX_CPU_SECONDS
    assert 0 < alarm <= xlsx_child.MAX_LOAD_SECONDS
