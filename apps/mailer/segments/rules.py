"""A segment's rules as dataclasses: read from JSON, checked against a workspace, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.mailer.segments import contacts  # noqa: F401 (registers the contact's own subjects)
from apps.mailer.segments.subjects import IN_SAMPLE, Builder, Operator, Scope
from core.errors import InvalidInput

DEEPEST, MOST_RULES = 5, 60
MATCHES = {
    "all": gettext_lazy("all of these"),
    "any": gettext_lazy("any of these"),
    "none": gettext_lazy("none of these"),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """`what` names a subject, `operator` one of its comparisons, `values` its arguments."""

    what: str
    operator: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    match: str
    rules: tuple[Rule, ...]


Rule = Condition | Group


class Query(NamedTuple):
    """`SELECT … FROM mailer_contact AS contact {joins} WHERE {where}`, with its parameters."""

    joins: str
    where: str
    params: dict[str, Any]
    beginning: str = ""

    @property
    def ids(self) -> str:
        """The whole query, for the ids of the contacts."""
        return self.select("contact.id")

    def select(self, columns: str) -> str:
        source = f"mailer_contact AS contact {self.joins}"
        return f"{self.beginning}SELECT {columns} FROM {source} WHERE {self.where}"


def parse(data: object, scope: Scope) -> Group:
    """The rules that JSON stands for. Raises InvalidInput that names the condition at fault."""
    rule = _parse(data, scope, count(1), 1)
    if not isinstance(rule, Group):
        raise InvalidInput(_("These rules cannot be read."))
    return rule


def _parse(data: object, scope: Scope, numbers: Iterator[int], depth: int) -> Rule:
    if not isinstance(data, dict):
        raise InvalidInput(_("These rules cannot be read."))
    if "match" not in data:
        return _condition(data, scope, numbers)
    rules = data.get("rules")
    match = data["match"]
    if not (isinstance(match, str) and match in MATCHES and isinstance(rules, list)):
        raise InvalidInput(_("These rules cannot be read."))
    if depth > DEEPEST:
        raise InvalidInput(_("Groups can stand in each other %(most)d deep.") % {"most": DEEPEST})
    if not rules:
        raise InvalidInput(_("A group is empty: add a condition to it, or remove it."))
    return Group(match, tuple(_parse(rule, scope, numbers, depth + 1) for rule in rules))


def _condition(data: dict[str, Any], scope: Scope, numbers: Iterator[int]) -> Condition:
    number = next(numbers)
    if number > MOST_RULES:
        raise InvalidInput(
            _("A segment can have at most %(most)d conditions.") % {"most": MOST_RULES}
        )
    what, operator = str(data.get("what", "")), str(data.get("operator", ""))
    subject = scope.subjects.get(what)
    if subject is None:
        raise _named(number, what, _("what it is about does not exist any more."))
    chosen = subject.operators.get(operator)
    if chosen is None:
        raise _named(number, str(subject.label), _("choose how to compare."))
    values = data.get("values")
    try:
        return Condition(
            what, operator, _values(chosen, values if isinstance(values, dict) else {})
        )
    except InvalidInput as error:
        raise _named(number, str(subject.label), error.message) from error


def _values(operator: Operator, raw: dict[str, Any]) -> dict[str, Any]:
    return {one.name: one.clean(raw.get(one.name)) for one in operator.arguments}


def _named(number: int, name: str, fault: str) -> InvalidInput:
    return InvalidInput(
        _("Condition %(number)d (%(name)s): %(fault)s")
        % {"number": number, "name": name[:100], "fault": fault}
    )


def to_json(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, Group):
        return {"match": rule.match, "rules": [to_json(one) for one in rule.rules]}
    return {"what": rule.what, "operator": rule.operator, "values": rule.values}


def compiled(rules: Group, scope: Scope, prefix: str = "") -> Query:
    """One query. `prefix` keeps the names of several apart where they become one statement."""
    return _query(rules, Builder(scope, prefix))


def sampled(rules: Group, scope: Scope, one_in: int) -> Query:
    """The query for one contact in so many, the same ones each time, found by their keys."""
    query = _query(rules, Builder(scope, sampled=True))
    sample = (
        "WITH sample AS MATERIALIZED (SELECT id FROM mailer_contact "
        f"TABLESAMPLE SYSTEM ({100 / one_in}) REPEATABLE (1)) "
    )
    where = f"{IN_SAMPLE.format(id='contact.id')} AND {query.where}"
    return query._replace(beginning=sample, where=where)


def _query(rules: Group, builder: Builder) -> Query:
    where = _sql(rules, builder)
    own = f"contact.workspace_id = {builder.value(builder.scope.workspace.pk)}"
    return Query(" ".join(builder.joins), f"{own} AND {where}", builder.params)


def _sql(rule: Rule, builder: Builder) -> str:
    if isinstance(rule, Condition):
        operator = builder.scope.subjects[rule.what].operators[rule.operator]
        return operator.sql(builder, rule.values)
    joiner = " AND " if rule.match == "all" else " OR "
    joined = joiner.join(f"({_sql(one, builder)})" for one in rule.rules)
    return f"NOT ({joined})" if rule.match == "none" else f"({joined})"
