from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import tasks
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import monitoring
from apps.ops.tasks import sweep_due_work
from tests.support.factories import make_campaign, make_contact, make_delivery

State = Campaign.State
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def store(settings: LazySettings) -> Iterator[redis.Redis]:
    """The broker with empty queues."""
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.flushdb()
    yield store
    store.flushdb()


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())


def add_row(campaign: Campaign, **fields: Any) -> None:
    make_delivery(campaign, make_contact(campaign.workspace), **fields)


def rings(store: redis.Redis, queue: str) -> int:
    return int(store.llen(queue))


# The sweeper


def test_the_sweeper_rings_again_for_what_redis_lost(
    campaign: Campaign, store: redis.Redis, settings: LazySettings
) -> None:
    settings.EMAIL_CONCURRENCY = 3
    add_row(campaign)
    monitoring.sweep()
    assert rings(store, "email") == 3
    # Not more than are needed, however often it looks.
    monitoring.sweep()
    assert rings(store, "email") == 3
    store.flushdb()
    monitoring.sweep()
    assert rings(store, "email") == 3


def test_the_sweeper_rings_for_campaigns_with_something_to_send_only(
    workspace: Workspace, store: redis.Redis
) -> None:
    for state in State.values:
        if state != State.SENDING:
            add_row(make_campaign(workspace, state=state))
    waiting = make_campaign(workspace, state=State.SENDING)
    add_row(waiting, status="deferred", next_attempt_at=timezone.now() + LONG_AGO)
    monitoring.sweep()
    assert rings(store, "email") == 0
    Delivery.objects.filter(campaign=waiting).update(next_attempt_at=timezone.now() - LONG_AGO)
    monitoring.sweep()
    assert rings(store, "email") > 0


def test_the_sweeper_rings_again_for_a_lost_preparation(
    workspace: Workspace, store: redis.Redis
) -> None:
    now = timezone.now()
    make_campaign(workspace, state=State.PREPARING, launched_at=now)
    monitoring.sweep()
    assert rings(store, "campaigns") == 0
    make_campaign(workspace, state=State.PREPARING, launched_at=now - LONG_AGO)
    monitoring.sweep()
    assert rings(store, "campaigns") == 1


def test_the_sweeper_finishes_what_is_done(campaign: Campaign, store: redis.Redis) -> None:
    add_row(campaign, status="sent")
    monitoring.sweep()
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert rings(store, "email") == 0


def test_the_sweeper_ends_rows_that_came_back_after_the_cancellation(
    workspace: Workspace, store: redis.Redis
) -> None:
    campaign = make_campaign(workspace, state=State.CANCELLING)
    add_row(campaign, status="deferred", next_attempt_at=timezone.now() + LONG_AGO)
    add_row(campaign, status="queued")
    monitoring.sweep()
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED
    assert set(Delivery.objects.values_list("status", flat=True)) == {"cancelled"}


def test_the_sweeper_looks_after_test_letters(campaign: Campaign, store: redis.Redis) -> None:
    now = timezone.now()
    for state in TestSend.State.values:
        for age in (timedelta(0), LONG_AGO):
            TestSend.objects.create(
                campaign=campaign,
                to="a@b.test",
                state=state,
                created_at=now - age,
                updated_at=now - age,
            )
    monitoring.sweep()
    states = TestSend.objects.order_by("created_at").values_list("state", flat=True)
    assert sorted(states[:5]) == ["failed", "queued", "sent", "unknown", "unknown"]
    assert sorted(states[5:]) == sorted(TestSend.State.values)
    assert rings(store, "email") == 1


def test_the_task_sweeps_everything(campaign: Campaign, store: redis.Redis) -> None:
    add_row(campaign)
    sweep_due_work()
    assert rings(store, "email") > 0


# Standstills


def test_progress_is_noted_with_the_time_of_the_last_change(campaign: Campaign) -> None:
    add_row(campaign)
    assert monitoring.note_progress() == 1
    campaign.refresh_from_db()
    assert campaign.progress["queued"] == 1
    before = campaign.moved_at
    assert before is not None
    monitoring.note_progress()
    campaign.refresh_from_db()
    assert campaign.moved_at == before
    Delivery.objects.update(status="handing_off", lease_until=timezone.now())
    monitoring.note_progress()
    campaign.refresh_from_db()
    assert campaign.moved_at is not None
    assert campaign.moved_at > before
    assert campaign.progress["handing_off"] == 1


def test_a_campaign_that_stands_still_is_started_again(
    campaign: Campaign, store: redis.Redis
) -> None:
    add_row(campaign)
    monitoring.note_progress()
    assert monitoring.restart_stuck_campaigns() == 0
    Campaign.objects.update(moved_at=timezone.now() - LONG_AGO)
    assert monitoring.restart_stuck_campaigns() == 1
    assert rings(store, "email") > 0


def test_waiting_for_the_next_attempt_is_no_standstill(
    campaign: Campaign, store: redis.Redis
) -> None:
    add_row(campaign, status="deferred", next_attempt_at=timezone.now() + LONG_AGO)
    monitoring.note_progress()
    Campaign.objects.update(moved_at=timezone.now() - LONG_AGO)
    assert monitoring.restart_stuck_campaigns() == 0


def test_a_cancellation_that_stands_still_is_ended(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.CANCELLING)
    add_row(campaign, status="handing_off", lease_until=timezone.now() - LONG_AGO)
    monitoring.note_progress()
    Campaign.objects.update(moved_at=timezone.now() - LONG_AGO)
    assert monitoring.restart_stuck_campaigns() == 1
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED


def test_the_beat_tasks_run(campaign: Campaign, store: redis.Redis) -> None:
    tasks.monitor_campaign_progress()
    tasks.cleanup_stuck_campaigns()
    tasks.cleanup_smtp_connections()
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
