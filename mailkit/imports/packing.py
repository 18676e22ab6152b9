"""What a gzip or ZIP file holds, unpacked as a stream and within limits."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from .table import FileFault, Packing
from .xlsx_child import MAX_RATIO, RATIO_MATTERS_FROM, Refused, check_directory_size

MAX_UNPACKED = 4 << 30
MAX_WORKBOOK = 512 << 20


class TooLarge(Exception):
    """The contents go beyond a limit: a bomb, most likely."""


# What reading packed contents raises, beside the OSError of a disk that fails.
UNREADABLE = (
    TooLarge,
    Refused,
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    NotImplementedError,  # a method of compression that zipfile does not know
    RuntimeError,  # a member with a password
)


def packing_fault(error: Exception) -> FileFault:
    """One of `UNREADABLE` in our words."""
    if isinstance(error, TooLarge):
        return FileFault("too_large_archive", None, str(error))
    if isinstance(error, Refused):
        code = "too_large_archive" if error.code == "too_large_xlsx" else "damaged_archive"
        return FileFault(code, None, error.detail)
    if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):
        if "password" not in str(error) and "encrypted" not in str(error):
            raise error
        return FileFault("encrypted_archive")
    return FileFault("damaged_archive", None, type(error).__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """A file, or what is packed in it."""

    path: Path
    packing: Packing = ""
    member: str = ""

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The contents as a stream. Reading raises one of `UNREADABLE`, or OSError."""
        with self.path.open("rb") as file:
            size = self.path.stat().st_size
            if self.packing == "gzip":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield _bounded(unpacked, size)
            elif self.packing == "zip":
                check_directory_size(str(self.path))
                with zipfile.ZipFile(file) as archive, self._member(archive) as unpacked:
                    yield _bounded(unpacked, size)
            else:
                yield file

    def _member(self, archive: zipfile.ZipFile) -> IO[bytes]:
        try:
            return archive.open(self.member)
        except KeyError:
            raise zipfile.BadZipFile("no such member") from None

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A file with the contents; what had to be unpacked is deleted at the end."""
        if not self.packing:
            yield self.path
            return
        with tempfile.NamedTemporaryFile(prefix="import-") as file:
            with self.opened() as unpacked:
                while block := unpacked.read(1 << 20):
                    file.write(block)
                    if file.tell() > MAX_WORKBOOK:
                        raise TooLarge("workbook")
            file.flush()
            yield Path(file.name)


def zip_members(path: Path) -> list[str]:
    """Names of the files that people have put into a ZIP. Raises one of `UNREADABLE`."""
    check_directory_size(str(path))
    with zipfile.ZipFile(path) as archive:
        return [
            member.filename
            for member in archive.infolist()
            if not member.is_dir()
            and not any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/"))
        ]


class _Bounded(io.RawIOBase):
    """Passes bytes on until they are too many for what they were packed in."""

    def __init__(self, stream: IO[bytes], packed: int) -> None:
        super().__init__()
        self._stream = stream
        self._packed = packed
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._unpacked += len(data)
        if self._unpacked > MAX_UNPACKED:
            raise TooLarge("unpacked")
        if self._unpacked > max(RATIO_MATTERS_FROM, self._packed * MAX_RATIO):
            raise TooLarge("ratio")
        return len(data)


def _bounded(stream: IO[bytes], packed: int) -> BinaryIO:
    return io.BufferedReader(_Bounded(stream, packed), 1 << 18)
