"""Redis is away: pages answer all the same, and the sweeper finds the work later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import kombu
import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from kombu.pools import producers

from apps.accounts.models import User, Workspace
from apps.campaigns import tasks
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign, TestSend
from apps.campaigns.services import launch, monitoring, testing
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.services import verification
from core import queues
from core.celery import app
from tests.support.factories import make_campaign, make_contact, make_delivery, make_list

State = Campaign.State
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_broker(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    nobody = kombu.Connection(settings.REDIS_URL)
    monkeypatch.setattr(app.amqp, "_producer_pool", producers[nobody])


@pytest.fixture
def draft(workspace: Workspace) -> Campaign:
    chosen = make_list(workspace)
    make_contact(workspace, to=chosen)
    return make_campaign(workspace, chosen)


def test_the_broker_is_away_indeed() -> None:
    with pytest.raises(kombu.exceptions.OperationalError):
        tasks.send_campaign.delay(1)
    assert queues.waiting("email") == 0


def test_a_campaign_can_be_launched_and_is_found_by_the_sweeper(
    owner: User,
    draft: Campaign,
    client_of: Callable[[User], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = f"/w/shop/campaigns/{draft.pk}/launch/"
    response = client_of(owner).post(page, {"version": version(draft), "when": "now"})
    assert response.status_code == 302, response.content
    draft.refresh_from_db()
    assert draft.state == State.PREPARING
    rung: list[int] = []
    monkeypatch.setattr(tasks.send_campaign, "delay", rung.append)
    monitoring.sweep()
    assert rung == []  # somebody may be preparing it
    Campaign.objects.update(launched_at=timezone.now() - timedelta(seconds=45))
    monitoring.sweep()
    assert rung == [draft.pk]


def test_what_rings_after_a_commit_does_not_fail(workspace: Workspace, draft: Campaign) -> None:
    test = testing.send_test(campaign=draft, to="anna@example.com", by=None)
    assert test.state == TestSend.State.QUEUED
    TestSend.objects.update(created_at=timezone.now() - timedelta(hours=1))
    monitoring.sweep()
    sending = make_campaign(workspace, state=State.SENDING)
    failed = make_contact(workspace)
    make_delivery(sending, failed, status="failed")
    retry_delivery(campaign=sending, contact_id=failed.pk)
    launch.pause_by_itself(sending.pk, "Too many bounces")
    sending.refresh_from_db()
    launch.resume_campaign(campaign=sending)
    assert sending.state == State.SENDING
    verification.ring(1, after=timedelta(seconds=5))
    verification.ring_if_idle(1)


def test_a_bell_keeps_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(tasks.send_single_email, "delay", lambda *a, **kw: heard.append((a, kw)))
    queues.ring(tasks.send_single_email, campaign_id=1, contact_id=2)
    monkeypatch.setattr(tasks.send_campaign, "apply_async", lambda *a, **kw: heard.append((a, kw)))
    queues.ring(tasks.send_campaign.signature((3,), countdown=5.0))
    assert heard[0] == ((), {"campaign_id": 1, "contact_id": 2})
    assert heard[1][0][0] == (3,)
    assert heard[1][1]["countdown"] == 5.0
