"""Dates and numbers in letters, in the language of the person who reads them.

Names and patterns are those of the Unicode CLDR, as Babel has them.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation

from babel import dates, numbers
from dateutil import parser

LANGUAGES = ("en", "ru")
# The names of CLDR's own patterns, beside those of strftime.
PATTERNS = ("short", "medium", "long", "full")
LONGEST_DATE, LONGEST_FORMAT, LONGEST_NUMBER = 100, 200, 40

_CODE = re.compile(r"%([-_0^#]?)([A-Za-z%])")
_DAY = re.compile(r"%[-_0^#]?[deDFxc]")
# What strftime of every platform gives in the same way, without the locale's words.
_PLAIN_CODES = frozenset("CdDeFGgHIjklMmRSTUuVWwYyzZ")
_PERIODS = {"en": ("AM", "PM"), "ru": ("AM", "PM")}


def language_of(value: object, otherwise: str) -> str:
    """The language that a field such as `ru-RU` or `RU` means, of those that are known here."""
    found = str(value or "").strip().lower()[:2]
    if found in LANGUAGES:
        return found
    return otherwise if otherwise in LANGUAGES else LANGUAGES[0]


def moment_of(value: object) -> datetime | None:
    """A date, a moment, seconds since 1970 (UTC), or text that names one; None for all else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time.min)
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or not text or len(text) > LONGEST_DATE:
        return None
    try:
        if text in ("now", "today"):
            return datetime.now(UTC)
        if re.fullmatch(r"-?\d{9,}", text) or (isinstance(value, int) and len(text) < 15):
            return datetime.fromtimestamp(int(text), UTC)
        found = parser.parse(text)
        return found if isinstance(found, datetime) else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def format_moment(moment: datetime, pattern: str, language: str) -> str:
    """By a pattern of strftime, or by one of PATTERNS: the date as the language writes it.

    Months have the form that stands with a day where the pattern has one: `%d %B` is
    `21 ноября`, `%B %Y` is `ноябрь 2026`.
    """
    if pattern in PATTERNS:
        # Many fonts lack the narrow no-break space.
        return dates.format_date(moment, pattern, locale=language).replace("\u202f", "\xa0")
    context = "format" if _DAY.search(pattern) else "stand-alone"

    def written(found: re.Match[str]) -> str:
        flag, code = found.groups()
        match code:
            case "B":
                text = _month(moment, "wide", context, language)
            case "b" | "h":
                text = _month(moment, "abbreviated", context, language)
            case "A":
                text = _day(moment, "wide", language)
            case "a":
                text = _day(moment, "abbreviated", language)
            case "p" | "P":
                text = _PERIODS[language][moment.hour >= 12]
                text = text.lower() if code == "P" else text
            case "x":
                text = str(dates.format_date(moment, "short", locale=language))
            case "X":
                text = str(dates.format_time(moment, "medium", locale=language))
            case "c":
                text = str(dates.format_datetime(moment, "medium", locale=language))
            case "s":
                aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                text = str(int(aware.timestamp()))
            case "%":
                text = "%"
            case "n" | "t":
                text = " "
            case _ if code in _PLAIN_CODES:
                text = moment.strftime(f"%{flag}{code}")
            case _:
                text = found[0]
        return text.upper() if flag == "^" else text

    return _CODE.sub(written, pattern[:LONGEST_FORMAT])


def format_number(value: object, places: int | None, language: str) -> str | None:
    """`1234.5` as `1,234.5` or `1 234,5`; `places`: so many behind the point. None for no number.

    The spaces in Russian numbers are no-break ones.
    """
    text = str(value).strip().replace(" ", "")
    if isinstance(value, bool) or len(text) > LONGEST_NUMBER:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        return None
    if places is None:
        pattern = "#,##0.##########"
    else:
        zeros = "0" * max(0, min(places, 10))
        pattern = f"#,##0.{zeros}" if zeros else "#,##0"
    return str(numbers.format_decimal(number, pattern, locale=language))


def _month(moment: datetime, width: str, context: str, language: str) -> str:
    names = dates.get_month_names(width, context, language)  # type: ignore[arg-type]
    return str(names[moment.month])


def _day(moment: datetime, width: str, language: str) -> str:
    names = dates.get_day_names(width, "format", language)  # type: ignore[arg-type]
    return str(names[moment.weekday()])
