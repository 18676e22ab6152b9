"""The counters never differ from the ledger, whatever happens to it and in whatever order."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from apps.accounts.models import Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery, Tally
from apps.campaigns.services import retry, tally
from apps.campaigns.services.ledger import audience, claims, endings, leases, queueing, results
from apps.campaigns.services.ledger.results import Result
from tests.support import engagement
from tests.support.concurrency import in_thread, own_database_url
from tests.support.factories import make_campaign, make_contact, make_delivery, make_list

PROVIDERS = ("gmail", "mailru", "other")
FAULTS = ("", "mailbox", "rate", "network")


def counted(campaign: Campaign) -> tuple[Counter[str], Counter[tuple[str, str]], int, int]:
    """The same figures by looking at every row."""
    rows = Delivery.objects.filter(campaign=campaign)
    listed = list(rows.values_list("status", "provider", "fault", "opened_at", "clicked_at"))
    return (
        Counter(status for status, *_ in listed),
        Counter((fault, status) for status, _, fault, *_ in listed if status in selectors.TROUBLED),
        sum(opened is not None for *_, opened, _ in listed),
        sum(clicked is not None for *_, clicked in listed),
    )


def check(campaign: Campaign) -> None:
    found = selectors.tallied(campaign)
    statuses, faults, opens, clicks = counted(campaign)
    assert Counter({name: n for name, n in found.counts.items() if n}) == statuses
    tallied = {(f, s): n for f, by in found.faults.items() for s, n in by.items() if n}
    assert tallied == faults
    assert (found.opens, found.clicks) == (opens, clicks)
    by_provider = {key: sum(by.values()) for key, by in found.providers.items()}
    rows = Counter(Delivery.objects.filter(campaign=campaign).values_list("provider", flat=True))
    assert Counter({key: number for key, number in by_provider.items() if number}) == rows


@pytest.mark.django_db
def test_the_tally_is_the_count_at_every_step(workspace: Workspace) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            chosen = make_list(workspace)
            self.contacts = [make_contact(workspace, to=chosen).pk for _ in range(8)]
            self.campaign = make_campaign(workspace, chosen, state=Campaign.State.SENDING)
            self.held: list[tuple[uuid.UUID, list[int]]] = []

        def rows(self) -> list[int]:
            return list(self.campaign.deliveries.values_list("contact_id", flat=True))

        @rule()
        def snapshot(self) -> None:
            audience.snapshot(self.campaign.pk)

        @rule(provider=st.sampled_from(PROVIDERS), limit=st.integers(1, 4))
        def hand_off(self, provider: str, limit: int) -> None:
            token = uuid.uuid4()
            with transaction.atomic():
                rows = claims.claim(self.campaign.pk, provider, limit)
                contacts = [row.contact_id for row in rows]
                self.held.append((token, list(claims.hand_off(self.campaign.pk, token, contacts))))

        @rule(data=st.data())
        def settle(self, data: st.DataObject) -> None:
            if not self.held:
                return
            token, contacts = self.held.pop()
            statuses = st.sampled_from(["sent", "deferred", "failed", "unknown"])
            results.settle(
                self.campaign.pk,
                token,
                [
                    Result(
                        contact,
                        data.draw(statuses),
                        "rcpt",
                        fault=data.draw(st.sampled_from(FAULTS)),
                        next_attempt_at=timezone.now(),
                    )
                    for contact in contacts
                ],
            )

        @rule()
        def expire(self) -> None:
            self.campaign.deliveries.exclude(lease_until=None).update(
                lease_until=timezone.now() - timedelta(hours=1)
            )
            leases.expire_leases()

        @rule()
        def queue_due(self) -> None:
            queueing.queue_due(self.campaign.pk)

        @rule()
        def cancel(self) -> None:
            endings.cancel_waiting(self.campaign.pk)

        @rule(which=st.integers(0, 7))
        def queue_again(self, which: int) -> None:
            queueing.queue_again(self.campaign.pk, self.contacts[which])

        @rule()
        def retry_unknown(self) -> None:
            retry.retry_unknown(campaign=self.campaign)

        @rule(which=st.integers(0, 7), click=st.booleans())
        def engage(self, which: int, click: bool) -> None:
            note = engagement.note_click if click else engagement.note_open
            note(self.campaign.pk, self.contacts[which])

        @rule(which=st.integers(0, 7))
        def take_back(self, which: int) -> None:
            engagement.take_back(self.campaign.pk, self.contacts[which])

        @rule(
            which=st.integers(0, 7),
            status=st.sampled_from(Delivery.Status.values),
            provider=st.sampled_from(PROVIDERS),
            fault=st.sampled_from(FAULTS),
        )
        def plain_sql(self, which: int, status: str, provider: str, fault: str) -> None:
            rows = self.campaign.deliveries.filter(contact_id=self.contacts[which])
            if provider != "other":
                # What is counted of an open stays with the provider that it came from.
                rows = rows.filter(opened_at=None)
            held = status == "handing_off"
            rows.update(
                status=status,
                provider=provider,
                fault=fault,
                lease_until=timezone.now() if held else None,
            )

        @rule(which=st.integers(0, 7))
        def delete(self, which: int) -> None:
            self.campaign.deliveries.filter(
                contact_id=self.contacts[which], opened_at=None, clicked_at=None
            ).delete()

        @rule(limit=st.integers(1, 50))
        def rolled_back(self, limit: int) -> None:
            with transaction.atomic():
                endings.cancel_waiting(self.campaign.pk)
                tally.compact(limit)
                transaction.set_rollback(True)

        @rule(limit=st.integers(1, 50))
        def compact(self, limit: int) -> None:
            tally.compact(limit)

        @invariant()
        def agrees(self) -> None:
            check(self.campaign)

        def teardown(self) -> None:
            tally.compact()
            check(self.campaign)
            keys = Tally.objects.filter(campaign=self.campaign).values_list(
                "provider", "status", "fault"
            )
            assert len(keys) == len(set(keys))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db(transaction=True)
def test_processes_at_once_lose_no_count(workspace: Workspace) -> None:
    """Two change rows, two add up, and one reads: the sum is the audience at every moment."""
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    for _ in range(20):
        make_delivery(campaign, make_contact(workspace))
    contacts = list(campaign.deliveries.values_list("contact_id", flat=True))
    url = own_database_url()

    def change(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(url, autocommit=True) as own:
            for _ in range(150):
                contact = chance.choice(contacts)
                status = chance.choice(["queued", "handing_off", "sent", "deferred", "failed"])
                own.execute(
                    "UPDATE campaigns_delivery SET status = %s, fault = %s, "
                    "lease_until = CASE WHEN %s = 'handing_off' THEN now() END "
                    "WHERE campaign_id = %s AND contact_id = %s",
                    [status, chance.choice(FAULTS), status, campaign.pk, contact],
                )

    def add_up() -> None:
        for _ in range(60):
            tally.compact()

    changing = [in_thread(change, 1), in_thread(change, 2)]
    adding = [in_thread(add_up), in_thread(add_up)]
    while not all(one.done() for one in changing):
        found = selectors.tallied(campaign)
        assert sum(found.counts.values()) == len(contacts)
        assert all(number >= 0 for number in found.counts.values()), found.counts
    for one in [*changing, *adding]:
        one.result(timeout=60)
    check(campaign)
    tally.compact()
    check(campaign)


@pytest.mark.django_db
def test_adding_up_leaves_a_row_for_each_key(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    for _ in range(5):
        make_delivery(campaign, make_contact(workspace))
    campaign.deliveries.update(status="sent")
    campaign.deliveries.filter(contact_id__lt=0).update(status="failed")
    assert Tally.objects.filter(campaign=campaign).count() == 7
    assert tally.compact() == 6  # nothing is left of the queued ones
    assert list(Tally.objects.filter(campaign=campaign).values_list("status", "number")) == [
        ("sent", 5)
    ]
    assert tally.compact() == 0


@pytest.mark.django_db
def test_what_changes_after_the_end_is_added_up_too(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=Campaign.State.FINISHED)
    for _ in range(3):
        contact = make_contact(workspace)
        make_delivery(campaign, contact, status="sent")
        engagement.note_click(campaign.pk, contact.pk)
    assert tally.compact() == 6
    found = selectors.tallied(campaign)
    assert (found.counts["sent"], found.opens, found.clicks) == (3, 3, 3)


def node_types(plan: dict[str, object]) -> list[tuple[str, str]]:
    """(type, index or table) of each node of a plan."""
    found = [(str(plan["Node Type"]), str(plan.get("Index Name") or plan.get("Relation Name")))]
    for child in plan.get("Plans", []):  # type: ignore[attr-defined]
        found += node_types(child)
    return found


@pytest.mark.django_db
def test_what_is_polled_reads_the_same_few_pages_however_large_the_ledger(
    workspace: Workspace,
) -> None:
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status) "
            "SELECT %s, n, 'a@b.test', CASE WHEN n %% 20 = 0 THEN 'sent' ELSE 'queued' END "
            "FROM generate_series(1, 50000) AS n",
            [campaign.pk],
        )
        cursor.execute(
            "UPDATE campaigns_delivery SET status = 'handing_off', lease_until = now() "
            "WHERE campaign_id = %s AND contact_id <= 30",
            [campaign.pk],
        )
    tally.compact()
    statements: list[str] = []

    def explained(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        counts = selectors.status_counts(campaign)
    assert (counts["handing_off"], counts["sent"], counts["queued"]) == (30, 2499, 47471)
    assert len(statements) == 1
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statements[0], {"campaign": campaign.pk}
        )
        [[found]] = cursor.fetchall()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    scans = [name for kind, name in node_types(plan) if "Scan" in kind]
    assert not any(kind == "Seq Scan" and "delivery" in name for kind, name in node_types(plan))
    assert not any(name.endswith("pkey") for name in scans), scans
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300
