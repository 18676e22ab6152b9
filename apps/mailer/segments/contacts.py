"""Conditions on the contact itself: its names, fields, lists, tags, checks and dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _

from apps.mailer.messages import REASONS
from apps.mailer.models import Contact, ContactField, Verdict
from apps.mailer.segments.subjects import (
    DAYS,
    Argument,
    Builder,
    Operator,
    Scope,
    Subject,
    Values,
    days_ago,
    negated,
    register,
)
from mailkit.providers import OTHER, PROVIDERS

# Gives the SQL of the compared value; it may add parameters.
Column = Callable[[Builder], str]
Sql = Callable[[Builder, Values], str]

PERSON, AUDIENCE, CHECK = _("Contact"), _("Lists and tags"), _("Verification")
VALUE = Argument("value", "text")
NUMBER, DATE = Argument("value", "number"), Argument("value", "date")


@register
def of_contacts(scope: Scope) -> dict[str, Subject]:
    lists = Argument("value", "choices", options=scope.lists)
    providers = tuple((key, provider.label) for key, provider in PROVIDERS.items())
    return {
        "email": Subject(_("Address"), PERSON, texts(_column("email"))),
        "domain": Subject(_("Domain"), PERSON, texts(_column("domain"))),
        "first_name": Subject(_("First name"), PERSON, texts(_column("first_name"))),
        "last_name": Subject(_("Last name"), PERSON, texts(_column("last_name"))),
        "created": Subject(_("Added"), PERSON, moments("created_at")),
        "updated": Subject(_("Last changed"), PERSON, moments("updated_at")),
        "list": Subject(
            _("List"),
            AUDIENCE,
            {
                "in": Operator(_("is in any of"), _in_lists, (lists,)),
                "not_in": Operator(_("is in none of"), negated(_in_lists), (lists,)),
            },
        ),
        "tag": Subject(_("Tag"), AUDIENCE, _tags()),
        "status": Subject(
            _("Subscription"), AUDIENCE, choices(_column("status"), Contact.Status.choices)
        ),
        "verdict": Subject(
            _("Verdict"),
            CHECK,
            choices(_column("verdict"), [*Verdict.choices, ("", _("Not verified yet"))]),
        ),
        "reason": Subject(
            _("Reason of the verdict"), CHECK, choices(_column("reason"), list(REASONS.items()))
        ),
        "provider": Subject(
            _("Mailbox provider"), CHECK, _either(_of_providers, [*providers, (OTHER, _("Other"))])
        ),
    }


@register
def of_fields(scope: Scope) -> dict[str, Subject]:
    group = _("Custom fields")
    return {
        f"field:{field.key}": Subject(field.label, group, _of_kind(field)) for field in scope.fields
    }


def _of_kind(field: ContactField) -> dict[str, Operator]:
    column = _field(field.key)
    match field.kind:
        case ContactField.Kind.NUMBER:
            return numbers(column)
        case ContactField.Kind.DATE:
            return dates(column)
        case ContactField.Kind.YES_NO:
            return {
                "yes": Operator(_("is yes"), _equal(column, "yes")),
                "no": Operator(_("is no"), _equal(column, "no")),
            } | _emptiness(column)
        case ContactField.Kind.CHOICE:
            return choices(column, [(one, one) for one in field.choices]) | _emptiness(column)
        case _:
            return texts(column)


def _column(name: str) -> Column:
    return lambda builder: f"contact.{name}"


def _field(key: str) -> Column:
    return lambda builder: f"COALESCE(contact.fields ->> {builder.value(key)}, '')"


# Text, without regard to case.


def texts(column: Column) -> dict[str, Operator]:
    def compared(template: str) -> Sql:
        def sql(builder: Builder, values: Values) -> str:
            wanted = f"lower({builder.value(values['value'])}::text)"
            return template.format(has=f"lower({column(builder)})", wanted=wanted)

        return sql

    equal = compared("{has} = {wanted}")
    contains = compared("strpos({has}, {wanted}) > 0")
    return {
        "is": Operator(_("is"), equal, (VALUE,)),
        "is_not": Operator(_("is not"), negated(equal), (VALUE,)),
        "contains": Operator(_("contains"), contains, (VALUE,)),
        "not_contains": Operator(_("does not contain"), negated(contains), (VALUE,)),
        "starts": Operator(_("starts with"), compared("starts_with({has}, {wanted})"), (VALUE,)),
        "ends": Operator(
            _("ends with"), compared("right({has}, length({wanted})) = {wanted}"), (VALUE,)
        ),
    } | _emptiness(column)


def _equal(column: Column, value: str) -> Sql:
    return lambda builder, _values: f"{column(builder)} = {builder.value(value)}"


def _emptiness(column: Column) -> dict[str, Operator]:
    empty = _equal(column, "")
    return {
        "empty": Operator(_("is empty"), empty),
        "filled": Operator(_("is filled in"), negated(empty)),
    }


# Numbers and dates are kept as text: what is none compares as false and never raises.

# Without counts such as {1,30}: they make an expression several times as slow.
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_LONGEST_NUMBER = 60
_DATE = "^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]$"


def numbers(column: Column) -> dict[str, Operator]:
    def compared(template: str) -> Sql:
        def sql(builder: Builder, values: Values) -> str:
            has = column(builder)
            sound = f"{has} ~ '{_NUMBER}' AND length({has}) <= {_LONGEST_NUMBER}"
            number = f"CASE WHEN {sound} THEN ({has})::numeric END"
            wanted = {name: f"{builder.value(one)}::numeric" for name, one in values.items()}
            return f"COALESCE({number} {template.format(**wanted)}, false)"

        return sql

    until = Argument("until", "number", _("and"))
    return {
        "eq": Operator(_("is"), compared("= {value}"), (NUMBER,)),
        "ne": Operator(_("is not"), negated(compared("= {value}")), (NUMBER,)),
        "lt": Operator(_("is less than"), compared("< {value}"), (NUMBER,)),
        "gt": Operator(_("is more than"), compared("> {value}"), (NUMBER,)),
        "between": Operator(
            _("is between"), compared("BETWEEN {value} AND {until}"), (NUMBER, until)
        ),
    } | _emptiness(column)


def dates(column: Column) -> dict[str, Operator]:
    """ISO dates as text are in the order of the days."""

    def compared(template: str, wanted: Callable[[date, Values], dict[str, Any]]) -> Sql:
        def sql(builder: Builder, values: Values) -> str:
            has = f'({column(builder)}) COLLATE "C"'
            parameters = {
                name: f"{builder.value(str(value))}::text"
                for name, value in wanted(builder.scope.today, values).items()
            }
            return f"({has} ~ '{_DATE}' AND {template.format(has=has, **parameters)})"

        return sql

    def given(_today: date, values: Values) -> dict[str, Any]:
        return dict(values)

    between = "{has} BETWEEN {value} AND {until}"
    until = Argument("until", "date", _("and"))
    return {
        "on": Operator(_("is"), compared("{has} = {value}", given), (DATE,)),
        "before": Operator(_("is before"), compared("{has} < {value}", given), (DATE,)),
        "after": Operator(_("is after"), compared("{has} > {value}", given), (DATE,)),
        "between": Operator(_("is between"), compared(between, given), (DATE, until)),
        "last": Operator(
            _("was in the last"),
            compared(
                between,
                lambda today, v: {"value": today - timedelta(days=v["days"]), "until": today},
            ),
            (DAYS,),
        ),
        "next": Operator(
            _("is in the next"),
            compared(
                between,
                lambda today, v: {"value": today, "until": today + timedelta(days=v["days"])},
            ),
            (DAYS,),
        ),
        "month": Operator(
            _("has its anniversary this month"),
            compared("substr({has}, 6, 2) = {value}", lambda today, _v: {"value": f"{today:%m}"}),
        ),
        "today": Operator(
            _("has its anniversary today"),
            compared(
                "substr({has}, 6, 5) = {value}", lambda today, _v: {"value": f"{today:%m-%d}"}
            ),
        ),
    } | _emptiness(column)


def moments(name: str) -> dict[str, Operator]:
    """Of columns with a time: days are those of the workspace's time zone."""

    def before(builder: Builder, values: Values) -> str:
        day = builder.scope.midnight(date.fromisoformat(values["value"]))
        return f"contact.{name} < {builder.value(day)}"

    def after(builder: Builder, values: Values) -> str:
        day = date.fromisoformat(values["value"])
        if day == date.max:
            return "false"
        following = builder.scope.midnight(day + timedelta(days=1))
        return f"contact.{name} >= {builder.value(following)}"

    def last(builder: Builder, values: Values) -> str:
        return f"contact.{name} >= {builder.value(days_ago(builder.scope, values['days']))}"

    return {
        "last": Operator(_("in the last"), last, (DAYS,)),
        "earlier": Operator(_("not in the last"), negated(last), (DAYS,)),
        "before": Operator(_("before"), before, (DATE,)),
        "after": Operator(_("after"), after, (DATE,)),
    }


# Out of several.


def _either(sql: Sql, options: list[tuple[str, Any]]) -> dict[str, Operator]:
    argument = Argument("value", "choices", options=tuple(options))
    return {
        "is": Operator(_("is any of"), sql, (argument,)),
        "is_not": Operator(_("is none of"), negated(sql), (argument,)),
    }


def choices(column: Column, options: list[tuple[str, Any]]) -> dict[str, Operator]:
    def one_of(builder: Builder, values: Values) -> str:
        return f"{column(builder)} = ANY({builder.value(values['value'])}::text[])"

    return _either(one_of, options)


def _tags() -> dict[str, Operator]:
    tags = Argument("value", "tags", _("several with commas between them"))

    def compared(operator: str) -> Sql:
        def sql(builder: Builder, values: Values) -> str:
            return f"contact.tags {operator} {builder.value(values['value'])}::varchar[]"

        return sql

    return {
        "any": Operator(_("has any of"), compared("&&"), (tags,)),
        "all": Operator(_("has all of"), compared("@>"), (tags,)),
        "none": Operator(_("has none of"), negated(compared("&&")), (tags,)),
    }


def _in_lists(builder: Builder, values: Values) -> str:
    ids = builder.value([int(pk) for pk in values["value"]])
    once = "GROUP BY contact_id" if len(values["value"]) > 1 else ""
    return builder.among(f"mailer_listmember WHERE list_id = ANY({ids})", once)


def _of_providers(builder: Builder, values: Values) -> str:
    """As the ledger tells them: by the table's domains, then by where the domain's MX leads."""
    chosen = set(values["value"])
    own = [name for key in chosen if key in PROVIDERS for name in PROVIDERS[key].domains]
    others = [
        name for key, one in PROVIDERS.items() if key not in chosen for name in one.domains
    ]  # fmt: skip
    fact = builder.joined(
        "mailer_domainfact", "{set}.domain = contact.domain AND NOT {set}.sandbox"
    )
    return (
        f"(contact.domain = ANY({builder.value(own)}::text[])"
        f" OR (contact.domain <> ALL({builder.value(others)}::text[])"
        f" AND COALESCE(NULLIF({fact}.provider, ''), {builder.value(OTHER)})"
        f" = ANY({builder.value(sorted(chosen))}::text[])))"
    )
