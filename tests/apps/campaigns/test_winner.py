"""The winner of a test: when it is chosen, by what, once, and who gets it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import tasks
from apps.campaigns.models import Campaign, Delivery, Variant, WinnerBy
from apps.campaigns.services import experiments, launch, monitoring
from apps.campaigns.services.experiments import decide, decide_due
from apps.campaigns.services.ledger import experiments as rows
from core.errors import Conflict, InvalidInput
from tests.apps.campaigns.rows import statuses
from tests.apps.campaigns.tested import by_variant, make_tested, prepared
from tests.support.concurrency import in_thread
from tests.support.engagement import note_click, note_open

State = Campaign.State
Status = Delivery.Status
OTHER = {"subject": "Other"}


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    """40 contacts, 10 of them for each variant, 20 for the winner."""
    return prepared(make_tested(workspace, 40, OTHER, share=50, winner_after=60))


def accept_all(campaign: Campaign) -> None:
    Delivery.objects.filter(campaign=campaign, status=Status.QUEUED).update(status=Status.SENT)


def act(campaign: Campaign, variant: int, *, opens: int = 0, clicks: int = 0) -> None:
    rows = Delivery.objects.filter(campaign=campaign, variant=variant).order_by("contact_id")
    for place, row in enumerate(rows[: max(opens, clicks)]):
        (note_click if place < clicks else note_open)(campaign.pk, row.contact_id)


def let_time_pass(campaign: Campaign, minutes: int = 61) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(
        tested_at=timezone.now() - timedelta(minutes=minutes)
    )


def winner_of(campaign: Campaign) -> int | None:
    campaign.refresh_from_db()
    return campaign.winner


def test_most_opens_win_when_the_time_is_over(campaign: Campaign) -> None:
    accept_all(campaign)
    act(campaign, 1, opens=2, clicks=2)
    act(campaign, 2, opens=5)
    monitoring.sweep()
    campaign.refresh_from_db()
    assert campaign.tested_at
    assert campaign.winner is None
    assert statuses(campaign) == {"waiting": 20, "sent": 20}
    let_time_pass(campaign, 59)
    assert decide_due() == 0
    let_time_pass(campaign)
    assert decide_due() == 1
    assert winner_of(campaign) == 2
    assert campaign.decided_at
    assert campaign.decided_by is None
    assert statuses(campaign) == {"queued": 20, "sent": 20}
    assert by_variant(campaign) == {1: 10, 2: 30}
    kept = Variant.objects.order_by("number").values_list(
        "letters", "accepted", "opened", "clicked"
    )
    assert list(kept) == [(10, 10, 2, 2), (10, 10, 5, 0)]
    assert decide_due() == 0


def test_most_clicks_win_where_they_decide(campaign: Campaign) -> None:
    Campaign.objects.update(winner_by=WinnerBy.CLICKS)
    accept_all(campaign)
    act(campaign, 1, opens=2, clicks=2)
    act(campaign, 2, opens=9, clicks=1)
    let_time_pass(campaign)
    decide_due()
    assert winner_of(campaign) == 1


def test_rates_decide_and_not_numbers(campaign: Campaign) -> None:
    accept_all(campaign)
    act(campaign, 1, opens=3)
    act(campaign, 2, opens=2)
    failed = Delivery.objects.filter(variant=2, opened_at=None).values("contact_id")[:6]
    Delivery.objects.filter(contact_id__in=failed).update(status=Status.FAILED)
    let_time_pass(campaign)
    decide_due()
    assert winner_of(campaign) == 2  # 2 of 4, against 3 of 10


@pytest.mark.parametrize("opens", [0, 4])
def test_of_equals_the_first_one_is_chosen(campaign: Campaign, opens: int) -> None:
    accept_all(campaign)
    for variant in (1, 2):
        act(campaign, variant, opens=opens)
    let_time_pass(campaign)
    decide_due()
    assert winner_of(campaign) == 1


def test_the_time_runs_from_when_no_test_letter_is_left_to_send(campaign: Campaign) -> None:
    decide_due()
    campaign.refresh_from_db()
    assert campaign.tested_at is None
    accept_all(campaign)
    one = Delivery.objects.filter(status=Status.SENT).first()
    assert one
    row = Delivery.objects.filter(contact_id=one.contact_id)
    row.update(status=Status.DEFERRED, next_attempt_at=timezone.now() + timedelta(hours=1))
    decide_due()
    campaign.refresh_from_db()
    assert campaign.tested_at is None  # its hour has not come
    row.update(attempts=1)  # a server said to come again: that may take days
    decide_due()
    campaign.refresh_from_db()
    assert campaign.tested_at is not None


def test_a_paused_provider_is_not_waited_for(campaign: Campaign) -> None:
    provider = Delivery.objects.values_list("provider", flat=True).first()
    Campaign.objects.update(paused_providers={provider: "blocked"})
    decide_due()
    campaign.refresh_from_db()
    assert campaign.tested_at is not None


def test_by_hand_nothing_is_chosen_by_itself(
    campaign: Campaign, owner: User, mailoutbox: list[Any]
) -> None:
    Campaign.objects.update(winner_by=WinnerBy.HAND)
    accept_all(campaign)
    act(campaign, 2, opens=5)
    let_time_pass(campaign)
    assert decide_due() == 0
    assert winner_of(campaign) is None
    asked = campaign.asked_at
    assert asked
    decide_due()
    assert winner_of(campaign) is None
    assert campaign.asked_at == asked
    tasks.ask_for_winner(campaign.pk)
    [letter] = mailoutbox
    assert letter.to == [owner.email]
    assert "choose the winner" in letter.subject
    assert f"/campaigns/{campaign.pk}/" in letter.body
    decide(campaign=campaign, number=1, by=owner)
    tasks.ask_for_winner(campaign.pk)
    assert len(mailoutbox) == 1
    assert winner_of(campaign) == 1
    assert campaign.decided_by == owner
    assert by_variant(campaign, status=Status.QUEUED) == {1: 20}


def test_by_hand_before_the_time_and_while_it_is_paused(campaign: Campaign, owner: User) -> None:
    launch.pause_campaign(campaign=campaign)
    let_time_pass(campaign)
    assert decide_due() == 0  # a paused campaign decides nothing by itself
    decide(campaign=campaign, number=2, by=owner)
    assert by_variant(campaign, status=Status.QUEUED) == {1: 10, 2: 30}
    launch.resume_campaign(campaign=campaign)
    assert decide_due() == 0
    assert winner_of(campaign) == 2


@pytest.mark.parametrize("state", [State.DRAFT, State.PREPARING, State.CANCELLING, State.FINISHED])
def test_no_winner_in_other_states(campaign: Campaign, owner: User, state: str) -> None:
    Campaign.objects.update(state=state)
    with pytest.raises(Conflict):
        decide(campaign=campaign, number=1, by=owner)
    assert winner_of(campaign) is None
    assert statuses(campaign)["waiting"] == 20


def test_no_winner_of_a_split_without_a_rest(workspace: Workspace, owner: User) -> None:
    campaign = prepared(make_tested(workspace, 4, OTHER, share=100))
    with pytest.raises(Conflict):
        decide(campaign=campaign, number=1, by=owner)
    assert decide_due() == 0


def test_the_winner_is_one_of_the_variants(campaign: Campaign, owner: User) -> None:
    for number in (0, 3):
        with pytest.raises(InvalidInput):
            decide(campaign=campaign, number=number, by=owner)


def test_a_second_choice_is_refused(campaign: Campaign, owner: User) -> None:
    decide(campaign=campaign, number=1, by=owner)
    with pytest.raises(Conflict):
        decide(campaign=campaign, number=2, by=owner)
    assert winner_of(campaign) == 1
    assert by_variant(campaign) == {1: 30, 2: 10}


def test_the_sweeper_queues_what_a_request_has_left(
    campaign: Campaign, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 3)
    monkeypatch.setattr(experiments, "REQUEST_SECONDS", -1.0)
    decide(campaign=campaign, number=2, by=owner)
    assert statuses(campaign)["waiting"] == 17
    monitoring.sweep()
    assert statuses(campaign) == {"queued": 40}
    assert by_variant(campaign) == {1: 10, 2: 30}


@pytest.mark.django_db(transaction=True)
def test_two_people_and_two_sweepers_choose_once(workspace: Workspace, owner: User) -> None:
    campaign = prepared(make_tested(workspace, 40, OTHER, share=50))
    accept_all(campaign)
    act(campaign, 2, opens=5)
    let_time_pass(campaign, 10_000)

    def attempt(number: int | None) -> Any:
        own = Campaign.objects.get(pk=campaign.pk)
        if number is None:
            return decide_due()
        try:
            decide(campaign=own, number=number, by=owner)
        except Conflict:
            return 0
        return 1

    tries = [in_thread(attempt, number) for number in (1, 2, None, None)]
    assert sum(one.result(timeout=60) for one in tries) == 1
    won = winner_of(campaign)
    found = by_variant(campaign)
    assert won
    assert found.pop(won) == 30
    assert list(found.values()) == [10]
    assert statuses(campaign) == {"queued": 20, "sent": 20}
