from __future__ import annotations

import logging
import threading
import uuid
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch, monitoring
from apps.campaigns.services.ledger import claims, endings, leases, queueing, results
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.models import Contact, ListMember, Suppression
from apps.mailer.services import contacts
from mailkit.providers import OTHER
from tests.apps.campaigns.rows import (
    PAST,
    claim,
    hand_off,
    held,
    let_leases_end,
    row_of,
    rows_of,
    statuses,
)
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


# Claims


def test_claim_takes_queued_rows_of_a_sending_campaign(campaign: Campaign) -> None:
    waiting = {contact.pk for contact in rows_of(campaign, 3)}
    for status in Status.values:
        if status != Status.QUEUED:
            rows_of(campaign, 1, status=status)
    with transaction.atomic():
        first = {row.contact_id for row in claims.claim(campaign.pk, OTHER, 2)}
        assert len(first) == 2
        assert first <= waiting
    assert set(claim(campaign)) == waiting  # they were not handed off
    token = uuid.uuid4()
    assert hand_off(campaign, token) == waiting
    assert claim(campaign) == []
    row = Delivery.objects.filter(campaign=campaign, token=token).first()
    assert row is not None
    assert row.status == Status.HANDING_OFF
    assert row.lease_until is not None
    assert row.lease_until > timezone.now()


@pytest.mark.parametrize("state", [state for state in State.values if state != State.SENDING])
def test_claim_takes_nothing_in_any_other_state(workspace: Workspace, state: str) -> None:
    campaign = make_campaign(workspace, state=state)
    rows_of(campaign, 1)
    assert claim(campaign) == []


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_get_the_same_row(campaign: Campaign) -> None:
    rows_of(campaign, 120)
    start = threading.Barrier(4)

    def work() -> list[int]:
        start.wait()
        mine: list[int] = []
        while rows := hand_off(campaign, uuid.uuid4(), limit=7):
            mine += rows
        return mine

    workers = [in_thread(work) for _ in range(4)]
    claimed = [contact for worker in workers for contact in worker.result(timeout=20)]
    # Who finds all that is left locked by others gets nothing and stops: no row is lost.
    left = claim(campaign, 1000)
    assert len(claimed) + len(left) == 120
    assert len({*claimed, *left}) == 120


@pytest.mark.django_db(transaction=True)
def test_claim_passes_over_what_another_transaction_holds(campaign: Campaign) -> None:
    rows_of(campaign, 4)
    with transaction.atomic():
        mine = {row.contact_id for row in claims.claim(campaign.pk, OTHER, 2)}
        others = in_thread(claim, campaign).result(timeout=10)
    assert len(mine) == 2
    assert len(others) == 2
    assert mine.isdisjoint(others)


# The last look


def test_hand_off_leaves_out_those_who_said_no_after_the_claim(campaign: Campaign) -> None:
    going, unsubscribed, suppressed, bounced, erased = rows_of(campaign, 5)
    erased_id = erased.pk

    def say_no() -> None:
        contacts.unsubscribe(contact=unsubscribed, source="test")
        Suppression.objects.create(
            workspace=campaign.workspace, email=suppressed.email, reason="manual"
        )
        Contact.objects.filter(pk=bounced.pk).update(status="bounced")
        erased.delete()

    assert hand_off(campaign, uuid.uuid4(), meanwhile=say_no) == {going.pk}
    assert statuses(campaign) == {"handing_off": 1, "suppressed": 4}
    gone = Delivery.objects.get(campaign=campaign, contact_id=erased_id)
    assert (gone.token, gone.lease_until, gone.attempts) == (None, None, 0)
    assert row_of(campaign, going).attempts == 1


@pytest.mark.django_db(transaction=True)
def test_a_no_that_comes_during_the_last_look_counts_for_what_is_not_handed_off(
    campaign: Campaign,
) -> None:
    """Who ends the waiting rows waits for the claim: it never writes over a hand-off."""
    (contact,) = rows_of(campaign, 1)
    with transaction.atomic():
        assert claims.claim(campaign.pk, OTHER, 10)
        suppressing = in_thread(endings.suppress_waiting, campaign.workspace_id, contact.email)
        wait_until_blocked()
        assert claims.hand_off(campaign.pk, uuid.uuid4(), [contact.pk]) == {contact.pk}
    assert suppressing.result(timeout=10) == 0
    assert statuses(campaign) == {"handing_off": 1}


def test_hand_off_does_not_heed_another_workspace(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    Suppression.objects.create(workspace=make_workspace(), email=contact.email, reason="manual")
    assert hand_off(campaign, uuid.uuid4()) == {contact.pk}


def test_pause_between_claim_and_hand_off_leaves_the_rows_queued(campaign: Campaign) -> None:
    rows_of(campaign, 2)
    pause = partial(launch.pause_campaign, campaign=campaign)
    assert hand_off(campaign, uuid.uuid4(), meanwhile=pause) == set()
    assert statuses(campaign) == {"queued": 2}
    launch.resume_campaign(campaign=campaign)
    assert len(claim(campaign)) == 2


@pytest.mark.django_db(transaction=True)
def test_cancel_ends_waiting_and_claimed_rows_but_not_those_on_their_way(
    campaign: Campaign,
) -> None:
    (on_its_way,) = rows_of(campaign, 1)
    handing = held(campaign)
    rows_of(campaign, 4)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=timezone.now())
    rows_of(campaign, 1, status=Status.SENT)
    with transaction.atomic():
        rows = claims.claim(campaign.pk, OTHER, 2)
        cancelling = in_thread(launch.cancel_campaign, campaign=campaign)
        wait_until_blocked()
        contact_ids = [row.contact_id for row in rows]
        assert claims.hand_off(campaign.pk, uuid.uuid4(), contact_ids) == set()
    cancelling.result(timeout=10)
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLING
    assert not endings.finish(campaign.pk)
    results.settle(campaign.pk, handing, [Result(on_its_way.pk, Status.SENT, "body", 250, "ok")])
    assert endings.finish(campaign.pk)
    assert statuses(campaign) == {"sent": 2, "cancelled": 5}
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED


# Leases


def test_expired_hand_offs_are_unknown(campaign: Campaign) -> None:
    (handed,) = rows_of(campaign, 1, stage="rcpt", code=451)
    token = held(campaign)
    assert leases.expire_leases() == 0
    let_leases_end(campaign)
    assert leases.expire_leases() == 1
    row = row_of(campaign, handed)
    assert (row.status, row.token, row.lease_until) == ("unknown", token, None)
    # What an earlier attempt was told is not the answer to this one.
    assert (row.stage, row.code) == ("", None)
    assert "died" in row.reply


def test_leases_of_many_processes_end_at_once(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "EXPIRED_AT_ONCE", 3)
    rows_of(campaign, 7)
    held(campaign)
    let_leases_end(campaign)
    assert leases.expire_leases() == 7
    assert statuses(campaign) == {"unknown": 7}


def test_renewed_leases_do_not_expire(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    let_leases_end(campaign)
    leases.renew(campaign.pk, token, [contact.pk])
    assert leases.expire_leases() == 0


def test_an_unknown_row_is_not_sent_again_by_itself(campaign: Campaign) -> None:
    rows_of(campaign, 1)
    held(campaign)
    let_leases_end(campaign)
    monitoring.sweep()
    assert claim(campaign) == []
    assert statuses(campaign) == {"unknown": 1}
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


@pytest.mark.django_db(transaction=True)
def test_expiry_passes_over_rows_that_are_being_settled(campaign: Campaign) -> None:
    """Else two statements that lock the same rows in two orders would end in a deadlock."""
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    let_leases_end(campaign)
    with transaction.atomic():
        results.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
        assert in_thread(leases.expire_leases).result(timeout=10) == 0
    assert statuses(campaign) == {"sent": 1}


# Answers


def test_settle_writes_the_servers_words(campaign: Campaign) -> None:
    sent, failed, deferred = rows_of(campaign, 3)
    token = held(campaign)
    due = timezone.now() + timedelta(minutes=5)
    results.settle(
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
    token = held(campaign)
    results.settle(
        campaign.pk,
        token,
        [Result(contact.pk, Status.DEFERRED, next_attempt_at=timezone.now() + PAST)],
    )
    assert queueing.queue_due(campaign.pk) == 1
    assert row_of(campaign, contact).attempts == 3
    assert claim(campaign) == [contact.pk]


def test_a_late_answer_settles_a_row_given_up(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    let_leases_end(campaign)
    monitoring.sweep()
    results.settle(campaign.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
    assert row_of(campaign, contact).status == Status.SENT


def test_a_late_deferral_opens_the_finished_campaign_again(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    let_leases_end(campaign)
    monitoring.sweep()
    late = Result(contact.pk, Status.DEFERRED, "rcpt", 451, "later", timezone.now() + PAST)
    results.settle(campaign.pk, token, [late])
    monitoring.sweep()
    campaign.refresh_from_db()
    assert (campaign.state, campaign.finished_at) == (State.SENDING, None)
    assert len(claim(campaign)) == 1


def test_nothing_is_tried_again_for_who_left_the_list_meanwhile(workspace: Workspace) -> None:
    news, offers = make_list(workspace), make_list(workspace)
    campaign = make_campaign(workspace, news, offers, state=State.SENDING)
    gone, stays = rows_of(campaign, 2)
    ListMember.objects.create(list=offers, contact=stays)
    token = held(campaign)
    later = partial(Result, status=Status.DEFERRED, next_attempt_at=timezone.now() + PAST)
    results.settle(campaign.pk, token, [later(gone.pk), later(stays.pk)])
    monitoring.sweep()
    assert (row_of(campaign, gone).status, row_of(campaign, gone).fault) == (
        Status.SUPPRESSED,
        "left_list",
    )
    assert claim(campaign) == [stays.pk]


def test_a_late_deferral_of_who_left_the_list_opens_no_campaign(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, make_list(workspace), state=State.FINISHED)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=timezone.now() + PAST)
    assert queueing.queue_due() == 1
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert statuses(campaign) == {"suppressed": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_tried_again_in_a_cancelled_campaign(campaign: Campaign, when: str) -> None:
    (contact,) = rows_of(campaign, 1)
    token = held(campaign)
    later = Result(contact.pk, Status.DEFERRED, "rcpt", 451, "later", timezone.now())
    if when == "after":
        results.settle(campaign.pk, token, [later])
    launch.cancel_campaign(campaign=campaign)
    if when == "before":
        results.settle(campaign.pk, token, [later])
    monitoring.sweep()
    assert statuses(campaign) == {"cancelled": 1}
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED


def test_a_deferred_row_that_outlived_the_cancellation_ends_when_it_is_due(
    workspace: Workspace,
) -> None:
    campaign = make_campaign(workspace, state=State.CANCELLED)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=timezone.now() + PAST)
    queueing.queue_due()
    assert statuses(campaign) == {"cancelled": 1}


def test_an_answer_under_a_stale_token_changes_nothing_and_is_logged(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    (contact,) = rows_of(campaign, 1)
    stale = held(campaign)
    let_leases_end(campaign)
    leases.expire_leases()
    assert queueing.queue_again(campaign.pk, contact.pk)
    fresh = held(campaign)
    with caplog.at_level(logging.ERROR):
        results.settle(campaign.pk, stale, [Result(contact.pk, Status.FAILED, "rcpt", 550, "no")])
    assert "1 of 1 results found no row" in caplog.text
    row = row_of(campaign, contact)
    assert (row.status, row.token) == ("handing_off", fresh)


def test_tokens_hold_in_their_own_campaign_only(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1)
    other = make_campaign(campaign.workspace, state=State.SENDING)
    make_delivery(other, contact)
    token = held(campaign)
    results.settle(other.pk, token, [Result(contact.pk, Status.SENT, "body", 250, "ok")])
    assert statuses(other) == {"queued": 1}
    assert statuses(campaign) == {"handing_off": 1}


# Waiting rows


def test_due_rows_are_queued(campaign: Campaign) -> None:
    now = timezone.now()
    rows_of(campaign, 2, status=Status.DEFERRED, next_attempt_at=now + PAST)
    rows_of(campaign, 1, status=Status.DEFERRED, next_attempt_at=now - PAST)
    assert queueing.queue_due(campaign.pk + 1) == 0
    assert queueing.queue_due(campaign.pk) == 2
    assert queueing.queue_due() == 0
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
    assert endings.suppress_waiting(workspace.pk, anna.email) == 2
    assert statuses(campaign) == {"suppressed": 1, "queued": 1}
    assert statuses(paused) == {"suppressed": 1}
    assert statuses(over) == {"sent": 1}
    assert statuses(theirs) == {"queued": 1}


@pytest.mark.parametrize("status", Status.values)
def test_a_campaign_finishes_only_when_every_row_is_final(campaign: Campaign, status: str) -> None:
    rows_of(campaign, 1, status=Status.SENT)
    held_by_a_process = status == "handing_off"
    lease = timezone.now() + leases.LEASE if held_by_a_process else None
    rows_of(campaign, 1, status=status, lease_until=lease)
    assert endings.finish(campaign.pk) is (status not in Delivery.IN_MOTION)
    assert not endings.finish(campaign.pk)
    campaign.refresh_from_db()
    assert (campaign.finished_at is not None) is (campaign.state == State.FINISHED)


@pytest.mark.parametrize("state", ["draft", "preparing", "paused", "cancelled", "finished"])
def test_only_what_is_sent_or_cancelled_finishes(workspace: Workspace, state: str) -> None:
    assert not endings.finish(make_campaign(workspace, state=state).pk)


@pytest.mark.django_db(transaction=True)
def test_a_campaign_does_not_finish_under_a_retry(campaign: Campaign) -> None:
    (contact,) = rows_of(campaign, 1, status=Status.FAILED)
    with transaction.atomic():
        retry_delivery(campaign=campaign, contact_id=contact.pk)
        finishing = in_thread(endings.finish, campaign.pk)
        wait_until_blocked()
    assert finishing.result(timeout=10) is False
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING
    assert statuses(campaign) == {"queued": 1}
