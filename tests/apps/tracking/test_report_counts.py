"""The counters of reports never differ from the events and the ledger, in whatever order."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import Sum
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.tracking.counts import Figures, clicks_by_link, counts_of
from apps.tracking.models import Count, Event, Letter
from apps.tracking.services import counting, events
from tests.support.concurrency import in_thread, own_database_url, wait_until_blocked
from tests.support.factories import make_campaign, make_contact, make_delivery

START = datetime(2026, 3, 1, tzinfo=UTC)
PROVIDERS, DEVICES, COUNTRIES = ("gmail", "mailru", "other"), ("", "phone"), ("", "de")
MACHINES = ("", "", "prefetch", "scanner")
SEEN = ("open", "click")
FIGURES = ("events", "machines", "people", "letters")
Key = tuple[int, str, str, str]


def read() -> dict[Key, tuple[int, ...]]:
    rows = (
        Count.objects.order_by()
        .values_list("campaign_id", "kind", "axis", "key")
        .annotate(*(Sum(name) for name in FIGURES))
    )
    return {tuple(row[:4]): tuple(map(int, row[4:])) for row in rows if any(row[4:])}


def recounted() -> dict[Key, tuple[int, ...]]:
    """The same figures by looking at every event and every row of the ledger."""
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    letters: Counter[tuple[Any, ...]] = Counter()
    people: Counter[tuple[Any, ...]] = Counter()
    for one in Event.objects.all():
        hour = f"{one.at.astimezone(UTC):%Y%m%d%H}"
        axes = {
            "hour": hour,
            "link": str(one.link) if one.kind == "click" else "",
            "provider": one.provider,
            "device": one.device,
            "country": one.country,
            "variant": str(one.variant),
            "machine": one.machine,
            "detail": one.detail,
        }
        of_workspace = {"hour": hour, "provider_day": f"{hour[:8]} {one.provider}"}
        for campaign, split in ((one.campaign_id, axes), (0, of_workspace)):
            for axis, key in split.items():
                if key:
                    found[campaign, one.kind, axis, key][0] += 1
                    found[campaign, one.kind, axis, key][1] += bool(one.machine)
        seen = {"open": {("open", 0)}, "click": {("open", 0), ("click", 0), ("click", one.link)}}
        for kind, link in seen.get(one.kind, set()):
            letter = (one.campaign_id, one.contact_id, kind, link, one.provider, str(one.variant))
            letters[letter] += 1
            people[letter] += not one.machine
    for letter, number in letters.items():
        campaign, _contact, kind, link, provider, variant = letter
        axes = {"link": str(link)} if link else {"provider": provider, "variant": variant}
        if link and variant != "0":
            axes["variant_link"] = f"{variant} {link}"
        for axis, key in axes.items():
            found[campaign, kind, axis, key][2] += people[letter] > 0
            found[campaign, kind, axis, key][3] += number > 0
    for row in Delivery.objects.filter(status__in=["sent", "failed"]):
        hour = f"{row.updated_at.astimezone(UTC):%Y%m%d%H}"
        kind = "sent" if row.status == "sent" else "hard" if row.fault == "mailbox" else "failed"
        for campaign, axis, key in (
            (row.campaign_id, "hour", hour),
            (row.campaign_id, "variant", str(row.variant)),
            (0, "hour", hour),
            (0, "provider_day", f"{hour[:8]} {row.provider}"),
        ):
            found[campaign, kind, axis, key][0] += 1
    return {key: tuple(figures) for key, figures in found.items()}


@pytest.mark.django_db
def test_the_counters_are_the_count_at_every_step(workspace: Workspace) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM tracking_event; DELETE FROM campaigns_delivery")
                # What an example before this one got wrong must not look like a fault of this one.
                cursor.execute("DELETE FROM tracking_count; DELETE FROM tracking_letter")
            self.campaigns = [
                make_campaign(workspace, state=Campaign.State.SENDING) for _ in range(2)
            ]
            self.number = 0
            for campaign in self.campaigns:
                for turn in range(3):
                    make_delivery(
                        campaign,
                        make_contact(workspace),
                        provider=PROVIDERS[turn],
                        variant=turn % 2,
                    )

        @rule(
            made=st.lists(
                st.tuples(
                    st.integers(0, 5),
                    st.sampled_from(Event.Kind.values),
                    st.integers(0, 2),
                    st.sampled_from(MACHINES),
                    st.integers(0, 60),
                    st.sampled_from(DEVICES),
                    st.sampled_from(COUNTRIES),
                ),
                max_size=8,
            )
        )
        def happen(self, made: list[tuple[int, str, int, str, int, str, str]]) -> None:
            rows = list(Delivery.objects.filter(campaign__in=self.campaigns).order_by("pk"))
            new = []
            for place, kind, link, machine, hours, device, country in made:
                self.number += 1
                row = rows[place]
                new.append(
                    Event(
                        at=START + timedelta(hours=hours),
                        number=self.number,
                        workspace_id=workspace.pk,
                        campaign_id=row.campaign_id,
                        contact_id=row.contact_id,
                        kind=kind,
                        link=link if kind == "click" else 0,
                        machine=machine if kind in SEEN else "",
                        variant=row.variant,
                        provider=row.provider,
                        device=device,
                        country=country,
                        detail="hard" if kind == "bounce" else "",
                    )
                )
            Event.objects.bulk_create(new, ignore_conflicts=True)
            Event.objects.bulk_create(new, ignore_conflicts=True)  # the same events once more

        @rule(machine=st.sampled_from(MACHINES), which=st.integers(0, 3))
        def reclassify(self, machine: str, which: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE tracking_event SET machine = %s "
                    "WHERE kind IN ('open', 'click') AND number %% 4 = %s",
                    [machine, which],
                )

        @rule(reason=st.sampled_from(["often", "spam"]))
        def say_why(self, reason: str) -> None:
            Event.objects.filter(kind="unsubscribe").update(detail=reason)

        @rule(which=st.integers(0, 4))
        def forget(self, which: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM tracking_event WHERE number %% 5 = %s", [which])

        @rule(
            place=st.integers(0, 5),
            status=st.sampled_from(["queued", "sent", "failed", "unknown"]),
            fault=st.sampled_from(["", "mailbox", "full"]),
            hours=st.integers(0, 60),
        )
        def settle(self, place: int, status: str, fault: str, hours: int) -> None:
            row = Delivery.objects.filter(campaign__in=self.campaigns).order_by("pk")[place]
            Delivery.objects.filter(pk=row.pk).update(
                status=status, fault=fault, updated_at=START + timedelta(hours=hours)
            )

        @rule(limit=st.integers(1, 30))
        def fold(self, limit: int) -> None:
            counting.fold(limit)

        @invariant()
        def exact(self) -> None:
            assert read() == recounted()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=8,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
def test_folding_leaves_one_row_a_key(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    contact = make_contact(workspace)
    make_delivery(campaign, contact, status="sent")
    for _ in range(5):
        events.record(Event.Kind.OPEN, campaign_id=campaign.pk, contact_id=contact.pk)
    before = read()
    assert counting.fold() > 0
    assert counting.fold() == 0
    assert read() == before
    keys = list(Count.objects.values_list("campaign_id", "kind", "axis", "key"))
    assert len(keys) == len(set(keys))
    assert before[campaign.pk, "open", "provider", "other"] == (5, 0, 1, 1)
    assert Letter.objects.get().people_opens == 5


@pytest.mark.django_db
def test_letters_survive_the_change_of_their_table(workspace: Workspace) -> None:
    """Installed on top of events that are counted already, and taken back again."""
    migration = import_module("apps.tracking.migrations.0003_cheaper_counts")
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    for turn in range(3):
        contact = make_contact(workspace)
        make_delivery(campaign, contact, status="sent", variant=turn % 2)
        note = partial(events.record, campaign_id=campaign.pk, contact_id=contact.pk)
        note(Event.Kind.OPEN, machine="scanner" if turn else "")
        if turn:
            note(Event.Kind.CLICK)
            Event.objects.filter(kind="click", contact_id=contact.pk).update(link=turn)
    before = sorted(Letter.objects.values_list())
    assert len(before) == 5
    with connection.cursor() as cursor:
        cursor.execute(migration.MOVE_LETTERS_BACK)
        cursor.execute(
            "SELECT kind, link, sum(events), sum(people) FROM tracking_letter GROUP BY 1, 2"
        )
        assert {tuple(row) for row in cursor} == {
            ("open", 0, 5, 3), ("click", 0, 2, 2), ("click", 1, 1, 1), ("click", 2, 1, 1),
        }  # fmt: skip
        cursor.execute(migration.MOVE_LETTERS)
        figures = read()
        cursor.execute("DELETE FROM tracking_count WHERE axis = 'variant_link'")
        assert read() != figures
        cursor.execute(migration.COUNT_LINKS_OF_VARIANTS)
    assert sorted(Letter.objects.values_list()) == before
    assert read() == figures
    assert clicks_by_link(counts_of(campaign), 1) == {1: Figures(people=1, letters=1)}
    assert clicks_by_link(counts_of(campaign)).keys() == {1, 2}


@pytest.mark.django_db(transaction=True)
def test_two_first_opens_at_once_are_one_person(workspace: Workspace) -> None:
    """Each writer sees no open but its own: the row of the letter makes the second one wait."""
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    contact = make_contact(workspace)
    make_delivery(campaign, contact, status="sent")
    insert = (
        "INSERT INTO tracking_event (at, number, workspace_id, campaign_id, contact_id, kind) "
        "VALUES (now(), %s, %s, %s, %s, 'open')"
    )
    with psycopg.connect(own_database_url()) as other:
        other.execute(insert, [1, workspace.pk, campaign.pk, contact.pk])
        second = in_thread(_insert, insert, [2, workspace.pk, campaign.pk, contact.pk])
        wait_until_blocked()
        other.commit()
        second.result(30)
    assert read()[campaign.pk, "open", "provider", "other"] == (2, 0, 1, 1)


def _insert(statement: str, values: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
