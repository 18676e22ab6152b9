"""Array literals are read by PostgreSQL as what they were made of."""

from __future__ import annotations

import pytest
from django.db import connection

from apps.mailer.services import arrays

pytestmark = pytest.mark.django_db


def read(literal: str, kind: str) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [literal])
        found: list[object] = cursor.fetchone()[0]
        return found


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["shop.example", "NULL", "null"],
        ['"', "\\", '\\"', "a\\b", "{a,b}", "a,b", " a ", "'", "%s", "почта.рф", "😀"],
    ],
    ids=str,
)
def test_texts(texts: list[str]) -> None:
    assert read(arrays.of_texts(texts), "text") == texts


@pytest.mark.parametrize("numbers", [[], [1], [3, -2, 2**62]], ids=str)
def test_numbers(numbers: list[int]) -> None:
    assert read(arrays.of_numbers(numbers), "bigint") == numbers
