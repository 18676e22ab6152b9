"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import BinaryIO, Literal

from .encoding import without_mark
from .packing import UNREADABLE, zip_members
from .table import FileFault

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"BM\x00", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
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
_GZIP = b"\x1f\x8b\x08"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# A BOF record outside an OLE container: Excel 2, 3 and 4, and some exporters.
_BIFF = re.compile(rb"\x09[\x00\x02\x04\x08][\x04\x06\x08\x10]\x00")
_MARKUP = re.compile(
    rb"\s*(?:(?P<html><!doctype html|<html|<head|<body|<table|<meta|<div)|(?P<xml><\?xml)"
    rb'|(?P<json>\{\s*"|\[\s*[{\[])|(?P<vcf>begin:vcard))',
    re.IGNORECASE,
)
# C0 controls that no text has: all but TAB, LF, VT, FF, CR and the end-of-file mark 1A.
_CONTROLS = bytes(set(range(32)) - {9, 10, 11, 12, 13, 26})


Format = Literal["gzip", "zip", "xlsx", "xls", "ods", "json", "vcf", "text"]


def format_of(path: Path, head: bytes) -> Format | FileFault:
    """What is at `path`, or why it cannot be a contact file; `text` may still be anything.

    `head` is the first 64 KiB or so.
    """
    if head.startswith(_ZIP):
        return _of_zip(path, head)
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_OLE):
        return _of_ole(path, head)
    if _BIFF.match(head):
        return FileFault("legacy_xls")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return FileFault("not_a_table", None, kind)
    if head[257:262] == b"ustar":
        return FileFault("not_a_table", None, "tar")
    if markup := _MARKUP.match(head.removeprefix(codecs.BOM_UTF8)):
        found = markup.lastgroup
        if found == "json" or found == "vcf":
            return found
        return FileFault("not_a_table", None, found or "")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or without_mark(head):
        return _of_wide(head)
    return _controls_fault(head) or "text"


def is_packed(head: bytes) -> bool:
    """Whether a file begins as a gzip, ZIP or OLE file does and has to be looked at as a whole."""
    return head.startswith((_GZIP, _OLE, *_ZIP))


def _of_wide(head: bytes) -> Format:
    """UTF-16 may hold JSON or vCards too."""
    codec = without_mark(head) or "utf-16"
    text = head[: len(head) & ~1].decode(codec, "replace").removeprefix("\ufeff")
    markup = _MARKUP.match(text.encode("ascii", "replace"))
    found = markup.lastgroup if markup else None
    return found if found == "json" or found == "vcf" else "text"


def _controls_fault(head: bytes) -> FileFault | None:
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls * 50 <= len(head):
        return None
    if controls == head.count(0):
        return FileFault("nul_bytes", 1)
    return FileFault("not_a_table", None, "binary")


def _of_zip(path: Path, head: bytes) -> Format | FileFault:
    try:
        names = zip_members(path)
    except UNREADABLE:
        # The names at the front tell a workbook even where the directory at the end is cut off.
        return "xlsx" if b"xl/" in head or b"[Content_Types].xml" in head else "zip"
    if "xl/workbook.xml" in names:
        return "xlsx"
    for part, kind in (("word/", "docx"), ("ppt/", "pptx"), ("xl/workbook.bin", "xlsb")):
        if any(name.startswith(part) for name in names):
            return FileFault("not_a_table", None, kind)
    if head[30:38] == b"mimetype":
        is_sheet = b"opendocument.spreadsheet" in head[38:200]
        return "ods" if is_sheet else FileFault("not_a_table", None, "opendocument")
    return "xlsx" if "[Content_Types].xml" in names else "zip"


def _of_ole(path: Path, head: bytes) -> Format | FileFault:
    """Tell the OLE files by their streams' names (MS-CFB 2.6.1: UTF-16, 128 bytes an entry)."""
    with path.open("rb") as file:
        directory = _ole_directory(file, head)
    if "EncryptedPackage".encode("utf-16-le") in directory:
        return FileFault("encrypted_xlsx")
    for stream in ("Workbook", "Book"):
        if f"{stream}\0".encode("utf-16-le") in directory:
            return "xls"
    return FileFault("not_a_table", None, "ole")


def _ole_directory(file: BinaryIO, head: bytes) -> bytes:
    """The first eight sectors of the directory, enough for the names in the root."""
    sector_size = 4096 if head[30:32] == b"\x0c\x00" else 512
    first = int.from_bytes(head[48:52], "little")
    file.seek((first + 1) * sector_size)
    return file.read(8 * sector_size)
