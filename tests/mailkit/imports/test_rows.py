"""From rows to contacts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.imports.rows import (
    ContactRow,
    Rejected,
    clean_value,
    field_key,
    map_row,
)
from mailkit.imports.table import Row


def test_a_long_key_is_cut() -> None:
    assert field_key("Щ" * 30) == "shch" * 10


MAPPING = {0: "email", 1: "first_name", 2: "last_name", 3: "gorod"}


def test_row_becomes_contact() -> None:
    row = Row(7, 9, (" Anna@X.TEST ", "Анна\r\nBcc: b@x.test", "\tПетрова ", " "))
    assert map_row(row, MAPPING) == ContactRow(
        number=7,
        line=9,
        email="anna@x.test",
        first_name="Анна Bcc: b@x.test",
        last_name="Петрова",
        fields={},
    )
    row = Row(1, 2, ("a@x.test", "", "", "Нижний  Новгород"))
    assert map_row(row, {0: "email", 3: "gorod"}) == ContactRow(
        1, 2, "a@x.test", "", "", {"gorod": "Нижний Новгород"}
    )


@pytest.mark.parametrize(
    ("row", "reason", "shown"),
    [
        (Row(1, 2, ("", "x")), "no_email", ""),
        (Row(1, 2, (" \u00a0\t", "x")), "no_email", ""),
        (Row(1, 2, ()), "no_email", ""),
        (Row(1, 2, ("anna", "x")), "bad_address:no_at", "anna"),
        (Row(1, 2, ("a@x.test\nb@x.test",)), "bad_address:control_character", "a@x.test b@x.test"),
        (Row(1, 2, ("a@x.test",), "wrong_cell_count"), "wrong_cell_count", "a@x.test"),
        (Row(1, 2, ("\0a\ufffd@x.test",), "bad_encoding"), "bad_encoding", "a\ufffd@x.test"),
        (Row(1, 2, ("x" * 900,)), "bad_address:no_at", "x" * 500),
    ],
)
def test_row_is_rejected(row: Row, reason: str, shown: str) -> None:
    assert map_row(row, MAPPING) == Rejected(1, 2, reason, shown)


def test_mapping_needs_an_email_column() -> None:
    with pytest.raises(ValueError, match="email"):
        map_row(Row(1, 2, ("a@x.test",)), {0: "first_name"})


@given(st.text(st.characters(exclude_categories=()), max_size=700))
def test_values_are_one_clean_line(cell: str) -> None:
    value = clean_value(cell)
    value.encode()
    assert len(value) <= 500
    assert value == value.strip()
    assert "  " not in value
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", value)
    assert clean_value(value) == value
