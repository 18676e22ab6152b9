"""What a condition can be about, how it can compare, and the SQL of each comparison.

An app adds subjects of its own with `register`: a function from a scope to its subjects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Workspace
from apps.mailer.models import ContactField, ContactList
from apps.senders.models import SendingPolicy
from core.errors import InvalidInput

# Every table of contact_ids has an index that finds one by its key.
IN_SAMPLE = "{id} = ANY(ARRAY(SELECT id FROM sample))"
LONGEST_TEXT = 200
MOST_DAYS, MOST_CHOICES = 3650, 100
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")

Text = str | Promise
Kind = Literal["text", "tags", "number", "days", "times", "date", "choice", "choices"]
Values = Mapping[str, Any]
Options = Iterable[tuple[str, Text]]


@dataclass(frozen=True, slots=True)
class Argument:
    """One input of a condition. An optional one may be left empty; `default` is its first value.

    Values are text, a date as 2026-01-31, a number with a point, a whole number for `days` and
    `times`, and a list of texts for `tags` and `choices`.
    """

    name: str
    kind: Kind
    label: Text = ""
    options: tuple[tuple[str, Text], ...] = ()
    optional: bool = False
    default: Any = ""
    most: int = 1000

    def clean(self, raw: object) -> Any:
        """The value as it is kept. Raises InvalidInput without naming the condition."""
        if self.kind in {"tags", "choices"}:
            return self._several(raw)
        text = "" if raw is None else str(raw).strip()
        if not text:
            if self.optional:
                return ""
            raise InvalidInput(_("say what to compare with."))
        return _CLEAN[self.kind](self, text)

    def _several(self, raw: object) -> list[str]:
        parts = raw.split(",") if isinstance(raw, str) else raw if isinstance(raw, list) else []
        texts = list(dict.fromkeys(str(part).strip() for part in parts))
        if self.kind == "tags":
            texts = [text for text in texts if text]
        if not texts or len(texts) > MOST_CHOICES:
            raise InvalidInput(_("choose from one to a hundred."))
        for text in texts:
            if self.kind == "choices":
                self._one_of(text)
            else:
                _text(self, text)
        return texts

    def _one_of(self, text: str) -> str:
        if text not in dict(self.options):
            raise InvalidInput(_("what was chosen does not exist any more."))
        return text


def _text(_argument: Argument, text: str) -> str:
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise InvalidInput(_("use at most 200 characters."))
    return text


def _number(_argument: Argument, text: str) -> str:
    text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(_("give a number, such as 12.5."))
    return text


def _whole(argument: Argument, text: str) -> int:
    most = argument.most
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
        raise InvalidInput(_("give a whole number from 1 to %(most)d.") % {"most": most})
    return int(text)


def _date(_argument: Argument, text: str) -> str:
    if len(text) != len("2026-01-31"):
        raise InvalidInput(_("give a date."))
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise InvalidInput(_("give a date.")) from error


_CLEAN: dict[str, Callable[[Argument, str], Any]] = {
    "text": _text,
    "number": _number,
    "days": _whole,
    "times": _whole,
    "date": _date,
    "choice": Argument._one_of,
}


@dataclass(frozen=True, slots=True)
class Operator:
    """`sql` gives a condition on `contact` that is true or false and never NULL."""

    label: Text
    sql: Callable[[Builder, Values], str]
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    label: Text
    group: Text
    operators: Mapping[str, Operator]


@dataclass
class Scope:
    """A workspace at one moment, with all that its conditions can be about."""

    workspace: Workspace
    now: datetime = field(default_factory=timezone.now)

    @cached_property
    def zone(self) -> ZoneInfo:
        policy = SendingPolicy.objects.filter(workspace=self.workspace).only("time_zone").first()
        return ZoneInfo(policy.time_zone if policy else "UTC")

    @cached_property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    def midnight(self, day: date) -> datetime:
        """When a day begins in the workspace's time zone."""
        return datetime.combine(day, time(), self.zone)

    @cached_property
    def lists(self) -> tuple[tuple[str, str], ...]:
        rows = ContactList.objects.filter(workspace=self.workspace).order_by("name")
        return tuple((str(pk), name) for pk, name in rows.values_list("pk", "name"))

    @cached_property
    def fields(self) -> list[ContactField]:
        return list(ContactField.objects.filter(workspace=self.workspace).order_by("label", "key"))

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        found: dict[str, Subject] = {}
        for source in _sources:
            found |= source(self)
        return found


@dataclass
class Builder:
    """Collects the parameters and joins of one query. What people wrote is always a parameter."""

    scope: Scope
    prefix: str = ""
    sampled: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    joins: list[str] = field(default_factory=list)

    def value(self, value: object) -> str:
        name = f"{self.prefix}p{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"

    def joined(self, table: str, condition: str) -> str:
        """Join at most one row for each contact; `condition` has {set} for the joined table."""
        name = f"{self.prefix}set{len(self.joins)}"
        self.joins.append(f"LEFT JOIN {table} AS {name} ON {condition.format(set=name)}")
        return name

    def among(self, rows: str, grouped: str = "") -> str:
        """Whether the contact is among the contact_id of `rows`, `FROM …` with a WHERE.

        `grouped`, GROUP BY with what follows it, makes it each contact_id once where the rows
        do not. A join and no IN: the set is made in one pass wherever the condition stands, and a
        hash of it that outgrows its memory goes to disk.
        """
        part = f" AND {IN_SAMPLE.format(id='contact_id')}" if self.sampled else ""
        members = f"SELECT contact_id FROM {rows}{part} {grouped}"
        name = self.joined(f"({members})", "{set}.contact_id = contact.id")
        return f"{name}.contact_id IS NOT NULL"


Source = Callable[[Scope], dict[str, Subject]]
_sources: list[Source] = []


def register(source: Source) -> Source:
    if source not in _sources:
        _sources.append(source)
    return source


def negated(
    sql: Callable[[Builder, Values], str],
) -> Callable[[Builder, Values], str]:
    return lambda builder, values: f"NOT ({sql(builder, values)})"


def days_ago(scope: Scope, days: int) -> datetime:
    return scope.now - timedelta(days=days)


DAYS = Argument("days", "days", gettext_lazy("days"), default=30, most=MOST_DAYS)
ANY_DAYS = Argument("days", "days", gettext_lazy("in the last"), optional=True, most=MOST_DAYS)
TIMES = Argument("times", "times", gettext_lazy("letters at least"), default=1)
