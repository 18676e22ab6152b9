"""Who of an audience gets which variant, and who waits for the winner."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import selectors
from apps.campaigns.experiments import count
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch
from apps.campaigns.services.ledger import audience, endings, experiments, queueing
from tests.apps.campaigns.rows import statuses
from tests.apps.campaigns.tested import by_variant, contacts_of, make_tested, prepared
from tests.support.factories import make_contact, make_list

State = Campaign.State
Status = Delivery.Status


@pytest.mark.parametrize("share", [1, 10, 33, 50, 99, 100])
@pytest.mark.parametrize("own", [1, 2, 3])
def test_shares_are_exact_to_one_letter(
    workspace: Workspace, share: int, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "CHUNK", 30)
    campaign = make_tested(workspace, 101, *[{"subject": "Other"}] * own, share=share)
    assert audience.snapshot(campaign.pk) == 101
    found = by_variant(campaign)
    waiting = found.pop(0, 0)
    tested = sum(found.values())
    assert tested == 101 * share // 100
    assert waiting == 101 - tested
    assert by_variant(campaign, status=Status.WAITING) == ({0: waiting} if waiting else {})
    assert set(found) <= set(range(1, own + 2))
    if tested >= own + 1:
        assert max(found.values()) - min(found.values()) <= 1
        assert len(found) == own + 1


def test_a_repetition_gives_the_same(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "CHUNK", 7)
    campaign = make_tested(workspace, 40, {"subject": "Other"}, share=50)
    audience.snapshot(campaign.pk)
    found = dict(Delivery.objects.values_list("contact_id", "variant"))
    assert audience.snapshot(campaign.pk) == 0
    Delivery.objects.all().delete()
    audience.snapshot(campaign.pk)
    assert dict(Delivery.objects.values_list("contact_id", "variant")) == found
    # Not simply every other contact.
    assert [found[pk] for pk in sorted(found)][:8] not in ([0, 1] * 4, [1, 0] * 4)


def test_somebody_in_two_lists_is_counted_once(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 30, {"subject": "Other"}, share=50)
    second = make_list(workspace)
    campaign.lists.add(second)
    for contact in contacts_of(campaign)[:20]:
        contact.lists.add(second)
    for _ in range(10):
        make_contact(workspace, to=second)
    assert audience.snapshot(campaign.pk) == 40
    assert by_variant(campaign) == {0: 20, 1: 10, 2: 10}


def test_without_variants_nobody_has_one(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 5)
    Campaign.objects.update(test_share=None)
    audience.snapshot(campaign.pk)
    assert by_variant(campaign, status=Status.QUEUED) == {0: 5}


def test_those_who_wait_are_not_sent_and_keep_the_campaign_open(workspace: Workspace) -> None:
    campaign = prepared(make_tested(workspace, 10, {"subject": "Other"}, share=20))
    assert statuses(campaign) == {"waiting": 8, "queued": 2}
    queueing.queue_due()
    Delivery.objects.filter(status=Status.QUEUED).update(status=Status.SENT)
    assert not endings.finish(campaign.pk)
    progress = selectors.progress(campaign)
    assert (progress.final, progress.total, progress.seconds_left) == (2, 10, None)


def test_cancelled_with_the_rest(workspace: Workspace) -> None:
    campaign = prepared(make_tested(workspace, 10, {"subject": "Other"}, share=20))
    launch.cancel_campaign(campaign=campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.CANCELLED
    assert statuses(campaign) == {"cancelled": 10}
    Campaign.objects.update(winner=1)
    assert experiments.release(campaign.pk) == 0


def test_a_no_ends_a_row_that_waits(workspace: Workspace) -> None:
    campaign = prepared(make_tested(workspace, 10, {"subject": "Other"}, share=20))
    waiting = Delivery.objects.filter(status=Status.WAITING).first()
    assert waiting
    endings.suppress_waiting(workspace.pk, waiting.email)
    assert statuses(campaign) == {"waiting": 7, "queued": 2, "suppressed": 1}


def test_the_rest_still_begins_in_its_own_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "CHUNK", 3)
    soon = timezone.now() + timedelta(hours=2)
    campaign = make_tested(
        workspace, 20, {"subject": "Other"}, share=20, recipient_time=True, scheduled_at=soon
    )
    for contact in contacts_of(campaign)[::2]:
        contact.fields = {"timezone": "Pacific/Kiritimati"}  # it is past there
        contact.save()
    prepared(campaign)
    later = Delivery.objects.filter(next_attempt_at__gt=timezone.now())
    assert later.count() == 10
    assert by_variant(campaign) == {0: 16, 1: 2, 2: 2}
    waiting = later.filter(status=Status.WAITING).count()
    assert experiments.release(campaign.pk) == 0  # no winner yet
    Campaign.objects.update(winner=2)
    assert experiments.release(campaign.pk) == 16
    assert by_variant(campaign) == {1: 2, 2: 18}
    assert Delivery.objects.filter(status=Status.DEFERRED).count() == 10
    assert waiting <= 10
    assert not Delivery.objects.filter(status=Status.WAITING).exists()
    assert experiments.release(campaign.pk) == 0


def test_figures_come_from_an_index(workspace: Workspace) -> None:
    campaign = prepared(make_tested(workspace, 30, {"subject": "Other"}, share=100))
    Delivery.objects.update(status=Status.SENT)
    Delivery.objects.filter(variant=2).update(opened_at=timezone.now(), clicked_at=timezone.now())
    Delivery.objects.filter(contact_id=contacts_of(campaign)[0].pk).update(
        status=Status.FAILED, opened_at=None, clicked_at=None
    )
    counted = count(campaign.pk)
    assert sum(one.letters for one in counted.values()) == 30
    assert sum(one.accepted for one in counted.values()) == 29
    assert counted[1].opened == 0
    assert counted[2].opened == counted[2].clicked == counted[2].accepted
    assert not experiments.any_waiting(campaign.pk)
