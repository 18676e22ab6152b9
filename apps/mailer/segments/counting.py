"""Counts and first contacts of a segment, within limits of time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import QueryCanceled

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, Segment
from apps.mailer.segments.rules import Group, Query, compiled, parse, sampled
from apps.mailer.segments.subjects import Scope

COUNT_SECONDS, ESTIMATE_SECONDS, FIRST_SECONDS = 3.0, 2.0, 1.5
# An estimate looks at one contact in so many.
SAMPLED = 100
SHOWN = 20
# Enough to hash a million contacts' keys; a larger set goes to disk.
MEMORY = "64MB"


@dataclass(frozen=True, slots=True)
class Count:
    """`number` of contacts; not `exact`: counting took too long, and it is an estimate.

    None where even the estimate took too long.
    """

    number: int | None
    exact: bool = True


@contextmanager
def limited(seconds: float | None = None, *, hashed: bool = True) -> Iterator[CursorWrapper]:
    """A cursor for a segment's query, in a transaction. QueryTooSlow where the time runs out.

    The ledger has no statistics of its keys: the planner takes the sets made of it for small and
    would look up each of their contacts by its key. Without nested loops it hashes them. Not
    `hashed`: a query in which no segment is.
    """
    wanted = {"work_mem": MEMORY}
    if hashed:
        wanted |= {"enable_nestloop": "off", "enable_mergejoin": "off"}
    if seconds is not None:
        wanted["statement_timeout"] = str(round(seconds * 1000))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            before = {name: _set(cursor, name, value) for name, value in wanted.items()}
            yield cursor
            for name, value in before.items():
                _set(cursor, name, value)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise QueryTooSlow from error
        raise


class QueryTooSlow(Exception):
    """A segment's query took longer than it may."""


def _set(cursor: CursorWrapper, name: str, value: str) -> str:
    """Set for this transaction; what it was before."""
    cursor.execute("SELECT current_setting(%s), set_config(%s, %s, true)", [name, name, value])
    return str(cursor.fetchone()[0])


def count(rules: Group, scope: Scope, seconds: float = COUNT_SECONDS) -> Count:
    """How many contacts there are; after so many seconds, about how many."""
    try:
        return Count(_number(compiled(rules, scope), seconds))
    except QueryTooSlow:
        return _estimated(rules, scope)


def _estimated(rules: Group, scope: Scope) -> Count:
    try:
        number = estimate(rules, scope)
    except QueryTooSlow:
        return Count(None, exact=False)
    # Two digits of it: more would promise too much.
    return Count(round(number, 2 - len(str(number))), exact=False)


def estimate(rules: Group, scope: Scope, one_in: int = SAMPLED) -> int:
    """Raises QueryTooSlow."""
    return one_in * _number(sampled(rules, scope, one_in), ESTIMATE_SECONDS)


def _number(query: Query, seconds: float) -> int:
    with limited(seconds) as cursor:
        cursor.execute(query.select("count(*)"), query.params)
        return int(cursor.fetchone()[0])


def first(rules: Group, scope: Scope, seconds: float = FIRST_SECONDS) -> list[Contact] | None:
    """The newest contacts of a segment; None where finding them takes too long."""
    query = compiled(rules, scope)
    try:
        with limited(seconds) as cursor:
            cursor.execute(query.ids + f" ORDER BY contact.id DESC LIMIT {SHOWN}", query.params)
            ids = [pk for (pk,) in cursor.fetchall()]
    except QueryTooSlow:
        return None
    return list(Contact.objects.filter(workspace=scope.workspace, pk__in=ids).order_by("-id"))


def rules_of(segment: Segment, scope: Scope | None = None) -> Group:
    """Raises InvalidInput where a segment is about something that does not exist any more."""
    return parse(segment.rules, scope or Scope(segment.workspace))


def segments(workspace: Workspace, search: str = "") -> list[Segment]:
    found = Segment.objects.filter(workspace=workspace)
    if search:
        found = found.filter(name__icontains=search)
    return list(found.order_by("name"))
