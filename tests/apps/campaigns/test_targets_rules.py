"""The SQL of random segments against a plain evaluation of the same rules in Python."""

from __future__ import annotations

import itertools
import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Engagement
from apps.mailer.models import Contact, ContactField, DomainFact
from apps.mailer.segments import counting
from apps.mailer.segments.rules import Group, compiled, parse, to_json
from apps.mailer.segments.subjects import Scope
from apps.senders.models import SendingPolicy
from mailkit.providers import PROVIDERS
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
TODAY = NOW.date()
WORDS = ["", "Riga", "riga", "Рига", "рига 100%", "a_b", "O'Neil", "a\\b", '"', "{x}", "%(p0)s"]
NUMBERS = [
    "",
    "12",
    "-3.50",
    "0",
    "00012.0",
    "1e5",
    "NaN",
    "12,5",
    "9" * 60,
    "9" * 61,
    "twelve",
    " 7",
]
DATES = ["", "2026-03-15", "2026-03-14", "2026-02-28", "2025-03-15", "2026-04-14", "2026-13-45",
         "15.03.2026", "2026-03-15T10:00"]  # fmt: skip
TAGS = ["vip", "VIP", "new", "o'clock"]
DOMAINS = ["gmail.com", "mail.ru", "hosted.test", "plain.test"]
MOMENTS = [NOW - timedelta(days=days, hours=1) for days in (0, 1, 6, 29, 30, 31, 200)]


@pytest.fixture
def people(workspace: Workspace) -> Workspace:
    """Forty contacts with values of every kind, and a stranger who has the same."""
    dice = random.Random(4)
    for key, kind in {"city": "text", "points": "number", "day": "date", "pro": "yes_no"}.items():
        ContactField.objects.create(workspace=workspace, key=key, label=key, kind=kind)
    ContactField.objects.create(
        workspace=workspace, key="size", label="size", kind="choice", choices=["S", "M"]
    )
    DomainFact.objects.create(domain="hosted.test", provider="gmail", expires_at=NOW)
    DomainFact.objects.create(domain="plain.test", provider="yandex", sandbox=True, expires_at=NOW)
    DomainFact.objects.create(domain="mail.ru", provider="gmail", expires_at=NOW)
    lists = [make_list(workspace), make_list(workspace)]
    campaigns = [
        make_campaign(workspace, state="finished", launched_at=NOW, track_opens=number < 2)
        for number in range(3)
    ]
    make_campaign(make_workspace(), state="finished", launched_at=NOW)
    pools: dict[str, list[Any]] = {
        "city": WORDS, "points": NUMBERS, "day": DATES, "pro": ["", "yes", "no"],
        "size": ["", "S", "M", "L"],
    }  # fmt: skip
    for number in range(40):
        owner = workspace if number else make_workspace()
        contact = make_contact(
            owner,
            f"person{number}@{dice.choice(DOMAINS)}",
            first_name=dice.choice(WORDS),
            last_name=dice.choice(WORDS),
            reason=dice.choice(["", "catch_all", "role"]),
            updated_at=dice.choice(MOMENTS),
            status=dice.choice(Contact.Status.values),
            verdict=dice.choice(["valid", "risky", ""]),
            tags=dice.sample(TAGS, dice.randrange(4)),
            fields={key: dice.choice(pool) for key, pool in pools.items() if dice.random() < 0.8},
            created_at=dice.choice(MOMENTS),
        )
        contact.lists.set(dice.sample(lists, dice.randrange(3)))
        for campaign in dice.sample(campaigns, dice.randrange(4)):
            opened = dice.choice([None, *MOMENTS])
            make_delivery(
                campaign, contact, status=dice.choice(["sent", "sent", "failed"]),
                opened_at=opened, clicked_at=opened and dice.choice([None, opened]),
                updated_at=dice.choice(MOMENTS),
            )  # fmt: skip
    return workspace


def conditions(workspace: Workspace) -> list[st.SearchStrategy[dict[str, Any]]]:
    """One for each comparison of each subject."""
    found = []

    def of(whats: list[str], operators: list[str], **values: st.SearchStrategy[Any]) -> None:
        for what, operator in itertools.product(whats, operators):
            values_of = st.fixed_dictionaries(values)
            found.append(
                st.fixed_dictionaries(
                    {"what": st.just(what), "operator": st.just(operator), "values": values_of}
                )
            )

    def pick(pool: list[Any]) -> st.SearchStrategy[Any]:
        return st.sampled_from(pool)

    def some(pool: list[str]) -> st.SearchStrategy[list[str]]:
        return st.lists(st.sampled_from(pool), min_size=1, unique=True)

    texts = ["email", "first_name", "last_name", "domain", "field:city"]
    words = pick([word for word in WORDS if word]) | pick(["person1", ".ru", "mail", "GMAIL.com"])
    numbers = pick(["12", "-3.5", "0", "100000.5"])
    days = pick([date(2026, 3, 15), date(2025, 3, 15), date(2026, 2, 28)]).map(str)
    lists = [str(pk) for pk in workspace.lists.values_list("pk", flat=True)]
    sent = [
        str(pk) for pk in Campaign.objects.filter(workspace=workspace).values_list("pk", flat=True)
    ]
    events = {
        "campaign": pick(["", *sent]), "days": pick(["", 1, 30, 31]), "times": pick([1, 2, 3]),
    }  # fmt: skip
    of(texts, ["is", "is_not", "contains", "not_contains", "starts", "ends"], value=words)
    of([*texts, "field:points", "field:day", "field:pro", "field:size"], ["empty", "filled"])
    of(["field:points"], ["eq", "ne", "lt", "gt"], value=numbers)
    of(["field:points"], ["between"], value=numbers, until=numbers)
    of(["field:day"], ["on", "before", "after"], value=days)
    of(["field:day"], ["between"], value=days, until=days)
    of(["field:day"], ["last", "next"], days=pick([1, 30]))
    of(["field:day"], ["month", "today"])
    of(["field:pro"], ["yes", "no"])
    of(["field:size"], ["is", "is_not"], value=some(["S", "M"]))
    of(["list"], ["in", "not_in"], value=some(lists))
    of(["tag"], ["any", "all", "none"], value=some(TAGS))
    of(["status"], ["is", "is_not"], value=some(Contact.Status.values))
    of(["verdict"], ["is", "is_not"], value=some(["valid", "risky", ""]))
    of(["reason"], ["is", "is_not"], value=some(["catch_all", "role"]))
    of(["provider"], ["is", "is_not"], value=some(["gmail", "mailru", "yandex", "other"]))
    of(["created", "updated"], ["last", "earlier"], days=pick([1, 30]))
    of(["created", "updated"], ["before", "after"], value=days)
    of(["opened", "clicked", "received"], ["did", "did_not"], **events)
    of(["ignored"], ["last"], days=pick([1, 30]))
    return found


def groups(workspace: Workspace) -> st.SearchStrategy[dict[str, Any]]:
    rule = st.one_of(conditions(workspace))
    for _level in range(3):
        rule = rule | group_of(rule)
    return group_of(rule)


def group_of(rule: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "match": st.sampled_from(["all", "any", "none"]),
            "rules": st.lists(rule, min_size=1, max_size=3),
        }
    )


# The same in Python, a contact at a time.


def holds(rule: dict[str, Any], contact: Contact) -> bool:
    if "match" in rule:
        found = [holds(one, contact) for one in rule["rules"]]
        return {"all": all(found), "any": any(found), "none": not any(found)}[rule["match"]]
    what, operator, values = rule["what"], rule["operator"], rule["values"]
    opposite = {"is_not": "is", "not_contains": "contains", "ne": "eq", "not_in": "in",
                "none": "any", "did_not": "did", "earlier": "last", "filled": "empty"}  # fmt: skip
    if operator in opposite:
        return not holds({**rule, "operator": opposite[operator]}, contact)
    if what in {"opened", "clicked", "received", "ignored"}:
        return did(what, values, contact)
    if what in {"created", "updated"}:
        return dated(operator, values, getattr(contact, f"{what}_at"))
    if what == "provider":
        return provider_of(contact.domain) in values["value"]
    if what == "list":
        ids = {str(one.pk) for one in contact.lists.all()}
        return bool(ids & set(values["value"]))
    if what == "tag":
        wanted, tags = set(values["value"]), set(contact.tags)
        return wanted <= tags if operator == "all" else bool(wanted & tags)
    name, _colon, key = what.partition(":")
    has = str(contact.fields.get(key, "")) if key else getattr(contact, name)
    return bool(compares(what, operator, values, has))


def compares(what: str, operator: str, values: dict[str, Any], has: str) -> Any:
    value: Any = values.get("value")
    match operator:
        case "empty":
            return has == ""
        case "yes" | "no":
            return has == operator
        case "is" if isinstance(value, list):
            return has in value
        case "is":
            return has.lower() == value.lower()
        case "contains":
            return value.lower() in has.lower()
        case "starts":
            return has.lower().startswith(value.lower())
        case "ends":
            return has.lower().endswith(value.lower())
    if what == "field:points":
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", has) or len(has) > 60:
            return False
        number, wanted = Decimal(has), Decimal(value)
        if operator == "between":
            return wanted <= number <= Decimal(values["until"])
        return {"eq": number == wanted, "lt": number < wanted, "gt": number > wanted}[operator]
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", has):
        return False
    days = timedelta(days=values.get("days", 0))
    match operator:
        case "on":
            return has == value
        case "before":
            return has < value
        case "after":
            return has > value
        case "between":
            return value <= has <= values["until"]
        case "last":
            return str(TODAY - days) <= has <= str(TODAY)
        case "next":
            return str(TODAY) <= has <= str(TODAY + days)
        case "month":
            return has[5:7] == "03"
        case _:
            return has[5:] == "03-15"


def dated(operator: str, values: dict[str, Any], at: datetime) -> bool:
    if operator == "last":
        return at >= NOW - timedelta(days=values["days"])
    value = values["value"]
    return at.date() < date.fromisoformat(value) if operator == "before" else str(at.date()) > value


def provider_of(domain: str) -> str:
    for key, provider in PROVIDERS.items():
        if domain in provider.domains:
            return key
    return "gmail" if domain == "hosted.test" else "other"


def did(what: str, values: dict[str, Any], contact: Contact) -> bool:
    rows = list(contact.deliveries.all())
    since = NOW - timedelta(days=values["days"] or 3650)
    if what == "ignored":
        rows = [
            row for row in rows
            if row.status == "sent" and row.campaign.track_opens and row.updated_at >= since
        ]  # fmt: skip
        return bool(rows) and not any(row.opened_at for row in rows)
    if values["campaign"]:
        rows = [row for row in rows if str(row.campaign_id) == values["campaign"]]
    if what == "received":
        times = [row.updated_at for row in rows if row.status == "sent"]
    else:
        times = [at for row in rows if (at := getattr(row, f"{what}_at"))]
    return sum(at >= since for at in times) >= int(values["times"])


def contacts_of(workspace: Workspace) -> list[Contact]:
    return list(
        Contact.objects.filter(workspace=workspace).prefetch_related(
            "lists", "deliveries__campaign"
        )
    )


def found_by(rules: Group, scope: Scope) -> set[int]:
    query = compiled(rules, scope)
    with counting.limited() as cursor:
        cursor.execute(query.ids, query.params)
        ids = [pk for (pk,) in cursor.fetchall()]
    assert len(ids) == len(set(ids))
    return set(ids)


# Beyond what a contact's engagement keeps the ledger is counted.
@pytest.mark.parametrize("kept", [1, Engagement.KEPT])
def test_the_query_finds_whom_the_rules_mean(
    people: Workspace, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(Engagement, "KEPT", kept)
    everybody = contacts_of(people)
    scope = Scope(people, NOW)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(groups(people))
    def check(data: dict[str, Any]) -> None:
        rules = parse(data, scope)
        assert parse(to_json(rules), scope) == rules
        expected = {contact.pk for contact in everybody if holds(data, contact)}
        assert found_by(rules, scope) == expected
        assert counting.count(rules, scope) == counting.Count(len(expected))
        assert counting.estimate(rules, scope, one_in=1) == len(expected)

    check()


@pytest.mark.parametrize("kept", [1, Engagement.KEPT])
def test_each_condition_alone(
    people: Workspace, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Shallow, so that every comparison is tried on its own, and none is missing."""
    monkeypatch.setattr(Engagement, "KEPT", kept)
    everybody = contacts_of(people)
    scope = Scope(people, NOW)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*conditions(people)))
    def check(several: tuple[dict[str, Any], ...]) -> None:
        for data in several:
            rules = parse({"match": "all", "rules": [data]}, scope)
            expected = {contact.pk for contact in everybody if holds(data, contact)}
            assert found_by(rules, scope) == expected, data
        assert {(data["what"], data["operator"]) for data in several} == {
            (what, one) for what, subject in scope.subjects.items() for one in subject.operators
        }

    check()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_the_first_and_the_last_of_everything(people: Workspace, zone: str) -> None:
    """No value that is accepted makes the database refuse the query."""
    SendingPolicy.objects.create(workspace=people, time_zone=zone)
    scope = Scope(people)
    days = ["0001-01-01", "9999-12-30", "9999-12-31"]
    tried = [
        (what, operator, {"value": day, "until": day})
        for what, operators in {
            "created": ["before", "after"], "updated": ["before", "after"],
            "field:day": ["on", "before", "after", "between"],
        }.items() for operator in operators for day in days
    ]  # fmt: skip
    tried += [("field:day", operator, {"days": "3650"}) for operator in ("last", "next")]
    tried += [("field:points", "gt", {"value": value}) for value in ("9" * 30, "-0", "0,5")]
    tried += [
        (what, "did", {"campaign": "", "days": "3650", "times": "1000"})
        for what in ("opened", "clicked", "received")
    ]
    for what, operator, values in tried:
        one = {"what": what, "operator": operator, "values": values}
        rules = parse({"match": "all", "rules": [one]}, scope)
        assert counting.count(rules, scope).exact


def test_what_people_write_is_no_part_of_the_statement(people: Workspace) -> None:
    hostile = "'); DROP TABLE x; -- %s {0}"
    ContactField.objects.create(workspace=people, key=hostile[:40], label="Hostile")
    data = {
        "match": "any",
        "rules": [
            {"what": what, "operator": "contains", "values": {"value": hostile}}
            for what in ("email", "first_name", f"field:{hostile[:40]}")
        ] + [{"what": "tag", "operator": "any", "values": {"value": [hostile]}}],
    }  # fmt: skip
    scope = Scope(people, NOW)
    rules = parse(data, scope)
    assert "DROP" not in compiled(rules, scope).ids
    assert found_by(rules, scope) == set()
