"""What sniffing and reading a contact file give: a source, its rows, or a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_LINE = 1 << 20
"""Characters in one physical line, and in one record that spans lines."""
MAX_RECORD_LINES = 200
"""Lines that one quoted record may span; beyond that its quote counts as unterminated."""
MAX_COLUMNS = 1000
SAMPLE_ROWS = 20


@dataclass(frozen=True, slots=True)
class FileFault:
    """Why a file, or the rest of it, cannot be read.

    `line` is the 1-based physical line (sheet row) where that is known; `detail` is a word for
    logs and for a message's parameter, such as the format found. Codes:

    - `empty_file`: no bytes, or nothing but blank lines.
    - `no_header`: the first line with text holds an address, or its quote never closes.
    - `unreadable_encoding`: neither UTF-8 nor UTF-16 with a byte order mark nor Windows-1251.
    - `not_a_table`: content of another kind (`pdf`, `png`, `html`, `zip`, `binary`, …).
    - `nul_bytes`: text with NUL characters, as UTF-16 without a byte order mark has.
    - `too_many_columns`: more than 1,000.
    - `line_too_long`: the header's line or record is over 1 MiB.
    - `legacy_xls`: Excel 97 and before.
    - `encrypted_xlsx`: a workbook with a password.
    - `damaged_xlsx`: truncated, not well-formed, without a sheet, or its parser died.
    - `too_large_xlsx`: unpacks to too much, spans too many cells or takes too long to parse.
    """

    code: str
    line: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """How to read one file: what `sniff` found and `read_rows` needs.

    `encoding` is a Python codec; `delimiter` and `quotechar` are empty for a workbook.
    `sample` holds those of the first 20 data rows that have no fault. `size` is in bytes.
    """

    kind: Literal["csv", "xlsx"]
    encoding: str
    delimiter: str
    quotechar: str
    headers: tuple[str, ...]
    sample: tuple[tuple[str, ...], ...]
    header_line: int
    size: int


@dataclass(frozen=True, slots=True)
class Row:
    """One data row.

    `number` counts data rows from 1 (blank lines are not counted); `line` is the 1-based physical
    line, or sheet row, where it begins. Without a fault there are as many cells as headers.
    Faults: `wrong_cell_count`, `broken_quote`, `bad_encoding`, `nul_bytes`, `line_too_long`.
    """

    number: int
    line: int
    cells: tuple[str, ...]
    fault: str | None = None
