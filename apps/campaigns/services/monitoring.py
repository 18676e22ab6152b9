"""What beat does for campaigns: watch them move, start again what stopped, take back leases."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

import redis
from django.conf import settings
from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from apps.campaigns import selectors
from apps.campaigns.models import Campaign, TestSend
from apps.campaigns.services import experiments, launch, schedule, tally
from apps.campaigns.services.ledger import endings, leases, queueing
from core import queues

logger = logging.getLogger(__name__)

State = Campaign.State
STUCK_AFTER = timedelta(minutes=10)
PREPARATION_LOST_AFTER = timedelta(seconds=40)
TEST_LOST_AFTER = timedelta(minutes=1)


def note_progress() -> int:
    """Remember for each campaign in motion what its ledger says and when that last changed."""
    campaigns = list(Campaign.objects.filter(state__in=[State.SENDING, State.CANCELLING]))
    for campaign in campaigns:
        endings.finish(campaign.pk)
        counts = selectors.status_counts(campaign)
        if counts != campaign.progress:
            Campaign.objects.filter(pk=campaign.pk).update(progress=counts, moved_at=timezone.now())
    return len(campaigns)


def restart_stuck_campaigns() -> int:
    """Start again the campaigns whose rows have stopped moving, however long they take.

    Waiting is no standstill: for the next attempt, the hours of the day, a relay, or limits.
    """
    note_progress()
    before = timezone.now() - STUCK_AFTER
    found = Campaign.objects.filter(
        Q(state=State.CANCELLING) | Q(state=State.SENDING, pk__in=_with_queued_rows()),
        moved_at__lt=before,
    ).select_related("workspace")
    stuck = [
        campaign
        for campaign in found
        if campaign.state == State.CANCELLING or not selectors.waits_for(campaign)
    ]
    for campaign in stuck:
        logger.warning(
            "campaign %s has not moved since %s: %s", campaign.pk, campaign.moved_at,
            campaign.progress,
        )  # fmt: skip
        leases.expire_leases()
        if campaign.state == State.CANCELLING:
            endings.cancel_waiting(campaign.pk)
            endings.finish(campaign.pk)
        else:
            launch.ring_sending([campaign.pk])
    return len(stuck)


def note_wait(campaign_id: int, seconds: float) -> None:
    """Remember for so long that a campaign may send nothing just now, by limits or a warm-up."""
    with suppress(redis.RedisError):  # it is asked for again all the sooner
        cache.set(selectors.wait_key(campaign_id), True, max(1, round(seconds)))


def sweep() -> None:
    """Find due work by its rows and ring for it: what Redis lost is found here."""
    from apps.campaigns.tasks import send_campaign, send_single_email

    now = timezone.now()
    leases.expire_leases()
    queueing.queue_due()
    experiments.decide_due()
    lost = Campaign.objects.filter(
        state=State.PREPARING, launched_at__lt=now - PREPARATION_LOST_AFTER
    )
    for campaign_id in lost.values_list("pk", flat=True):
        queues.ring(send_campaign, campaign_id)
    in_motion = Campaign.objects.filter(state__in=[State.SENDING, State.CANCELLING])
    for campaign_id, state in in_motion.values_list("pk", "state"):
        if state == State.CANCELLING:  # rows that came back from a process after the cancellation
            endings.cancel_waiting(campaign_id)
        endings.finish(campaign_id)
    waiting = list(_with_queued_rows())
    # Each chain of send tasks rings for its next link; only where too few are left ring anew.
    if queues.waiting("email") < settings.EMAIL_CONCURRENCY * len(waiting):
        launch.ring_sending(waiting)
    TestSend.objects.filter(
        state=TestSend.State.SENDING, updated_at__lt=now - leases.LEASE * 4
    ).update(state=TestSend.State.UNKNOWN, updated_at=now)
    tests = TestSend.objects.filter(
        state=TestSend.State.QUEUED, created_at__lt=now - TEST_LOST_AFTER
    )
    for test_id in tests.values_list("pk", flat=True):
        queues.ring(send_single_email, test_send_id=test_id)
    tally.compact()
    schedule.launch_due()


def _with_queued_rows() -> list[int]:
    """Campaigns being sent that have rows to send now."""
    sending = Campaign.objects.filter(state=State.SENDING).values_list("pk", "paused_providers")
    return [
        campaign_id
        for campaign_id, paused in sending
        if not paused.keys() >= set(queueing.queued_providers(campaign_id))
    ]
