"""What kind of values a column holds, and the one form in which each is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Literal

FieldKind = Literal["text", "number", "date", "yes_no", "choice"]

MOST_CHOICES = 12
_LONGEST_CHOICE = 40
_FEWEST_FOR_CHOICE = 8
_LONGEST_NUMBER = 40

_YES = ("yes", "y", "true", "1", "on", "+", "да", "д", "истина", "есть")
_NO = ("no", "n", "false", "0", "off", "-", "нет", "н", "ложь")
_WORDS = dict.fromkeys(_YES, "yes") | dict.fromkeys(_NO, "no")
_SPACES = re.compile(r"[\s']+")
_CURRENCY = re.compile(r"[$€£₽₸₴]|руб\.?|р\.|rub|usd|eur", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_POINTED_THOUSANDS = re.compile(
    r"[+-]?[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]+|(?:\.[0-9]{3}){2,})"
)
_TIME = r"(?:[T ]+[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
_YEAR_FIRST = re.compile(r"([0-9]{4})([-./])([0-9]{1,2})\2([0-9]{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-./])([0-9]{1,2})\2([0-9]{4})(?: ?г\.?)?" + _TIME)


def suggest_kind(values: Iterable[str]) -> FieldKind:
    """The kind that all the values fit, blanks left out; what has no other kind is text.

    Numbers with leading zeros or of ten digits and more are codes and telephones: text. A choice
    is a column of at least eight values that repeat a few.
    """
    filled = [value.strip() for value in values if value.strip()]
    if not filled:
        return "text"
    kinds: tuple[FieldKind, ...] = ("yes_no", "date", "number")
    for kind in kinds:
        if all(canonical(value, kind) is not None for value in filled):
            if kind == "yes_no" and set(filled) in ({"1"}, {"0"}):
                continue
            if kind == "number" and any(map(_is_code, filled)):
                return "text"
            return kind
    distinct = set(filled)
    if (
        len(filled) >= _FEWEST_FOR_CHOICE
        and len(distinct) <= min(MOST_CHOICES, len(filled) // 2)
        and max(map(len, distinct)) <= _LONGEST_CHOICE
    ):
        return "choice"
    return "text"


def is_month_first(values: Iterable[str]) -> bool:
    """Whether a column's dates are written as 12/31/2026: some can only be so, and none not."""
    month_first = False
    for value in values:
        if found := _YEAR_LAST.fullmatch(value.strip()):
            first, second = int(found[1]), int(found[3])
            if first > 12:
                return False
            month_first = month_first or second > 12
    return month_first


def canonical(value: str, kind: FieldKind, *, month_first: bool = False) -> str | None:
    """The value as it is kept, or None where it does not fit the kind.

    A number with a point and without separators of thousands, a date as 2026-01-31, `yes` or
    `no`; a text and a choice as they stand. `month_first` says how the column writes dates (see
    `is_month_first`); a date that is impossible that way is read the other way. `1,234` is taken
    for thousands and `1.234` for a fraction.
    """
    text = value.strip()
    match kind:
        case "number":
            return _number(text)
        case "date":
            return _date(text, month_first=month_first)
        case "yes_no":
            return _WORDS.get(text.lower())
        case _:
            return text


def _number(text: str) -> str | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    text = _SPACES.sub("", _CURRENCY.sub("", text)).replace("\u2212", "-")
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _POINTED_THOUSANDS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    else:
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    sign = "-" if text.startswith("-") else ""
    whole, _point, fraction = text.lstrip("+-").partition(".")
    fraction = fraction.rstrip("0")
    whole = whole.lstrip("0") or "0"
    if whole == "0" and not fraction:
        sign = ""
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def _date(text: str, *, month_first: bool) -> str | None:
    if found := _YEAR_FIRST.fullmatch(text):
        return _iso(int(found[1]), int(found[3]), int(found[4]))
    if found := _YEAR_LAST.fullmatch(text):
        first, second, year = int(found[1]), int(found[3]), int(found[4])
        orders = [(second, first), (first, second)]
        if month_first:
            orders.reverse()
        return _iso(year, *orders[0]) or _iso(year, *orders[1])
    return None


def _iso(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _is_code(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    leading_zero = len(text) > 1 and text[0] == "0" and text[1].isdigit()
    return leading_zero or text.startswith("+") or (text.isdigit() and len(digits) >= 10)
