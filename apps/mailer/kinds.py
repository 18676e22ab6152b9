"""What a cell must be to fit a field of some kind, and how it is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation

from apps.mailer.models import ContactField

_YES = frozenset(["yes", "y", "true", "1", "+", "да", "д", "истина", "есть", "on", "x"])
_NO = frozenset(["no", "n", "false", "0", "-", "нет", "н", "ложь", "off"])
_SPACES = re.compile("[\\s\u00a0\u202f']")
_UNIT = re.compile(r"(?:[$€£₽₸₴]|руб\.?|р\.?|eur|usd|rub|%)", re.IGNORECASE)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)")
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?")
_DAY_FIRST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?:[T ].*)?")
MOST_CHOICES = 12

Reader = Callable[[str], str | None]


def reader_of(field: ContactField) -> Reader | None:
    """What turns a cell into the stored value, None where it does not fit; None for any text."""
    kind = field.kind
    if kind == ContactField.Kind.CHOICE:
        return _choice(field.choices)
    return _READERS.get(kind)


def canonical(value: str, kind: str) -> str | None:
    """The stored form of a number, a date, a yes or no; None for what is none."""
    reader = _READERS.get(kind)
    return reader(value) if reader else value


def suggest_kind(values: Iterable[str]) -> str:
    """The kind that every value fits: a number with leading zeros is a text."""
    filled = [value.strip() for value in values if value.strip()]
    if not filled:
        return ContactField.Kind.TEXT
    if all(_date(value) for value in filled):
        return ContactField.Kind.DATE
    if all(_yes_no(value) and not value.isdigit() for value in filled):
        return ContactField.Kind.YES_NO
    if all(_number(value) is not None and not _is_a_code(value) for value in filled):
        return ContactField.Kind.NUMBER
    return ContactField.Kind.TEXT


def _is_a_code(value: str) -> bool:
    """A telephone, a card, an index: digits that nobody adds up."""
    digits = re.sub(r"\D", "", value)
    return (value.startswith(("0", "+")) and len(digits) > 1 and value[1:2] not in ".,") or len(
        digits
    ) > 10


def _number(value: str) -> str | None:
    plain = _UNIT.sub("", _SPACES.sub("", value)).replace("\u2212", "-")
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        number = Decimal(plain.replace(",", "."))
    except InvalidOperation:
        return None
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _date(value: str) -> str | None:
    """2026-01-31 and 31.01.2026; with slashes the month comes first only where it must."""
    if found := _ISO.fullmatch(value):
        return _day(int(found[1]), int(found[2]), int(found[3]))
    if found := _DAY_FIRST.fullmatch(value):
        day, month, year = int(found[1]), int(found[3]), int(found[4])
        if month > 12 and found[2] == "/":
            day, month = month, day
        return _day(year, month, day)
    return None


def _day(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _yes_no(value: str) -> str | None:
    word = value.casefold()
    return "yes" if word in _YES else "no" if word in _NO else None


def _choice(choices: Sequence[str]) -> Reader:
    known = {choice.casefold(): choice for choice in choices}
    return lambda value: known.get(value.casefold())


_READERS: dict[str, Reader] = {
    ContactField.Kind.NUMBER: _number,
    ContactField.Kind.DATE: _date,
    ContactField.Kind.YES_NO: _yes_no,
}
