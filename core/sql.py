"""Statements that the ORM has no words for, run on Django's connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

Parameters = Sequence[Any] | Mapping[str, Any]


def execute(statement: str, parameters: Parameters = ()) -> int:
    """Run a statement; the number of rows that it wrote."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def fetch(statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
    """Run a query, or a statement with RETURNING; its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
