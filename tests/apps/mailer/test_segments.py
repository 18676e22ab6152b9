"""Segments: what rules may be, and the pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.mailer.models import ContactField, Segment
from apps.mailer.segments import counting, turns
from apps.mailer.segments.rules import Query, parse
from apps.mailer.segments.subjects import Scope
from apps.mailer.services import segments
from core.errors import Conflict, InvalidInput
from tests.support.factories import make_campaign, make_contact, make_list, make_workspace

pytestmark = pytest.mark.django_db

Rule = dict[str, Any]
ClientOf = Callable[[User], Client]


def condition(what: str, operator: str, **values: Any) -> Rule:
    return {"what": what, "operator": operator, "values": values}


def group(*rules: Rule, match: str = "all") -> Rule:
    return {"match": match, "rules": list(rules)}


RIGA = group(condition("first_name", "is", value="Anna"))


def page(name: str = "") -> str:
    return f"/w/shop/audience/segments/{name}"


# What rules may be


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (condition("email", "is", value=" "), r"Condition 2 \(Address\): say what"),
        (condition("email", "is", value="x" * 201), "at most 200"),
        (condition("email", "is", value="a\0b"), "at most 200"),
        (condition("email", "resembles", value="a"), r"Condition 2 \(Address\): choose how"),
        (condition("shoe_size", "is", value="a"), r"Condition 2 \(shoe_size\): .*not exist"),
        (condition("field:points", "gt", value="many"), r"Condition 2 \(Points\): give a number"),
        (condition("field:points", "between", value="1"), r"Condition 2 \(Points\): say what"),
        (condition("created", "last", days="0"), r"from 1 to 3650"),
        (condition("created", "last", days="9" * 30), r"from 1 to 3650"),
        (condition("created", "before", value="2026-02-30"), "give a date"),
        (condition("created", "before", value="20260228"), "give a date"),
        (condition("list", "in", value=["999999"]), r"Condition 2 \(List\): .*not exist"),
        (condition("list", "in", value=[]), "choose from one"),
        (condition("tag", "any", value=" , "), "choose from one"),
        (condition("status", "is", value=["gone"]), "not exist any more"),
        (condition("opened", "did", campaign="7777", days="", times="1"), "not exist any more"),
        (condition("opened", "did", campaign="", days="", times="1001"), "from 1 to 1000"),
        (group(), "empty"),
        (group(RIGA, match="some"), "cannot be read"),
        ({"match": "all", "rules": "x"}, "cannot be read"),
        (group(group(group(group(group(RIGA))))), "5 deep"),
        (group(*[RIGA] * 60), "at most 60"),
    ],
)
def test_what_cannot_be_is_named(workspace: Workspace, rule: Rule, fault: str) -> None:
    ContactField.objects.create(workspace=workspace, key="points", label="Points", kind="number")
    with pytest.raises(InvalidInput, match=fault):
        parse(group(*RIGA["rules"], rule), Scope(workspace))


@pytest.mark.parametrize("data", [None, 1, "x", [], {}, RIGA["rules"][0]])
def test_what_is_no_group_is_refused(workspace: Workspace, data: object) -> None:
    with pytest.raises(InvalidInput):
        parse(data, Scope(workspace))


def test_nothing_of_another_workspace_can_be_meant(workspace: Workspace) -> None:
    elsewhere = make_workspace()
    theirs = make_list(elsewhere)
    campaign = make_campaign(elsewhere, theirs)
    ContactField.objects.create(workspace=elsewhere, key="city", label="City")
    for rule in (
        condition("list", "in", value=[str(theirs.pk)]),
        condition("opened", "did", campaign=str(campaign.pk), days="", times=1),
        condition("field:city", "empty"),
    ):
        with pytest.raises(InvalidInput, match="not exist"):
            parse(group(rule), Scope(workspace))


def test_a_field_of_another_kind_by_now(workspace: Workspace) -> None:
    field = ContactField.objects.create(workspace=workspace, key="city", label="City")
    rules = group(condition("field:city", "contains", value="a"))
    segment = segments.create_segment(workspace=workspace, name="A", rules=rules)
    field.kind = "number"
    field.save()
    with pytest.raises(InvalidInput, match=r"Condition 1 \(City\)"):
        counting.rules_of(segment)


# Services


def test_a_segment_is_saved_changed_copied_and_deleted(workspace: Workspace) -> None:
    make_contact(workspace, first_name="Anna")
    segment = segments.create_segment(workspace=workspace, name="  Annas \n here ", rules=RIGA)
    assert segment.name == "Annas here"
    assert segments.count_segment(segment=segment) == counting.Count(1)
    segment.refresh_from_db()
    assert segment.count == 1
    stale = Segment.objects.get(pk=segment.pk)
    segments.update_segment(segment=segment, name="Annas", rules=group(RIGA, match="none"))
    changed = Segment.objects.get(pk=segment.pk)
    assert (changed.count, changed.rules["match"]) == (None, "none")
    with pytest.raises(Conflict):
        segments.update_segment(segment=stale, name="Other", rules=RIGA)
    names = [segments.duplicate_segment(segment=segment).name for _ in range(2)]
    assert names == ["Annas (copy)", "Annas (copy 2)"]
    segments.delete_segment(segment=segment)
    assert Segment.objects.count() == 2


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\0"])
def test_a_name_that_cannot_be(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput, match="at most 100"):
        segments.create_segment(workspace=workspace, name=name, rules=RIGA)


def test_a_name_is_taken_once_in_a_workspace(workspace: Workspace) -> None:
    segments.create_segment(workspace=make_workspace(), name="Annas", rules=RIGA)
    segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)
    with pytest.raises(InvalidInput, match="already a segment"):
        segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)


@pytest.mark.parametrize("place", ["segments", "excluded_segments"])
def test_a_segment_stays_while_a_campaign_waits_for_it(workspace: Workspace, place: str) -> None:
    segment = segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)
    campaign = make_campaign(workspace, name="Autumn")
    getattr(campaign, place).add(segment)
    with pytest.raises(Conflict, match="Autumn"):
        segments.delete_segment(segment=segment)
    campaign.state = "finished"
    campaign.save()
    segments.delete_segment(segment=segment)
    assert not Segment.objects.exists()


def test_a_workspace_goes_with_all_of_its_segments(workspace: Workspace) -> None:
    segment = segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)
    make_campaign(workspace).excluded_segments.add(segment)
    workspace.delete()
    assert not Segment.objects.exists()


def test_a_query_that_takes_too_long(workspace: Workspace) -> None:
    make_contact(workspace, first_name="Anna")
    scope = Scope(workspace)
    with pytest.raises(counting.QueryTooSlow), counting.limited(0.001) as cursor:
        cursor.execute("SELECT count(*) FROM generate_series(1, 100000000)")
    # The transaction's settings are as they were.
    assert counting.count(parse(RIGA, scope), scope) == counting.Count(1)


@pytest.mark.parametrize(
    ("slow", "expected"),
    [(1, counting.Count(4, exact=False)), (2, counting.Count(None, exact=False))],
)
def test_a_count_that_takes_too_long_is_estimated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, slow: int, expected: counting.Count
) -> None:
    """The first query, for all of them, is cut off; the second looks at some of them."""
    for _ in range(4):
        make_contact(workspace, first_name="Anna")
    limited, asked = counting.limited, []

    @contextmanager
    def slow_at_first(seconds: float | None = None) -> Iterator[Any]:
        asked.append(seconds)
        with limited(0.001 if len(asked) <= slow else 60) as cursor:
            if len(asked) <= slow:
                cursor.execute("SELECT count(*) FROM generate_series(1, 100000000)")
            yield cursor

    monkeypatch.setattr(counting, "limited", slow_at_first)
    monkeypatch.setattr(counting, "estimate", partial(counting.estimate, one_in=1))
    scope = Scope(workspace)
    assert counting.count(parse(RIGA, scope), scope) == expected


def test_an_estimate_promises_two_digits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, asked = iter([None, 61_728, None, 0]), list[Query]()

    def number(query: Query, _seconds: float) -> int:
        assert ("SAMPLE SYSTEM (1.0)" in query.ids) == (len(asked) % 2 == 1)
        asked.append(query)
        if (found := next(numbers)) is None:
            raise counting.QueryTooSlow
        return found

    monkeypatch.setattr(counting, "_number", number)
    scope = Scope(workspace)
    for expected in (6_200_000, 0):
        assert counting.count(parse(RIGA, scope), scope) == counting.Count(expected, exact=False)


def test_the_next_count_of_an_editor_ends_the_one_before(workspace: Workspace) -> None:
    def one() -> None:
        with turns.latest_of("one"):
            with turns.latest_of("another"):
                pass
            with turns.latest_of("one"):
                pass
            with counting.limited() as cursor:
                cursor.execute("SELECT pg_sleep(3600)")

    with pytest.raises(turns.Superseded):
        one()
    # The connection serves on, and the editor's next count is not taken for the one that ended.
    with turns.latest_of("one"):
        assert not Segment.objects.exists()


def test_a_count_that_is_too_slow_for_others_is_no_matter_of_turns(workspace: Workspace) -> None:
    with pytest.raises(counting.QueryTooSlow), turns.latest_of("one"):  # noqa: SIM117
        with counting.limited(0.001) as cursor:
            cursor.execute("SELECT pg_sleep(60)")


# Pages


def test_the_pages(owner: User, workspace: Workspace, client_of: ClientOf) -> None:
    client = client_of(owner)
    assert b"No segments yet" in client.get(page()).content
    assert b"Contacts that meet" in client.get(page("new/")).content
    make_contact(workspace, "anna@inbox.sandbox.test", first_name="Anna")
    make_contact(workspace, first_name="Boris")
    counted = client.post(page("count/"), {"rules": json.dumps(RIGA)}).content.decode()
    assert "anna@inbox.sandbox.test" in counted
    assert '<strong class="h1" data-count>1</strong>' in counted
    unfinished = client.post(page("count/"), {"rules": "{"}).content.decode()
    assert "cannot be read" in unfinished
    made = client.post(page("new/"), {"name": "Annas", "rules": json.dumps(RIGA)})
    assert made.status_code == 302
    segment = Segment.objects.get()
    shown = client.get(page(f"{segment.pk}/")).content.decode()
    assert 'value="Anna"' in shown
    assert '<option value="first_name" selected>' in shown
    again = client.post(page(f"{segment.pk}/count/")).content.decode()
    assert ">1<" in again
    assert client.get(page()).content.count(b"Annas") >= 1
    assert b"No segment matches" in client.get(page("?search=zzz")).content
    assert client.post(page(f"{segment.pk}/duplicate/")).status_code == 302
    assert b"Delete the segment" in client.get(page(f"{segment.pk}/delete/")).content
    assert client.post(page(f"{segment.pk}/delete/")).status_code == 302
    assert Segment.objects.get().name == "Annas (copy)"


def test_counts_leave_threads_for_pages(
    owner: User, workspace: Workspace, client_of: ClientOf
) -> None:
    client = client_of(owner)
    segment = segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)
    with ExitStack() as taken:
        for _ in range(turns.AT_ONCE):
            taken.enter_context(turns.slot())
        waiting = client.post(page("count/"), {"rules": json.dumps(RIGA), "editor": "a"})
        assert waiting["HX-Trigger"] == "count-again"
        assert "comes next" in waiting.content.decode()
        assert "try again" in client.post(page(f"{segment.pk}/count/")).content.decode()
    counted = client.post(page("count/"), {"rules": json.dumps(RIGA), "editor": "a"})
    assert "HX-Trigger" not in counted
    assert "data-count" in counted.content.decode()


def test_groups_too_deep_to_draw(owner: User, workspace: Workspace, client_of: ClientOf) -> None:
    rules = RIGA
    for _level in range(300):
        rules = group(rules)
    answer = client_of(owner).post(page("new/"), {"name": "Mine", "rules": json.dumps(rules)})
    assert answer.status_code == 422
    assert "5 deep" in answer.content.decode()


def test_what_is_wrong_keeps_what_was_written(
    owner: User, workspace: Workspace, client_of: ClientOf
) -> None:
    rules = group(condition("field:gone", "is", value="Riga"), RIGA)
    answer = client_of(owner).post(page("new/"), {"name": "Mine", "rules": json.dumps(rules)})
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "does not exist any more" in shown
    assert 'value="Mine"' in shown
    assert 'value="Anna"' in shown
    assert not Segment.objects.exists()


@pytest.mark.parametrize("rules", ["", "[]", "[" * 3000, "{}", '{"match": 3}', "x" * 200_000])
def test_rules_that_are_none(
    owner: User, workspace: Workspace, client_of: ClientOf, rules: str
) -> None:
    client = client_of(owner)
    assert client.post(page("new/"), {"name": "Mine", "rules": rules}).status_code == 422
    assert client.post(page("count/"), {"rules": rules}).status_code == 200


def test_each_condition_can_be_drawn(
    owner: User, workspace: Workspace, client_of: ClientOf
) -> None:
    make_list(workspace, "Customers <b>")
    for kind in ContactField.Kind.values:
        ContactField.objects.create(workspace=workspace, key=kind, label=kind, kind=kind)
    client = client_of(owner)
    for what, subject in Scope(workspace).subjects.items():
        for operator in subject.operators:
            drawn = client.get(page("rule/"), {"what": what, "operator": operator, "days": "x"})
            assert drawn.status_code == 200
            assert f'<option value="{operator}" selected>' in drawn.content.decode()
            assert b"<b>" not in drawn.content
    assert b"data-group" in client.get(page("rule/?group=1")).content


def test_who_may_see_them(
    workspace: Workspace, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    segment = segments.create_segment(workspace=workspace, name="Annas", rules=RIGA)
    pages = ["", "new/", "rule/", f"{segment.pk}/", f"{segment.pk}/delete/"]
    posts = ["count/", f"{segment.pk}/count/", f"{segment.pk}/duplicate/"]
    for name in pages:
        assert client_of(teammate).get(page(name)).status_code == 200
        assert client_of(outsider).get(page(name)).status_code == 404
    for name in posts:
        assert client_of(teammate).post(page(name)).status_code < 400
        assert client_of(outsider).post(page(name)).status_code == 404
    theirs = f"/w/elsewhere/audience/segments/{segment.pk}/"
    assert client_of(outsider).get(theirs).status_code == 404
    assert client_of(outsider).post(f"{theirs}delete/").status_code == 404
