"""From a row's cells to a contact: what each value becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mailkit.addresses import Fault, parse_address, plain_emails

from .table import Row

MAX_VALUE = 500
_LONGEST_CELL = 32_767  # in Excel
MAX_KEY = 40
TARGETS = ("email", "first_name", "last_name")

_LATIN = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch y e yu ya i yi ye g u"
_TRANSLITERATION = str.maketrans(
    dict(zip("абвгдеёжзийклмнопрстуфхцчшщыэюяіїєґў", _LATIN.split(), strict=True))
    | dict.fromkeys("ъь'\u2019", "")
)
# What is guarded already gets one apostrophe more, so that reading it again takes off just that.
_FORMULA = re.compile("'*[=+\\-@\t\r]")
# Controls (Cc), bidirectional overrides, and halves of a character. White space is gone by then.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


class ContactRow(NamedTuple):
    """A row that makes a contact. `fields` holds custom keys with a value; blanks are left out."""

    number: int
    line: int
    email: str
    first_name: str
    last_name: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that makes none.

    `reason` is a `Row.fault`, `no_email`, or `bad_address:` and a `mailkit.addresses` fault code.
    `raw_email` is what stands in the e-mail column, made fit for a screen and a database.
    """

    number: int
    line: int
    reason: str
    raw_email: str


def field_key(header: str) -> str:
    """A custom field's key for a header: `Город` gives `gorod`; empty if no letter is known."""
    latin = header.lower().translate(_TRANSLITERATION)
    key = re.sub("[^a-z0-9]+", "_", latin).strip("_")
    if key and not key[0].isalpha():
        key = f"field_{key}"
    return key[:MAX_KEY].rstrip("_")


def map_row(row: Row, mapping: Mapping[int, str]) -> ContactRow | Rejected:
    """Make a contact of a row; columns that `mapping` leaves out are dropped.

    White space of any kind, control characters and line breaks become single spaces; values end
    after 500 characters. Raises ValueError if no column is mapped to `email`.
    """
    values: dict[str, str] = {}
    for index, target in mapping.items():
        cell = row.cells[index] if index < len(row.cells) else ""
        values[target] = unguarded(cell) if target == "email" else clean_value(cell)
    if "email" not in values:
        raise ValueError("no column is mapped to email")
    raw = values.pop("email")
    shown = clean_value(raw)
    if row.fault is not None:
        return Rejected(row.number, row.line, row.fault, shown)
    if not shown:
        return Rejected(row.number, row.line, "no_email", shown)
    address = parse_address(raw)
    if isinstance(address, Fault):
        return Rejected(row.number, row.line, f"bad_address:{address.code}", shown)
    return ContactRow(
        number=row.number,
        line=row.line,
        email=address.email,
        first_name=values.pop("first_name", ""),
        last_name=values.pop("last_name", ""),
        fields={key: value for key, value in values.items() if value},
    )


def map_rows(rows: Sequence[Row], mapping: Mapping[int, str]) -> list[ContactRow | Rejected]:
    """What `map_row` makes of each row, several times as fast. Raises ValueError as it does."""
    by_target = {target: index for index, target in mapping.items()}
    if "email" not in by_target:
        raise ValueError("no column is mapped to email")
    email_index = by_target.pop("email")
    width = 1 + max(mapping)
    sound = [row for row in rows if row.fault is None and len(row.cells) >= width]
    emails = plain_emails([row.cells[email_index] for row in sound])
    plain = [
        (row, email) for row, email in zip(sound, emails, strict=True) if email and email[0] != "'"
    ]
    contacts = _contacts(plain, by_target)
    if len(contacts) == len(rows):
        return [*contacts]
    by_number = {contact.number: contact for contact in contacts}
    return [by_number.get(row.number) or map_row(row, mapping) for row in rows]


def _contacts(plain: Sequence[tuple[Row, str]], by_target: Mapping[str, int]) -> list[ContactRow]:
    """The contacts of rows whose addresses are read already."""
    columns = {
        target: _clean_column([row.cells[index] for row, _email in plain])
        for target, index in by_target.items()
    }
    blank = [""] * len(plain)
    first_names, last_names = columns.pop("first_name", blank), columns.pop("last_name", blank)
    keys = tuple(columns)
    fields: list[dict[str, str]]
    if any("" in column for column in columns.values()):
        fields = [
            {key: value for key, value in zip(keys, values, strict=True) if value}
            for values in zip(*columns.values(), strict=True)
        ]
    elif columns:
        fields = [
            dict(zip(keys, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
    else:
        fields = [{} for _ in plain]
    return [
        ContactRow(row.number, row.line, email, first_name, last_name, custom)
        for (row, email), first_name, last_name, custom in zip(
            plain, first_names, last_names, fields, strict=True
        )
    ]


def _clean_column(cells: list[str]) -> list[str]:
    """`clean_value` of every cell; where they are clean as they stand, that is seen at once."""
    if not cells:
        return cells
    text = "\n".join(cells)
    # Of all white space only the space is printable.
    if (
        text.replace("\n", "").isprintable()
        and text.count("\n") == len(cells) - 1
        and not text.startswith(" ")
        and not text.endswith(" ")
        and not text.startswith("'")
        and not any(odd in text for odd in ("  ", " \n", "\n ", "\n'"))
        and max(map(len, cells)) <= MAX_VALUE
    ):
        return cells
    return list(map(clean_value, cells))


def guarded(value: str) -> str:
    """A cell that a spreadsheet takes for text: one that could be a formula gets an apostrophe."""
    return f"'{value}" if _FORMULA.match(value) else value


def unguarded(cell: str) -> str:
    """The value that `guarded` made this cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def clean_value(cell: str) -> str:
    """One line of at most 500 characters, without control characters, trimmed."""
    # Cut twice: a cell may be a megabyte.
    value = " ".join(unguarded(cell[:_LONGEST_CELL]).split())
    if not value.isprintable():
        value = " ".join(_UNWANTED.sub(" ", value).split())
    return value[:MAX_VALUE].rstrip()
