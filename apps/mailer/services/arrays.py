"""PostgreSQL array literals of many values, for `%s::text[]` and `%s::bigint[]`.

Given a list, psycopg writes each element by itself in Python; thousands of them cost more than
the statement. As a constant the planner still knows how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable


def of_numbers(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def of_texts(values: Iterable[str]) -> str:
    """Of texts without control characters, which JSON would escape in its own way."""
    # Quotes and backslashes are escaped alike.
    return "{" + json.dumps(list(values), ensure_ascii=False)[1:-1] + "}"
