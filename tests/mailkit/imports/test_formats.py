"""Every kind of contact file is read, packed or not, whatever it is called."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.imports import lines as lines_module
from mailkit.imports.listed import entries
from mailkit.imports.readers import read_blocks, read_rows
from mailkit.imports.sniff import sniff
from mailkit.imports.suggest import suggest_mapping
from mailkit.imports.table import FileFault, Row, Source
from tests.mailkit.imports.spreadsheets import ods_row, write_ods, write_xls

HEADERS = ("Email", "Имя", "City")
ROWS = [(f"a{n}@x.test", "Анна", "Омск, 1") for n in range(30)]


def xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in (HEADERS, *ROWS):
        book.worksheets[0].append(row)
    book.save(out)
    return out.getvalue()


def contents(kind: str, folder: Path) -> bytes:
    dicts = [dict(zip(HEADERS, row, strict=True)) for row in ROWS]
    match kind:
        case "csv":
            return "\n".join(";".join(row) for row in (HEADERS, *ROWS)).encode("cp1251")
        case "xlsx":
            return xlsx()
        case "xls":
            return write_xls(folder / "made", [HEADERS, *ROWS]).read_bytes()
        case "ods":
            body = "".join(ods_row(*row) for row in (HEADERS, *ROWS))
            return write_ods(folder / "made", body).read_bytes()
        case "json":
            return json.dumps(dicts, ensure_ascii=False, indent=1).encode()
        case _:
            return "\n".join(json.dumps(one) for one in dicts).encode()


def source_of(path: Path, **options: str) -> Source:
    source = sniff(path, name="contacts", **options)
    assert isinstance(source, Source), source
    return source


def cells_of(path: Path, **options: str) -> list[tuple[str, ...]]:
    rows = list(read_rows(path, source_of(path, **options)))
    assert all(isinstance(row, Row) and row.fault is None for row in rows), rows
    return [row.cells for row in rows if isinstance(row, Row)]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("packing", ["", "gzip", "zip"])
@pytest.mark.parametrize("kind", ["csv", "xlsx", "xls", "ods", "json", "jsonl"])
def test_every_kind_is_read_packed_or_not(tmp_path: Path, kind: str, packing: str) -> None:
    data, path = contents(kind, tmp_path), tmp_path / "wrong.doc"
    if packing == "gzip":
        path.write_bytes(gzip.compress(data))
    elif packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._a.csv", "x")
            archive.writestr("folder/a.csv", data)
    else:
        path.write_bytes(data)
    source = source_of(path)
    assert (source.kind, source.packing) == (kind, packing)
    assert source.member == ("folder/a.csv" if packing == "zip" else "")
    assert source.headers == HEADERS
    assert source.sample == tuple(ROWS[:20])
    assert source.size == path.stat().st_size
    found = list(read_rows(path, source, skip=7))
    assert [row.cells for row in found if isinstance(row, Row)] == ROWS[7:]
    blocks = list(read_blocks(path, source, skip=7, size=5))
    assert [len(block) for block in blocks if isinstance(block, list)] == [5, 5, 5, 5, 3]
    assert [row for block in blocks if isinstance(block, list) for row in block] == found
    assert suggest_mapping(source.headers, source.sample) == {
        0: "email",
        1: "first_name",
        2: "city",
    }


def test_a_zip_of_several_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.md", "hello")
        archive.writestr("a.csv", "Email,Name\na@x.test,An\n")
        archive.writestr("b.csv", "Email,Name\nb@x.test,Bo\n")
    source = source_of(path)
    assert (source.member, source.more_members) == ("a.csv", 1)
    assert cells_of(path) == [("a@x.test", "An")]
    assert cells_of(path, member="b.csv") == [("b@x.test", "Bo")]
    missing = sniff(path, name="x", member="c.csv")
    assert isinstance(missing, FileFault)
    assert missing.code == "no_table_in_archive"


def test_numbers_and_dates_of_old_workbooks(tmp_path: Path) -> None:
    path = write_xls(tmp_path / "x.csv", [["Email", "Age"], ["a@x.test", 41.0], ["b@x.test", 1.5]])
    assert cells_of(path) == [("a@x.test", "41"), ("b@x.test", "1.5")]


def test_json_values_become_text(tmp_path: Path) -> None:
    text = """{"total": 2, "tags": null, "contacts": [
        {"email": "a@x.test", "age": 41, "sum": 1.50, "vip": true, "note": null,
         "address": {"city": "Омск"}, "tags": ["a", "b"], "x": [{"y": 1}]},
        {"email": "b\\u0000@x.test", "half": "\\ud800"}], "next": null}"""
    path = written(tmp_path / "x", text)
    source = source_of(path)
    assert source.kind == "json"
    first, second = cells_of(path)
    assert dict(zip(source.headers, first, strict=True)) == {
        "email": "a@x.test",
        "age": "41",
        "sum": "1.50",
        "vip": "true",
        "note": "",
        "address.city": "Омск",
        "tags": "a, b",
        "x": '[{"y": "1"}]',
        "half": "",
    }
    assert (second[0], second[-1]) == ("b @x.test", "?")
    assert [row.line for row in read_rows(path, source) if isinstance(row, Row)] == [2, 4]


def test_bad_lines_of_json_cost_a_row_each(tmp_path: Path) -> None:
    text = '{"email": "a@x.test"}\n\n{"email": \n[1]\n' + "[" * 5000 + '\n{"email": "b@x.test"}\n'
    path = written(tmp_path / "x", text)
    rows = [row for row in read_rows(path, source_of(path)) if isinstance(row, Row)]
    assert [(row.line, row.fault) for row in rows] == [
        (1, None),
        (3, "bad_json"),
        (4, "bad_json"),
        (5, "bad_json"),
        (6, None),
    ]


def test_json_on_one_long_line(tmp_path: Path) -> None:
    found = [{"email": f"a{n}@x.test", "note": "Ж" * 100} for n in range(20_000)]
    for data in (found, {"contacts": found}):
        path = written(tmp_path / "x", json.dumps(data, ensure_ascii=False))
        cells = cells_of(path)
        assert len(cells) == 20_000
        assert cells[-1] == ("a19999@x.test", "Ж" * 100)


def test_json_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = written(tmp_path / "x", '[{"email": "a@x.test"},\n{"email": "b@x.test"},\n{"ema')
    source = sniff(path, name="x")
    assert isinstance(source, FileFault)
    assert (source.code, source.line) == ("damaged_json", 3)


@settings(max_examples=150, deadline=None)
@given(
    found=st.lists(
        st.dictionaries(st.sampled_from(["email", "b", "c"]), st.text(max_size=8), min_size=1),
        min_size=1,
        max_size=8,
    ),
    indent=st.sampled_from([None, 1]),
    block=st.integers(1, 50),
)
def test_json_is_read_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[dict[str, str]],
    indent: int | None,
    block: int,
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "json", json.dumps(found, indent=indent))
    whole = lines_module.BLOCK
    try:
        lines_module.BLOCK = block
        source = source_of(path)
        rows = list(read_rows(path, source))
    finally:
        lines_module.BLOCK = whole
    expected = [
        tuple(one.get(header, "").replace("\0", " ") for header in source.headers)
        for one in found
        if any(value.replace("\0", " ").strip() for value in one.values())
    ]
    assert [row.cells for row in rows if isinstance(row, Row)] == expected


CARDS = """BEGIN:VCARD\r
VERSION:3.0\r
N:Петрова;Анна;Ивановна;;\r
FN:Анна Петрова\r
EMAIL;TYPE=work:a@x.test\r
item1.EMAIL;TYPE=home,pref:home@x.test\r
TEL;TYPE=cell:+7 916 123-45-67\r
ORG:Acme\\, Inc.;Sales\r
BDAY:19850412\r
CATEGORIES:VIP,Press\r
NOTE:long
  line\r
END:VCARD\r
begin:vcard
version:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=98=D0=B2=
=D0=B0=D0=BD;
FN:Ivan
EMAIL;INTERNET:b@x.test
end:vcard
BEGIN:VCARD
VERSION:4.0
FN:No Name
EMAIL:mailto:c@x.test
BDAY:--0412
END:VCARD
"""


def test_cards(tmp_path: Path) -> None:
    path = written(tmp_path / "x", CARDS)
    source = source_of(path)
    assert source.kind == "vcf"
    anna, ivan, last = (dict(zip(source.headers, c, strict=True)) for c in cells_of(path))
    assert anna == {
        "Email": "home@x.test",
        "First name": "Анна",
        "Last name": "Петрова",
        "Full name": "Анна Петрова",
        "Phone": "+7 916 123-45-67",
        "Organization": "Acme, Inc., Sales",
        "Title": "",
        "Birthday": "1985-04-12",
        "Tags": "VIP, Press",
        "Email 2": "a@x.test",
        "Email 3": "",
        "Phone 2": "",
    }
    assert (ivan["Email"], ivan["Last name"], ivan["Full name"]) == ("b@x.test", "Иван", "Ivan")
    assert (last["Email"], last["First name"], last["Birthday"]) == (
        "c@x.test",
        "No Name",
        "--0412",
    )
    lines = [row.line for row in read_rows(path, source) if isinstance(row, Row)]
    assert lines == [1, 14, 21]
    assert suggest_mapping(source.headers, source.sample)[0] == "email"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a@x.test", [("a@x.test", "")]),
        ("a@x.test, b@x.test; c@x.test;", [("a@x.test", ""), ("b@x.test", ""), ("c@x.test", "")]),
        ("Anna <a@x.test>, Bo <b@x.test>", [("a@x.test", "Anna"), ("b@x.test", "Bo")]),
        ("Petrova, Anna <a@x.test>", [("a@x.test", "Petrova, Anna")]),
        ('"Petrova; Anna" <a@x.test>', [("a@x.test", "Petrova; Anna")]),
        ("<a@x.test>", [("a@x.test", "")]),
        ("nothing", [("nothing", "")]),
        ("nothing, a@x.test", [("nothing", ""), ("a@x.test", "")]),
        (" ;, ", []),
    ],
)
def test_entries_of_a_list(line: str, found: list[tuple[str, str]]) -> None:
    assert entries(line) == found


def test_lists_and_pasted_text(tmp_path: Path) -> None:
    text = "Анна <a@x.test>\nb@x.test; c@x.test\nnobody\n\nd@x.test\n"
    path = written(tmp_path / "x", text)
    source = source_of(path)
    assert (source.kind, source.headers, source.header_line) == ("txt", ("Email", "Name"), 0)
    assert [cell for cell, _name in cells_of(path)] == [
        "a@x.test",
        "b@x.test",
        "c@x.test",
        "nobody",
        "d@x.test",
    ]
    pasted = source_of(written(tmp_path / "pasted", "Email\tName\na@x.test\tAn"))
    assert (pasted.kind, pasted.delimiter) == ("csv", "\t")
    assert sniff(written(tmp_path / "empty", ""), name="pasted.txt") == FileFault("empty_file")


def test_tables_without_headers(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "Anna,a@x.test,Omsk\nBo,b@x.test,Paris\n")
    source = source_of(path)
    assert (source.header_line, source.headers) == (0, ("Column 1", "Column 2", "Column 3"))
    assert cells_of(path)[0] == ("Anna", "a@x.test", "Omsk")
    assert suggest_mapping(source.headers, source.sample)[1] == "email"


@pytest.mark.parametrize("delimiter", [":", "^", "~", "#"])
def test_a_chosen_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path / "x", f"Email{delimiter}A,B\na@x.test{delimiter}1,2\n")
    assert cells_of(path, delimiter=delimiter) == [("a@x.test", "1,2")]


@pytest.mark.parametrize("encoding", ["koi8-r", "cp1251", "cp1252", "utf-16-le", "utf-8"])
def test_a_chosen_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.startswith("utf") else ""
    word = "Å" if encoding == "cp1252" else "Щ"
    path = tmp_path / "x"
    path.write_bytes(f"{mark}Email,Name\na@x.test,{word}\n".encode(encoding))
    source = source_of(path, encoding=encoding)
    assert (source.encoding, source.headers[0]) == (encoding, "Email")
    assert cells_of(path, encoding=encoding) == [("a@x.test", word)]
