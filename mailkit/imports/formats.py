"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import codecs
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from .table import FileFault

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"BM\x00", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"(\xb5/\xfd", "zstd"),
    (b"\x7fELF", "binary"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"PAR1", "parquet"),
    (b"{\\rtf", "rtf"),
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# A BOF record outside an OLE container: Excel 2, 3 and 4, and some exporters.
_BIFF = re.compile(rb"\x09[\x00\x02\x04\x08][\x04\x06\x08\x10]\x00")
_MARKUP = re.compile(
    rb"\s*(?:(?P<html><!doctype html|<html|<head|<body|<table|<meta|<div)|(?P<xml><\?xml)"
    rb'|(?P<json>\{\s*"|\[\s*[{\[])|(?P<vcard>begin:vcard))',
    re.IGNORECASE,
)
# C0 controls that no text has: all but TAB, LF, VT, FF, CR and the end-of-file mark 1A.
_CONTROLS = bytes(set(range(32)) - {9, 10, 11, 12, 13, 26})


def workbook_or_fault(path: Path, head: bytes) -> bool | FileFault:
    """True for an XLSX workbook, False for what may be delimited text, else why neither.

    `head` is the first 64 KiB or so.
    """
    if head.startswith(_ZIP):
        return _of_zip(path, head)
    if head.startswith(_OLE):
        return _of_ole(path, head)
    if _BIFF.match(head):
        return FileFault("legacy_xls")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return FileFault("not_a_table", None, kind)
    if markup := _MARKUP.match(head.removeprefix(codecs.BOM_UTF8)):
        return FileFault("not_a_table", None, markup.lastgroup or "")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return _controls_fault(head) or False


def _controls_fault(head: bytes) -> FileFault | None:
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls * 50 <= len(head):
        return None
    if controls == head.count(0):
        return FileFault("nul_bytes", 1)
    return FileFault("not_a_table", None, "binary")


def _of_zip(path: Path, head: bytes) -> bool | FileFault:
    # The names at the front tell a workbook even where the directory at the end is cut off,
    # and without reading a directory that may be hostile.
    for name, kind in ((b"word/", "docx"), (b"ppt/", "pptx"), (b"xl/workbook.bin", "xlsb")):
        if name in head:
            return FileFault("not_a_table", None, kind)
    if head[30:38] == b"mimetype":
        return FileFault("not_a_table", None, "opendocument")
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return True
    if not zipfile.is_zipfile(path):
        return FileFault("not_a_table", None, "zip")
    # Writers may put a large sheet first, under any name: the workbook part is what counts.
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        if b"xl/workbook.xml" in file.read():
            return True
    return FileFault("not_a_table", None, "zip")


def _of_ole(path: Path, head: bytes) -> FileFault:
    """Tell the OLE files by their streams' names (MS-CFB 2.6.1: UTF-16, 128 bytes an entry)."""
    with path.open("rb") as file:
        directory = _ole_directory(file, head)
    if "EncryptedPackage".encode("utf-16-le") in directory:
        return FileFault("encrypted_xlsx")
    for stream in ("Workbook", "Book"):
        if f"{stream}\0".encode("utf-16-le") in directory:
            return FileFault("legacy_xls")
    return FileFault("not_a_table", None, "ole")


def _ole_directory(file: BinaryIO, head: bytes) -> bytes:
    """The first eight sectors of the directory, enough for the names in the root."""
    sector_size = 4096 if head[30:32] == b"\x0c\x00" else 512
    first = int.from_bytes(head[48:52], "little")
    file.seek((first + 1) * sector_size)
    return file.read(8 * sector_size)
