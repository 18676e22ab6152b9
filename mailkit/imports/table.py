"""What sniffing and reading a contact file give: a source, its rows, or a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

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
    - `no_header`: the first line with text holds an address and is no row of a table without
      headers, or its quote never closes.
    - `unreadable_encoding`: none of `encoding.ENCODINGS`, as far as one can tell.
    - `not_a_table`: content of another kind (`pdf`, `png`, `html`, `docx`, `binary`, …).
    - `nul_bytes`: text with NUL characters.
    - `too_many_columns`: more than 1,000.
    - `line_too_long`: the header's line or record is over 1 MiB.
    - `legacy_xls`: Excel 4 and before.
    - `encrypted_xlsx`: a workbook with a password.
    - `damaged_xlsx`: truncated, not well-formed, without a sheet, or its parser died.
    - `too_large_xlsx`: unpacks to too much, spans too many cells or takes too long to parse.
    - `damaged_json`: not well-formed, too deep, or a value of over 1 MiB.
    - `damaged_archive`, `encrypted_archive`: a gzip or ZIP file that does not unpack.
    - `too_large_archive`: unpacks to over 4 GiB (workbooks: 512 MiB), or is a bomb.
    - `nested_archive`: an archive within an archive.
    - `no_table_in_archive`: a ZIP without a file, or without the one that was asked for.
    """

    code: str
    line: int | None = None
    detail: str = ""


Kind = Literal["csv", "txt", "json", "jsonl", "vcf", "xlsx", "xls", "ods"]
Packing = Literal["", "gzip", "zip"]
WORKBOOKS: frozenset[Kind] = frozenset({"xlsx", "xls", "ods"})


@dataclass(frozen=True, slots=True)
class Source:
    """How to read one file: what `sniff` found and `read_rows` needs.

    `encoding` is a Python codec; `delimiter` and `quotechar` are empty unless `kind` is `csv`.
    `header_line` is 0 where no line names the columns; a CSV file's are then called `Column 1`, …
    `sample` holds those of the first 20 data rows that have no fault. `size` is in bytes, packed.
    `member` is the file that is read of a ZIP, and `more_members` counts the other files in it
    that look like tables by their names.
    """

    kind: Kind
    encoding: str
    delimiter: str
    quotechar: str
    headers: tuple[str, ...]
    sample: tuple[tuple[str, ...], ...]
    header_line: int
    size: int
    packing: Packing = ""
    member: str = ""
    more_members: int = 0


class Row(NamedTuple):
    """One data row.

    `number` counts data rows from 1 (blank lines are not counted); `line` is the 1-based physical
    line, or sheet row, where it begins. Without a fault there are as many cells as headers.
    Faults: `wrong_cell_count`, `broken_quote`, `bad_encoding`, `nul_bytes`, `line_too_long`,
    `bad_json`.
    """

    number: int
    line: int
    cells: tuple[str, ...]
    fault: str | None = None
