"""Mapping columns to fields, and rows to contacts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.imports.rows import (
    TARGETS,
    ContactRow,
    Rejected,
    clean_value,
    field_key,
    map_row,
    suggest_mapping,
)
from mailkit.imports.table import Row


@pytest.mark.parametrize(
    ("headers", "targets"),
    [
        (["Email", "Имя", "Фамилия", "Город"], ["email", "first_name", "last_name", "gorod"]),
        (["E-mail", "First Name", "Last name"], ["email", "first_name", "last_name"]),
        (["Эл. почта", "ИМЯ", "Фамилия:"], ["email", "first_name", "last_name"]),
        (["Адрес электронной почты", "Surname"], ["email", "last_name"]),
        (["E-mail адрес", "ФИО"], ["email", "fio"]),
        (["Name", "First name", "email"], ["name", "first_name", "email"]),
        (["Email", "email", "EMAIL"], ["email", "email_2", "email_3"]),
        (["", "Email", " "], ["column_1", "email", "column_3"]),
        (["Дата рождения", "2024 год", "Щёлково-Южное"], [
            "data_rozhdeniya", "field_2024_god", "shchelkovo_yuzhnoe",
        ]),
        (["日本", "Email"], ["column_1", "email"]),
        (["Телефон", "телефон!"], ["telefon", "telefon_2"]),
    ],
)  # fmt: skip
def test_headers_suggest_targets(headers: list[str], targets: list[str]) -> None:
    assert suggest_mapping(headers, []) == dict(enumerate(targets))


def test_values_tell_the_email_column() -> None:
    sample = [("yes", "a@x.test", "An"), ("no", "b@x.test", "Bo"), ("no", "", "Cy")]
    assert suggest_mapping(["Email", "Contact", "Имя"], sample)[1] == "email"
    assert suggest_mapping(["a", "b", "c"], sample) == {0: "a", 1: "email", 2: "c"}
    both = [("a@x.test", "b@x.test")]
    assert suggest_mapping(["Referrer", "E-mail"], both) == {0: "referrer", 1: "email"}
    assert suggest_mapping(["a", "b"], both) == {0: "email", 1: "b"}


@given(st.lists(st.text(max_size=60), max_size=30))
def test_every_column_gets_a_key_of_its_own(headers: list[str]) -> None:
    mapping = suggest_mapping(headers, [["a@x.test"] * len(headers)])
    assert list(mapping) == list(range(len(headers)))
    assert len(set(mapping.values())) == len(headers)
    for target in mapping.values():
        assert target in TARGETS or re.fullmatch("[a-z][a-z0-9_]{0,39}", target)


def test_keys_that_agree_in_40_characters_differ() -> None:
    headers = ["x" * 50 + str(n) for n in range(12)]
    targets = suggest_mapping(headers, []).values()
    assert len(set(targets)) == 12
    assert max(map(len, targets)) == 40
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
