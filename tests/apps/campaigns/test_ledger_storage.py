from __future__ import annotations

import threading
import uuid
from typing import Any
from unittest import mock

import pytest
from django.db import connection

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import monitoring, partitions
from apps.campaigns.services.ledger import claims, endings, leases, plans, queueing, results
from apps.campaigns.services.ledger.results import Result
from mailkit.providers import OTHER
from tests.apps.campaigns.rows import (
    held,
)
from tests.support.concurrency import in_thread
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
)

State = Campaign.State
Status = Delivery.Status


# Partitions and indexes


def test_partitions_are_made_ahead(workspace: Workspace) -> None:
    for number in (1000, 1999, 2000, 7531):
        campaign = Campaign.objects.create(
            workspace=workspace, id=number, name="Far", state=State.SENDING
        )
        made = partitions.ensure_partition(campaign.pk)
        assert made is (number != 1999)
        assert not partitions.ensure_partition(campaign.pk)
        contact = make_contact(workspace)
        make_delivery(campaign, contact)
        token = held(campaign)
        results.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
        assert endings.finish(campaign.pk)
    assert partitions.ensure_next_partitions() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM campaigns_delivery ORDER BY 1")
        assert [name for (name,) in cursor.fetchall()] == [
            "campaigns_delivery_p1000",
            "campaigns_delivery_p1000",
            "campaigns_delivery_p2000",
            "campaigns_delivery_p7000",
        ]
        # What the parent has, the partition has too.
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'campaigns_delivery_p2000'"
        )
        assert len(cursor.fetchall()) == 11
        cursor.execute(
            "SELECT count(*) FROM pg_constraint "
            "WHERE conrelid = 'campaigns_delivery_p2000'::regclass AND contype = 'c'"
        )
        assert cursor.fetchone()[0] == 2


@pytest.mark.django_db(transaction=True)
def test_a_partition_made_twice_at_once_is_made_once() -> None:
    start = threading.Barrier(3)

    def make() -> bool:
        start.wait()
        return partitions.ensure_partition(50_000)

    makers = [in_thread(make) for _ in range(3)]
    try:
        assert sorted(maker.result(timeout=20) for maker in makers) == [False, False, True]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS campaigns_delivery_p50000")


def plan_of(call: Any, *args: Any) -> str:
    """How the database goes about the last statement of a ledger function."""
    found: list[str] = []

    def explain(sql: str, params: Any) -> None:
        if "campaigns_delivery" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                found.append("\n".join(line for (line,) in cursor.fetchall()))

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        explain(sql, params)
        return run(sql, params, many, context)

    class Explained(plans._Prepared):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            explain(query, params)
            return super().execute(query, params, **options)

    with (
        connection.execute_wrapper(execute),
        mock.patch.object(plans, "_Prepared", Explained),
    ):
        call(*args)
    return found[-1]


def insert_rows(campaign: Campaign, number: int, status: str) -> None:
    """`status`: an SQL expression over the contact id n."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status, "
            "next_attempt_at, lease_until) SELECT campaign, n, email, status, now(), "
            "CASE status WHEN 'handing_off' THEN now() END "
            f"FROM (SELECT {campaign.pk} AS campaign, n, 'a@b.test' AS email, {status} AS status "
            f"FROM generate_series(1, {number}) n) AS rows"
        )


@pytest.mark.parametrize("statistics", ["none", "stale", "fresh"])
def test_rows_are_found_by_indexes_whatever_the_statistics_say(
    workspace: Workspace, statistics: str
) -> None:
    earlier = make_campaign(workspace, id=3000, state=State.FINISHED)
    campaign = make_campaign(workspace, id=3001, state=State.SENDING)
    partitions.ensure_partition(campaign.pk)
    with connection.cursor() as cursor:
        if statistics != "none":
            insert_rows(earlier, 10_000, "'sent'")
            cursor.execute("ANALYZE campaigns_delivery")
        insert_rows(
            campaign,
            20_000,
            "CASE n % 200 WHEN 0 THEN 'deferred' WHEN 1 THEN 'handing_off' "
            "ELSE CASE WHEN n < 5000 THEN 'sent' ELSE 'queued' END END",
        )
        if statistics == "fresh":
            cursor.execute("ANALYZE campaigns_delivery")
    token = uuid.uuid4()
    plan = plan_of(claims.claim, campaign.pk, OTHER, 50)
    # The partial index of the queued rows has the order of the claim.
    assert "using campaigns_delivery_p3000_campaign_id_provider_contact_id_idx" in plan, plan
    assert "Sort" not in plan, plan
    ids = list(range(5002, 5052))
    told = [Result(number, Status.SENT, "body", 250, "ok") for number in ids]
    held_rows: list[tuple[Any, tuple[Any, ...]]] = [
        (claims.claim, (campaign.pk, OTHER, 50)),
        (claims.hand_off, (campaign.pk, token, ids)),
        (leases.renew, (campaign.pk, token, ids)),
        (results.settle, (campaign.pk, token, told)),
    ]
    for call, args in held_rows:
        plan = plan_of(call, *args)
        assert "Seq Scan on campaigns_delivery_p3000" not in plan, plan
        # By the whole key or among the leased rows, but never through all of the campaign.
        assert "Index Cond: (campaign_id = 3001)\n" not in plan, plan
    due_work: list[tuple[Any, tuple[Any, ...]]] = [
        (leases.expire_leases, ()),
        (queueing.queue_due, ()),
        (monitoring.sweep, ()),
    ]
    for call, args in due_work:
        plan = plan_of(call, *args)
        assert "Seq Scan on campaigns_delivery_p3000" not in plan, plan


def test_whether_a_campaign_is_over_costs_the_same_however_large_it_is(
    workspace: Workspace, django_assert_num_queries: Any
) -> None:
    campaign = make_campaign(workspace, id=3001, state=State.SENDING)
    partitions.ensure_partition(campaign.pk)
    insert_rows(campaign, 100, "CASE n WHEN 7 THEN 'handing_off' ELSE 'sent' END")
    with django_assert_num_queries(4) as captured:  # the savepoint's two, the lock, the answer
        assert not endings.finish(campaign.pk)
    assert not [query for query in captured if "campaigns_delivery" in query["sql"]]
    token = uuid.uuid4()
    assert Delivery.objects.filter(campaign=campaign, contact=7).update(token=token)
    results.settle(campaign.pk, token, [Result(7, Status.SENT, "body", 250, "ok")])
    assert endings.finish(campaign.pk)
