from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.accounts.models import Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch, ledger, monitoring, partitions
from apps.campaigns.services.ledger import Result
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.models import Contact, Suppression, Verdict
from apps.mailer.services import contacts
from core.errors import Conflict
from tests.support.concurrency import in_thread, wait_until_blocked
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

State = Campaign.State
Status = Delivery.Status
PAST = timedelta(hours=-1)


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())


def rows_of(campaign: Campaign, number: int, **fields: Any) -> list[Contact]:
    contacts_ = [make_contact(campaign.workspace) for _ in range(number)]
    for contact in contacts_:
        make_delivery(campaign, contact, **fields)
    return contacts_


def statuses(campaign: Campaign) -> dict[str, int]:
    return {status: n for status, n in selectors.status_counts(campaign).items() if n}


def row_of(campaign: Campaign, contact: Contact) -> Delivery:
    return Delivery.objects.get(campaign=campaign, contact=contact)


def held(campaign: Campaign, *, handed: bool = False, limit: int = 10) -> uuid.UUID:
    token = uuid.uuid4()
    assert ledger.claim(campaign.pk, token, limit)
    if handed:
        hand_off(campaign, token)
    return token


def hand_off(campaign: Campaign, token: uuid.UUID) -> set[int]:
    """Of all rows of the campaign: the ledger has to see for itself which the token holds."""
    rows = Delivery.objects.filter(campaign=campaign)
    return ledger.hand_off(campaign.pk, token, list(rows.values_list("contact_id", flat=True)))


def let_leases_end(campaign: Campaign) -> None:
    leased = Delivery.objects.filter(campaign=campaign, lease_until__isnull=False)
    leased.update(lease_until=timezone.now() + PAST)


def make_due(campaign: Campaign) -> None:
    Delivery.objects.filter(campaign=campaign, status=Status.DEFERRED).update(
        next_attempt_at=timezone.now() + PAST
    )


# The snapshot


def test_snapshot_takes_each_subscribed_contact_of_the_lists_once(workspace: Workspace) -> None:
    first, second, other = (make_list(workspace) for _ in range(3))
    campaign = make_campaign(workspace, first, second, state=State.PREPARING)
    both = make_contact(workspace, to=first)
    both.lists.add(second)
    alone = make_contact(workspace, to=second)
    make_contact(workspace, to=other)
    make_contact(workspace)
    for status in ("unsubscribed", "bounced", "complained"):
        make_contact(workspace, to=first, status=status)
    for verdict in ("risky", "invalid", "unknown", ""):
        make_contact(workspace, to=first, verdict=verdict)
    never = make_contact(workspace, to=first)
    Suppression.objects.create(workspace=workspace, email=never.email, reason="manual")
    assert ledger.snapshot(campaign.pk) == 2
    assert set(Delivery.objects.values_list("contact_id", "email", "status")) == {
        (both.pk, both.email, "queued"),
        (alone.pk, alone.email, "queued"),
    }


def test_snapshot_takes_the_chosen_verdicts(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    campaign = make_campaign(workspace, chosen, include_verdicts=["risky", "unknown"])
    expected = {make_contact(workspace, to=chosen, verdict=v).pk for v in ("risky", "unknown")}
    make_contact(workspace, to=chosen)
    ledger.snapshot(campaign.pk)
    assert set(Delivery.objects.values_list("contact_id", flat=True)) == expected


def test_snapshot_again_adds_only_what_is_missing_and_changes_nothing(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    campaign = make_campaign(workspace, chosen)
    contact = make_contact(workspace, to=chosen)
    assert ledger.snapshot(campaign.pk) == 1
    Delivery.objects.update(status=Status.SENT)
    assert ledger.snapshot(campaign.pk) == 0
    assert row_of(campaign, contact).status == Status.SENT


def test_snapshot_never_crosses_workspaces(workspace: Workspace) -> None:
    elsewhere = make_workspace()
    ours, theirs = make_list(workspace), make_list(elsewhere)
    contact = make_contact(workspace, "both@inbox.sandbox.test", to=ours)
    stranger = make_contact(elsewhere, "both@inbox.sandbox.test", to=theirs)
    # Even where a foreign list or member got in by a mistake.
    campaign = make_campaign(workspace, ours, theirs)
    stranger.lists.add(ours)
    # The other workspace's suppression is not ours.
    Suppression.objects.create(workspace=elsewhere, email=contact.email, reason="manual")
    assert ledger.snapshot(campaign.pk) == 1
    assert Delivery.objects.get().contact_id == contact.pk


@pytest.mark.parametrize("verdicts", [["valid"], ["valid", "risky"], []])
def test_the_audience_shown_is_the_audience_taken(workspace: Workspace, verdicts: Any) -> None:
    chosen = make_list(workspace)
    for status in Contact.Status.values:
        for verdict in (*Verdict.values, ""):
            make_contact(workspace, to=chosen, status=status, verdict=verdict)
    never = make_contact(workspace, to=chosen)
    Suppression.objects.create(workspace=workspace, email=never.email, reason="manual")
    campaign = make_campaign(workspace, chosen, include_verdicts=verdicts)
    shown = selectors.audience(workspace, list_ids=[chosen.pk], verdicts=verdicts)
    assert shown.total == Contact.objects.count()
    assert ledger.snapshot(campaign.pk) == shown.sendable


# Claims


def test_claim_takes_queued_rows_of_a_sending_campaign(campaign: Campaign) -> None:
    waiting = rows_of(campaign, 3)
    for status in Status.values:
        if status != Status.QUEUED:
            rows_of(campaign, 1, status=status)
    token = uuid.uuid4()
    assert {row.contact_id for row in ledger.claim(campaign.pk, token, 2)} <= {
        contact.pk for contact in waiting
    }
    assert len(ledger.claim(campaign.pk, token, 10)) == 1
    assert ledger.claim(campaign.pk, token, 10) == []
    row = row_of(campaign, waiting[0])
    assert (row.status, row.token) == ("claimed", token)
    assert row.lease_until is not None
    assert row.lease_until > timezone.now()


@pytest.mark.parametrize("state", [state for state in State.values if state != State.SENDING])
def test_claim_takes_nothing_in_any_other_state(workspace: Workspace, state: str) -> None:
    campaign = make_campaign(workspace, state=state)
    rows_of(campaign, 1)
    assert ledger.claim(campaign.pk, uuid.uuid4(), 10) == []


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_get_the_same_row(campaign: Campaign) -> None:
    rows_of(campaign, 120)
    start = threading.Barrier(4)

    def work() -> list[int]:
        start.wait()
        mine: list[int] = []
        while rows := ledger.claim(campaign.pk, uuid.uuid4(), 7):
            mine += [row.contact_id for row in rows]
        return mine

    workers = [in_thread(work) for _ in range(4)]
    claimed = [contact for worker in workers for contact in worker.result(timeout=20)]
    # Who finds all that is left locked by others gets nothing and stops: no row is lost.
    left = [row.contact_id for row in ledger.claim(campaign.pk, uuid.uuid4(), 1000)]
    assert len(claimed) + len(left) == 120
    assert len({*claimed, *left}) == 120


@pytest.mark.django_db(transaction=True)
def test_claim_passes_over_what_another_transaction_holds(campaign: Campaign) -> None:
    rows_of(campaign, 4)
    with transaction.atomic():
        mine = {row.contact_id for row in ledger.claim(campaign.pk, uuid.uuid4(), 2)}
        others = in_thread(ledger.claim, campaign.pk, uuid.uuid4(), 10).result(timeout=10)
    assert len(mine) == 2
    assert len(others) == 2
    assert mine.isdisjoint(row.contact_id for row in others)


# The last look


def test_hand_off_leaves_out_those_who_said_no_after_the_claim(campaign: Campaign) -> None:
    going, unsubscribed, suppressed, bounced, erased = rows_of(campaign, 5)
    token = held(campaign)
    contacts.unsubscribe(contact=unsubscribed, source="test")
    Suppression.objects.create(
        workspace=campaign.workspace, email=suppressed.email, reason="manual"
    )
    Contact.objects.filter(pk=bounced.pk).update(status="bounced")
    erased_id = erased.pk
    erased.delete()
    assert hand_off(campaign, token) == {going.pk}
    assert statuses(campaign) == {"handing_off": 1, "suppressed": 4}
    gone = Delivery.objects.get(campaign=campaign, contact_id=erased_id)
    assert (gone.token, gone.lease_until, gone.attempts) == (None, None, 0)
    assert row_of(campaign, going).attempts == 1


def test_hand_off_does_not_heed_another_workspace(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    Suppression.objects.create(workspace=make_workspace(), email=contact.email, reason="manual")
    assert hand_off(campaign, token) == {contact.pk}


def test_pause_between_claim_and_hand_off_gives_the_rows_back(campaign: Campaign) -> None:
    rows_of(campaign, 2)
    token = held(campaign)
    launch.pause_campaign(campaign=campaign)
    assert hand_off(campaign, token) == set()
    assert statuses(campaign) == {"queued": 2}
    launch.resume_campaign(campaign=campaign)
    assert len(ledger.claim(campaign.pk, uuid.uuid4(), 10)) == 2


def test_cancel_ends_waiting_and_claimed_rows_but_not_those_on_their_way(
    campaign: Campaign,
) -> None:
    (on_its_way,) = rows_of(campaign, 1)
    handing = held(campaign, handed=True)
    rows_of(campaign, 2)
    claimed = held(campaign)
    rows_of(campaign, 2)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=timezone.now())
    rows_of(campaign, 1, status=Status.SENT)
    launch.cancel_campaign(campaign=campaign)
    assert campaign.state == State.CANCELLING
    assert hand_off(campaign, claimed) == set()
    assert not ledger.finish(campaign.pk)
    ledger.settle(campaign.pk, handing, [Result(on_its_way.pk, Status.SENT, "body", 250, "ok")])
    assert ledger.finish(campaign.pk)
    assert statuses(campaign) == {"sent": 2, "cancelled": 5}
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED


def test_hand_off_after_the_lease_was_taken_away_hands_nothing_off(campaign: Campaign) -> None:
    rows_of(campaign, 1)
    token = held(campaign)
    let_leases_end(campaign)
    assert ledger.expire_leases() == 1
    held(campaign)
    assert hand_off(campaign, token) == set()
    assert statuses(campaign) == {"claimed": 1}


# Leases


def test_expired_claims_are_queued_and_expired_hand_offs_unknown(campaign: Campaign) -> None:
    (handed,) = rows_of(campaign, 1, stage="rcpt", code=451, reply="busy")
    token = held(campaign, handed=True)
    (claimed,) = rows_of(campaign, 1)
    held(campaign)
    assert ledger.expire_leases() == 0
    let_leases_end(campaign)
    assert ledger.expire_leases() == 2
    assert ledger.expire_leases() == 0
    row = row_of(campaign, claimed)
    assert (row.status, row.token, row.lease_until) == ("queued", None, None)
    row = row_of(campaign, handed)
    assert (row.status, row.token, row.lease_until) == ("unknown", token, None)
    # What an earlier attempt was told is not the answer to this one.
    assert (row.stage, row.code) == ("", None)
    assert "died" in row.reply


def test_renewed_leases_do_not_expire(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign, handed=True)
    let_leases_end(campaign)
    ledger.renew(campaign.pk, token, [contact.pk])
    assert ledger.expire_leases() == 0


def test_an_unknown_row_is_not_sent_again_by_itself(campaign: Campaign) -> None:
    rows_of(campaign, 1)
    held(campaign, handed=True)
    let_leases_end(campaign)
    monitoring.sweep()
    assert ledger.claim(campaign.pk, uuid.uuid4(), 10) == []
    assert statuses(campaign) == {"unknown": 1}
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


@pytest.mark.django_db(transaction=True)
def test_expiry_passes_over_rows_that_are_being_settled(campaign: Campaign) -> None:
    """Else two statements that lock the same rows in two orders would end in a deadlock."""
    (contact,) = rows_of(campaign, 1)
    token = held(campaign, handed=True)
    let_leases_end(campaign)
    with transaction.atomic():
        ledger.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
        assert in_thread(ledger.expire_leases).result(timeout=10) == 0
    assert statuses(campaign) == {"sent": 1}


# Answers


def test_settle_writes_the_servers_words(campaign: Campaign) -> None:
    sent, failed, deferred = rows_of(campaign, 3)
    token = held(campaign, handed=True)
    due = timezone.now() + timedelta(minutes=5)
    ledger.settle(
        campaign.pk,
        token,
        [
            Result(sent.pk, Status.SENT, "body", 250, "2.0.0 ok"),
            Result(failed.pk, Status.FAILED, "rcpt", 550, "5.1.1 нет\0" + "x" * 3000),
            Result(deferred.pk, Status.DEFERRED, "rcpt", 451, "later", due),
        ],
    )
    row = row_of(campaign, failed)
    assert (row.status, row.stage, row.code) == ("failed", "rcpt", 550)
    assert row.reply.startswith("5.1.1 нетx")
    assert len(row.reply) <= 2000
    row = row_of(campaign, deferred)
    assert (row.status, row.next_attempt_at, row.attempts) == ("deferred", due, 1)
    assert not Delivery.objects.exclude(token=None, lease_until=None).exists()


def test_a_turn_that_did_not_come_is_no_attempt(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1, attempts=3)
    token = held(campaign, handed=True)
    ledger.settle(
        campaign.pk,
        token,
        [Result(contact.pk, Status.DEFERRED, next_attempt_at=timezone.now() + PAST)],
    )
    assert ledger.queue_due(campaign.pk) == 1
    assert [row.attempts for row in ledger.claim(campaign.pk, uuid.uuid4(), 10)] == [3]


def test_a_late_answer_settles_a_row_given_up(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign, handed=True)
    let_leases_end(campaign)
    monitoring.sweep()
    ledger.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
    assert row_of(campaign, contact).status == Status.SENT


def test_a_late_deferral_opens_the_finished_campaign_again(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign, handed=True)
    let_leases_end(campaign)
    monitoring.sweep()
    late = Result(contact.pk, Status.DEFERRED, "rcpt", 451, "later", timezone.now() + PAST)
    ledger.settle(campaign.pk, token, [late])
    monitoring.sweep()
    campaign.refresh_from_db()
    assert (campaign.state, campaign.finished_at) == (State.SENDING, None)
    assert len(ledger.claim(campaign.pk, uuid.uuid4(), 10)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_tried_again_in_a_cancelled_campaign(campaign: Campaign, when: str) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign, handed=True)
    later = Result(contact.pk, Status.DEFERRED, "rcpt", 451, "later", timezone.now())
    if when == "after":
        ledger.settle(campaign.pk, token, [later])
    launch.cancel_campaign(campaign=campaign)
    if when == "before":
        ledger.settle(campaign.pk, token, [later])
    monitoring.sweep()
    assert statuses(campaign) == {"cancelled": 1}
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED


def test_a_deferred_row_that_outlived_the_cancellation_ends_when_it_is_due(
    workspace: Workspace,
) -> None:
    campaign = make_campaign(workspace, state=State.CANCELLED)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=timezone.now() + PAST)
    ledger.queue_due()
    assert statuses(campaign) == {"cancelled": 1}


def test_an_answer_under_a_stale_token_changes_nothing_and_is_logged(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    (contact,) = rows_of(campaign, 1)
    stale = held(campaign, handed=True)
    let_leases_end(campaign)
    ledger.expire_leases()
    assert ledger.queue_again(campaign.pk, contact.pk)
    fresh = held(campaign, handed=True)
    with caplog.at_level(logging.ERROR):
        ledger.settle(campaign.pk, stale, [Result(contact.pk, Status.FAILED, "rcpt", 550, "no")])
    assert "1 of 1 results found no row" in caplog.text
    row = row_of(campaign, contact)
    assert (row.status, row.token) == ("handing_off", fresh)


def test_tokens_hold_in_their_own_campaign_only(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    other = make_campaign(campaign.workspace, state=State.SENDING)
    make_delivery(other, contact)
    token = held(campaign, handed=True)
    ledger.settle(other.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
    assert statuses(other) == {"queued": 1}
    assert statuses(campaign) == {"handing_off": 1}


# Waiting rows


def test_due_rows_are_queued(campaign: Campaign) -> None:
    now = timezone.now()
    rows_of(campaign, 2, status=Status.DEFERRED, next_attempt_at=now + PAST)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=now - PAST)
    assert ledger.queue_due(campaign.pk + 1) == 0
    assert ledger.queue_due(campaign.pk) == 2
    assert ledger.queue_due() == 0
    assert statuses(campaign) == {"queued": 2, "deferred": 1}


def test_suppression_reaches_waiting_rows_of_that_person_alone(campaign: Campaign) -> None:
    workspace = campaign.workspace
    elsewhere = make_workspace()
    anna = make_contact(workspace, "anna@inbox.sandbox.test")
    boris = make_contact(workspace)
    namesake = make_contact(elsewhere, anna.email)
    paused = make_campaign(workspace, state=State.PAUSED)
    over = make_campaign(workspace, state=State.FINISHED)
    theirs = make_campaign(elsewhere, state=State.SENDING)
    make_delivery(campaign, anna)
    make_delivery(campaign, boris)
    make_delivery(paused, anna, status=Status.DEFERRED, next_attempt_at=timezone.now())
    make_delivery(over, anna, status=Status.SENT)
    make_delivery(theirs, namesake)
    assert ledger.suppress_waiting(workspace.pk, anna.email) == 2
    assert statuses(campaign) == {"suppressed": 1, "queued": 1}
    assert statuses(paused) == {"suppressed": 1}
    assert statuses(over) == {"sent": 1}
    assert statuses(theirs) == {"queued": 1}


@pytest.mark.parametrize("status", Status.values)
def test_a_campaign_finishes_only_when_every_row_is_final(campaign: Campaign, status: str) -> None:
    rows_of(campaign, 1, status=Status.SENT)
    rows_of(campaign, 1, status=status)
    assert ledger.finish(campaign.pk) is (status not in Delivery.IN_MOTION)
    assert not ledger.finish(campaign.pk)
    campaign.refresh_from_db()
    assert (campaign.finished_at is not None) is (campaign.state == State.FINISHED)


@pytest.mark.parametrize("state", ["draft", "preparing", "paused", "cancelled", "finished"])
def test_only_what_is_sent_or_cancelled_finishes(workspace: Workspace, state: str) -> None:
    assert not ledger.finish(make_campaign(workspace, state=state).pk)


@pytest.mark.django_db(transaction=True)
def test_a_campaign_does_not_finish_under_a_retry(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1, status=Status.FAILED)
    with transaction.atomic():
        retry_delivery(campaign=campaign, contact_id=contact.pk)
        finishing = in_thread(ledger.finish, campaign.pk)
        wait_until_blocked()
    assert finishing.result(timeout=10) is False
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING
    assert statuses(campaign) == {"queued": 1}


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
        token = held(campaign, handed=True)
        ledger.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
        assert ledger.finish(campaign.pk)
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
        assert len(cursor.fetchall()) == 5
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
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "campaigns_delivery" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        call(*args)
    return plans[-1]


def insert_rows(campaign: Campaign, number: int, status: str) -> None:
    """`status`: an SQL expression over the contact id n."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_delivery (campaign_id, contact_id, email, status, "
            f"next_attempt_at, lease_until) SELECT {campaign.pk}, n, 'a@b.test', {status}, "
            f"now(), now() FROM generate_series(1, {number}) n"
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
            "CASE n % 200 WHEN 0 THEN 'deferred' WHEN 1 THEN 'claimed' "
            "ELSE CASE WHEN n < 5000 THEN 'sent' ELSE 'queued' END END",
        )
        if statistics == "fresh":
            cursor.execute("ANALYZE campaigns_delivery")
    token = uuid.uuid4()
    plan = plan_of(ledger.claim, campaign.pk, token, 50)
    # The partial index of the queued rows has the order of the claim.
    assert "using campaigns_delivery_p3000_campaign_id_contact_id_idx" in plan, plan
    assert "Sort" not in plan, plan
    ids = list(range(5002, 5052))
    results = [Result(number, Status.SENT, "body", 250, "ok") for number in ids]
    held_rows: list[tuple[Any, tuple[Any, ...]]] = [
        (ledger.claim, (campaign.pk, token, 50)),
        (ledger.hand_off, (campaign.pk, token, ids)),
        (ledger.renew, (campaign.pk, token, ids)),
        (ledger.settle, (campaign.pk, token, results)),
    ]
    for call, args in held_rows:
        plan = plan_of(call, *args)
        assert "Seq Scan on campaigns_delivery_p3000" not in plan, plan
        # By the whole key or among the leased rows, but never through all of the campaign.
        walks = plan.count("Index Cond: (campaign_id = 3001)\n")
        assert walks == (1 if call is ledger.claim else 0), plan
    due_work: list[tuple[Any, tuple[Any, ...]]] = [
        (ledger.expire_leases, ()),
        (ledger.queue_due, ()),
        (ledger.finish, (campaign.pk,)),
        (monitoring.sweep, ()),
    ]
    for call, args in due_work:
        plan = plan_of(call, *args)
        assert "Seq Scan on campaigns_delivery_p3000" not in plan, plan


# All of it together


class Worker:
    """A process that holds at most one group; a dead one may still come back late."""

    def __init__(self) -> None:
        self.token: uuid.UUID | None = None
        self.claimed: set[int] = set()
        self.handed: set[int] = set()

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]


class LedgerMachine(RuleBasedStateMachine):
    """Two workers, a sweeper and people, in any order, against the real database.

    `reached` counts by contact the letters that may have reached the server; `asked` how often a
    person asked for another.
    """

    campaign: Campaign
    contacts: list[Contact]
    workers = st.integers(0, 1)
    people = st.integers(0, 4)

    def __init__(self) -> None:
        super().__init__()
        self.pair = [Worker(), Worker()]
        self.reached: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.said_no: set[int] = set()
        Suppression.objects.all().delete()
        Contact.objects.update(status=Contact.Status.SUBSCRIBED)
        Delivery.objects.all().delete()
        Campaign.objects.update(state=State.SENDING, finished_at=None)
        for contact in self.contacts:
            make_delivery(self.campaign, contact)

    @property
    def state(self) -> str:
        return Campaign.objects.values_list("state", flat=True).get()

    @rule(number=workers)
    def claim(self, number: int) -> None:
        worker = self.pair[number]
        if worker.token is None:
            token = uuid.uuid4()
            worker.claimed = {row.contact_id for row in ledger.claim(self.campaign.pk, token, 2)}
            worker.token = token if worker.claimed else None

    @rule(number=workers)
    def hand_off(self, number: int) -> None:
        worker = self.pair[number]
        if worker.token:
            going = hand_off(self.campaign, worker.token)
            assert going <= worker.claimed
            assert not going & self.said_no
            assert not going or self.state == State.SENDING
            worker.claimed = set()
            worker.handed |= going
            self.reached.update(going)
            if not worker.handed:
                worker.forget()

    @rule(number=workers)
    def take(self, number: int) -> None:
        self.claim(number)
        self.hand_off(number)

    @rule(number=workers, status=st.sampled_from(["sent", "deferred", "failed", "unknown"]))
    def settle(self, number: int, status: str) -> None:
        worker = self.pair[number]
        if worker.token and worker.handed:
            due = timezone.now() + PAST if status == "deferred" else None
            results = [Result(contact, status, "body", 0, "", due) for contact in worker.handed]
            ledger.settle(self.campaign.pk, worker.token, results)
            if status in ("deferred", "failed"):  # the server surely has not got them
                self.reached.subtract(worker.handed)
            worker.forget()

    @rule(number=workers)
    def stall(self, number: int) -> None:
        """Its leases end. It does not know it yet."""
        Delivery.objects.filter(token=self.pair[number].token, lease_until__isnull=False).update(
            lease_until=timezone.now() + PAST
        )

    @rule(number=workers)
    def die(self, number: int) -> None:
        self.stall(number)
        self.pair[number].forget()

    @rule()
    def sweep(self) -> None:
        monitoring.sweep()

    @rule()
    def finish(self) -> None:
        ledger.finish(self.campaign.pk)

    @rule(number=people)
    def say_no(self, number: int) -> None:
        contact = self.contacts[number]
        contacts.unsubscribe(contact=contact, source="test")
        ledger.suppress_waiting(self.campaign.workspace_id, contact.email)
        self.said_no.add(contact.pk)

    @rule(number=people)
    def retry(self, number: int) -> None:
        contact = self.contacts[number]
        try:
            retry_delivery(campaign=self.campaign, contact_id=contact.pk)
        except Conflict:
            return
        self.asked[contact.pk] += 1

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        before, after = (State.SENDING, State.PAUSED) if paused else (State.PAUSED, State.SENDING)
        Campaign.objects.filter(state=before).update(state=after)

    @precondition(lambda self: sum(self.reached.values()) > 1)
    @rule()
    def cancel(self) -> None:
        try:
            launch.cancel_campaign(campaign=self.campaign)
        except Conflict:
            assert self.state in {State.CANCELLING, State.CANCELLED, State.FINISHED}

    @invariant()
    def no_row_is_lost(self) -> None:
        found = Delivery.objects.values_list("contact_id", flat=True)
        assert sorted(found) == sorted(contact.pk for contact in self.contacts)

    @invariant()
    def nobody_gets_a_second_letter_unasked(self) -> None:
        for contact in self.contacts:
            assert self.reached[contact.pk] <= 1 + self.asked[contact.pk]

    @invariant()
    def nobody_holds_what_waits_or_is_over(self) -> None:
        loose = Delivery.objects.exclude(status__in=["claimed", "handing_off", "unknown"])
        assert not loose.exclude(token=None).exists()
        assert not loose.exclude(lease_until=None).exists()

    def teardown(self) -> None:
        """Whatever happened, the campaign comes to its end once people let it."""
        self.pause_or_resume(paused=False)
        for number in (0, 1):
            self.settle(number, "sent")
            self.die(number)
        for _round in range(len(self.contacts) + 1):
            monitoring.sweep()
            self.claim(0)
            self.hand_off(0)
            self.settle(0, "sent")
        monitoring.sweep()
        assert self.state in {State.FINISHED, State.CANCELLED}
        self.no_row_is_lost()
        self.nobody_gets_a_second_letter_unasked()
        assert not Delivery.objects.exclude(status__in=selectors.FINAL).exists()
        for row in Delivery.objects.filter(status=Status.SENT):
            assert self.reached[row.contact_id] >= 1


def test_ledger_in_any_order_of_events(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)

    class Machine(LedgerMachine):
        campaign = make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())
        contacts = [make_contact(workspace) for _ in range(5)]  # noqa: RUF012

    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes here
            suppress_health_check=list(HealthCheck),
        ),
    )
