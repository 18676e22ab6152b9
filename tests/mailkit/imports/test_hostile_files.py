"""Files made to break the reader: each ends in a fault, in little memory, within a minute."""

from __future__ import annotations

import gzip
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mailkit.imports.packing import MAX_WORKBOOK
from mailkit.imports.readers import read_rows
from mailkit.imports.sniff import sniff
from mailkit.imports.table import FileFault, Source
from tests.mailkit.imports.measured import ending_of
from tests.mailkit.imports.spreadsheets import ods_row, write_ods, write_xls


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return path


def gzipped(path: Path, head: bytes, block: bytes, times: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(times):
            file.write(block)
    return path


CSV = b"Email,Name\na@x.test,An\n"


def gzip_bomb(path: Path) -> None:
    gzipped(path, CSV, b"a@x.test,An\n" * 100_000, 120)


def gzip_line_bomb(path: Path) -> None:
    gzipped(path, CSV, bytes([120]) * (1 << 20), 150)


def zip_bomb(path: Path) -> None:
    zipped(path, a_csv=CSV + b"x" * (120 << 20))


def packed_workbook_bomb(path: Path) -> None:
    book = path.with_name("book")
    zipped(book, **{"xl/workbook_xml": b"", "xl/media/x": bytes(120 << 20)})
    zipped(path, a_xlsx=book.read_bytes())


def ods_entity_bomb(path: Path) -> None:
    entities = '<!ENTITY a "lol">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    write_ods(path, ods_row("Email", "&i;"), prolog=f"<!DOCTYPE x [{entities}]>")


def ods_of_repeated_cells(path: Path) -> None:
    wide = ods_row("x", attributes=' table:number-columns-repeated="16384"')
    rows = wide.replace(
        "<table:table-row>", '<table:table-row table:number-rows-repeated="1048576">'
    )
    write_ods(path, ods_row("Email") + rows)


def ods_of_a_million_columns(path: Path) -> None:
    write_ods(path, ods_row("Email", attributes=' table:number-columns-repeated="1000000"'))


def xls_of_far_apart_cells(path: Path) -> None:
    write_xls(path, [["Email"], ["a@x.test"]])
    data = path.read_bytes()
    cell = data.index(b"\x04\x02", data.index(b"\x04\x02") + 2)
    path.write_bytes(data[: cell + 4] + b"\xff\xff\xff\x00" + data[cell + 8 :])


def json_of_a_million_keys(path: Path) -> None:
    path.write_text("[{" + ", ".join(f'"k{n}": 1' for n in range(60_000)) + "}]")


def json_of_a_long_value(path: Path) -> None:
    path.write_text('[{"email": "' + "x" * (8 << 20) + '"}]')


def deep_json(path: Path) -> None:
    path.write_text('[{"email": ' + "[" * 500_000)


def deep_json_objects(path: Path) -> None:
    path.write_text('{"a":' * 200_000 + "1" + "}" * 200_000)


def json_of_blanks(path: Path) -> None:
    path.write_text('[{"email": "a@x.test"}' + " " * (8 << 20) + "]")


def json_with_nul(path: Path) -> None:
    path.write_text('[{"email": "a\0@x.test"}]')


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (gzip_bomb, "too_large_archive"),
        (gzip_line_bomb, "too_large_archive"),
        (zip_bomb, "too_large_archive"),
        (packed_workbook_bomb, "too_large_xlsx"),
        (ods_entity_bomb, "damaged_xlsx"),
        (ods_of_repeated_cells, "damaged_xlsx"),
        (ods_of_a_million_columns, "too_many_columns"),
        (xls_of_far_apart_cells, "too_large_xlsx"),
        (json_of_a_million_keys, "too_many_columns"),
        (json_of_a_long_value, "damaged_json"),
        (deep_json, "damaged_json"),
        (deep_json_objects, "damaged_json"),
        (json_of_blanks, "json"),
        (json_with_nul, "damaged_json"),
    ],
)
def test_the_end_of_a_hostile_file(tmp_path: Path, make: Callable[[Path], None], code: str) -> None:
    make(tmp_path / "x")
    assert ending_of(tmp_path / "x")[0] == code


def long_quotes(path: Path) -> None:
    path.write_bytes(b"a@x.test\n" * 300 + b'"\\' * 500_000 + b"\n")


def long_fold(path: Path) -> None:
    path.write_bytes(
        b"BEGIN:VCARD\nEMAIL:a@x.test\nPHOTO:x\n" + b" AAAA\n" * 1_000_000 + b"END:VCARD\n"
    )


def card_without_end(path: Path) -> None:
    path.write_bytes(b"BEGIN:VCARD\n" + b"EMAIL:a@x.test\n" * 500_000)


def long_quoted_cell(path: Path) -> None:
    path.write_bytes(CSV + b'"\n' * 300_000)


@pytest.mark.parametrize(
    ("make", "ending"),
    [
        (long_quotes, ("txt", 301, [])),
        (long_fold, ("vcf", 1, [])),
        (card_without_end, ("vcf", 1, [])),
        (long_quoted_cell, ("csv", 300_001, ["broken_quote"])),
    ],
)
def test_text_that_takes_time_squared_elsewhere(
    tmp_path: Path, make: Callable[[Path], None], ending: tuple[str, int, list[str]]
) -> None:
    make(tmp_path / "x")
    assert ending_of(tmp_path / "x") == ending


def fault_of(path: Path) -> tuple[str, str]:
    fault = sniff(path, name="contacts.csv")
    assert isinstance(fault, FileFault), fault
    return fault.code, fault.detail


def test_archives_within_archives(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner", a_csv=CSV).read_bytes()
    outer = tmp_path / "x"
    for data in (inner, gzip.compress(CSV)):
        assert fault_of(zipped(outer, a_zip=data)) == ("nested_archive", "")
        outer.write_bytes(gzip.compress(data))
        assert fault_of(outer) == ("nested_archive", "")


def test_archives_without_a_table(tmp_path: Path) -> None:
    assert fault_of(zipped(tmp_path / "x")) == ("no_table_in_archive", "")
    assert fault_of(zipped(tmp_path / "x", a_pdf=b"%PDF-1.7")) == ("not_a_table", "pdf")
    assert fault_of(zipped(tmp_path / "x", a_csv=b"")) == ("empty_file", "")


def test_members_that_overlap_are_not_read_twice(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", a_csv=CSV * 50, b_csv=CSV * 50)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)  # the offset of the first
    path.write_bytes(data)
    source = sniff(path, name="x", member="b.csv")
    assert isinstance(source, FileFault)
    assert source.code == "damaged_archive"


def test_archives_that_break_off(tmp_path: Path) -> None:
    rows = b"".join(f"a{n}@x.test,Ж{random.Random(n).random()}\n".encode() for n in range(60_000))
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(CSV + rows))
    os.truncate(path, path.stat().st_size - 20_000)
    source = sniff(path, name="x")
    assert isinstance(source, Source)
    *found, fault = read_rows(path, source)
    assert isinstance(fault, FileFault)
    assert fault.code == "damaged_archive"
    assert len(found) > 1000
    zipped(path, a_csv=CSV + rows)
    os.truncate(path, path.stat().st_size - 200)
    assert fault_of(path)[0] == "damaged_archive"
    path.write_bytes(b"\x1f\x8b\x08\0")
    assert fault_of(path) == ("damaged_archive", "EOFError")


def test_damaged_and_encrypted_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x", a_csv=CSV * 500)
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff" * 4
    path.write_bytes(data)
    assert fault_of(path)[0] == "damaged_archive"
    path = zipped(tmp_path / "x", a_csv=CSV)
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(magic) + flags] |= 1
    path.write_bytes(data)
    assert fault_of(path) == ("encrypted_archive", "")


@pytest.mark.parametrize("kind", ["xls", "ods"])
def test_workbooks_that_break_off(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "xls":
        write_xls(path, [["Email"], *([f"a{n}@x.test"] for n in range(500))])
    else:
        write_ods(path, ods_row("Email") + ods_row("a@x.test") * 500)
    os.truncate(path, path.stat().st_size // 2)
    assert fault_of(path)[0] in ("damaged_xlsx", "damaged_archive")


def test_nothing_unpacked_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    book = write_ods(tmp_path / "book", ods_row("Email") + ods_row("a@x.test") * 3000)
    path = zipped(tmp_path / "x", a_ods=book.read_bytes())
    source = sniff(path, name="x")
    assert isinstance(source, Source)
    rows = read_rows(path, source)
    next(rows)
    assert len(list(folder.iterdir())) == 1
    rows.close()
    assert not list(folder.iterdir())
    assert MAX_WORKBOOK == 512 << 20


def test_formulas_are_text_and_never_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('Email,Name\na@x.test,"=HYPERLINK(""http://x.test"")"\n')
    source = sniff(path, name="x")
    assert isinstance(source, Source)
    assert source.sample == (("a@x.test", '=HYPERLINK("http://x.test")'),)
