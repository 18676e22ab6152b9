"""Kinds of columns, and values in the form in which they are kept."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.imports.kinds import (
    FieldKind,
    canonical,
    is_month_first,
    suggest_kind,
)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1 234,5", "7"], "number"),
        (["1,234.50", "-3", ""], "number"),
        (["007", "008"], "text"),
        (["+79161234567", "79161234567"], "text"),
        (["79161234567"], "text"),
        (["31.12.2026", "2026-01-31"], "date"),
        (["12/31/2026"], "date"),
        (["31.02.2026"], "text"),
        (["да", "Нет", ""], "yes_no"),
        (["1", "0", "1"], "yes_no"),
        (["1", "1"], "number"),
        (["true", "False"], "yes_no"),
        (["Москва", "Омск"] * 5, "choice"),
        (["Москва", "Омск"], "text"),
        ([f"City {n}" for n in range(20)], "text"),
        (["", " "], "text"),
        ([], "text"),
    ],
)
def test_columns_have_kinds(values: list[str], kind: str) -> None:
    assert suggest_kind(values) == kind


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        ("1 234,5", "number", "1234.5"),
        ("1\u00a0234,50", "number", "1234.5"),
        ("1,234.50", "number", "1234.5"),
        ("1.234,50", "number", "1234.5"),
        ("1.234.567", "number", "1234567"),
        ("1,234", "number", "1234"),
        ("0,234", "number", "0.234"),
        ("1.234", "number", "1.234"),
        ("-0,0", "number", "0"),
        ("\u22125", "number", "-5"),
        ("1 500 ₽", "number", "1500"),
        ("$1,500", "number", "1500"),
        ("12 руб.", "number", "12"),
        ("1,2,3", "number", None),
        ("1e5", "number", None),
        ("nan", "number", None),
        ("٣", "number", None),
        ("9" * 50, "number", None),
        ("", "number", None),
        ("31.12.2026", "date", "2026-12-31"),
        ("12/31/2026", "date", "2026-12-31"),
        ("01/02/2026", "date", "2026-02-01"),
        ("2026-1-5", "date", "2026-01-05"),
        ("2026-01-31T10:30:00", "date", "2026-01-31"),
        ("31.12.2026 г.", "date", "2026-12-31"),
        ("31.12.2026 10:30", "date", "2026-12-31"),
        ("31-12.2026", "date", None),
        ("29.02.2025", "date", None),
        ("0000-01-01", "date", None),
        ("Да", "yes_no", "yes"),
        ("НЕТ", "yes_no", "no"),
        ("TRUE", "yes_no", "yes"),
        ("0", "yes_no", "no"),
        ("maybe", "yes_no", None),
        (" Gold ", "choice", "Gold"),
        (" any ", "text", "any"),
    ],
)
def test_values_are_kept_in_one_form(value: str, kind: FieldKind, kept: str | None) -> None:
    assert canonical(value, kind) == kept


def test_the_column_tells_the_order_of_day_and_month() -> None:
    american = ["01/02/2026", "12/31/2026"]
    assert is_month_first(american)
    assert [canonical(one, "date", month_first=True) for one in american] == [
        "2026-01-02",
        "2026-12-31",
    ]
    mixed = [*american, "31/12/2026"]
    assert not is_month_first(mixed)
    assert [canonical(one, "date") for one in mixed] == ["2026-02-01", "2026-12-31", "2026-12-31"]
    assert not is_month_first(["01/02/2026"])


@given(st.decimals(places=2, min_value=-(10**9), max_value=10**9))
def test_written_numbers_come_back(number: Decimal) -> None:
    english = f"{number:,}"
    russian = english.replace(",", "\u00a0").replace(".", ",")
    for text in (english, russian, str(number)):
        kept = canonical(text, "number")
        assert kept is not None
        assert Decimal(kept) == number
        assert canonical(kept, "number") == kept


@given(st.dates())
def test_written_dates_come_back(day: date) -> None:
    assert canonical(day.isoformat(), "date") == day.isoformat()
    assert canonical(f"{day:%d.%m.}{day.year:04}", "date") == day.isoformat()
    american = f"{day:%m/%d/}{day.year:04}"
    assert canonical(american, "date", month_first=True) == day.isoformat()


@given(st.text(max_size=60), st.sampled_from(["number", "date", "yes_no"]))
def test_what_is_kept_is_kept_again(text: str, kind: FieldKind) -> None:
    kept = canonical(text, kind)
    if kept is not None:
        assert canonical(kept, kind) == kept
