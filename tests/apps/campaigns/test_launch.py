from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors, tasks
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import campaigns as drafts
from apps.campaigns.services import launch
from apps.mailer.models import Contact, ContactList
from core.errors import Conflict, InvalidInput
from tests.support.concurrency import in_thread, wait_until_blocked
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

State = Campaign.State


@pytest.fixture
def to(workspace: Workspace) -> ContactList:
    chosen = make_list(workspace)
    for _ in range(3):
        make_contact(workspace, to=chosen)
    return chosen


@pytest.fixture
def draft(workspace: Workspace, to: ContactList) -> Campaign:
    return make_campaign(workspace, to)


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The doorbells that were rung, instead of the ringing."""
    heard: list[tuple[str, Any]] = []
    for task in (tasks.send_campaign, tasks.send_email_batch, tasks.send_single_email):
        name = task.name.rpartition(".")[2]
        monkeypatch.setattr(task, "delay", lambda *ids, _name=name: heard.append((_name, *ids)))
    return heard


def state_of(campaign: Campaign) -> str:
    campaign.refresh_from_db()
    return str(campaign.state)


# Launching


def test_launch_freezes_and_rings_after_the_commit(
    draft: Campaign,
    owner: User,
    rung: list[tuple[str, Any]],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        launch.launch_campaign(campaign=draft, by=owner)
        assert rung == []
    assert state_of(draft) == State.PREPARING
    assert draft.launched_at is not None
    assert draft.created_by == owner
    for callback in callbacks:
        callback()
    assert rung == [("send_campaign", draft.pk)]
    with pytest.raises(Conflict):
        drafts.update_campaign(campaign=draft, subject="Other")
    with pytest.raises(Conflict):
        drafts.delete_campaign(campaign=draft)


def test_a_second_launch_is_a_conflict(draft: Campaign) -> None:
    same = Campaign.objects.get(pk=draft.pk)
    launch.launch_campaign(campaign=draft, by=None)
    with pytest.raises(Conflict):
        launch.launch_campaign(campaign=same, by=None)


def test_what_was_changed_meanwhile_is_not_launched(draft: Campaign) -> None:
    seen = Campaign.objects.get(pk=draft.pk)
    drafts.update_campaign(campaign=draft, subject="Another subject")
    with pytest.raises(Conflict):
        launch.launch_campaign(campaign=seen, by=None)
    assert state_of(draft) == State.DRAFT


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": ""},
        {"from_email": ""},
        {"html": " ", "text": "\n"},
        {"html": "{% if %}"},
        {"subject": "{{ first_name | nosuchfilter }}"},
        {"text": "{{ 1 | divided_by: 0 }}"},
        {"from_name": "Shop\u2028Bcc: evil@x.test"},
        {"include_verdicts": ["risky"]},
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_not_launched(
    workspace: Workspace, to: ContactList, changes: dict[str, Any]
) -> None:
    draft = make_campaign(workspace, to, **changes)
    assert len(launch.problems(draft)) == 1
    with pytest.raises(InvalidInput):
        launch.launch_campaign(campaign=draft, by=None)
    assert state_of(draft) == State.DRAFT


def test_a_campaign_without_lists_is_not_launched(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput):
        launch.launch_campaign(campaign=make_campaign(workspace), by=None)


# Preparing


def test_preparing_fills_the_ledger_once(draft: Campaign, rung: list[tuple[str, Any]]) -> None:
    launch.launch_campaign(campaign=draft, by=None)
    launch.prepare_campaign(draft.pk)
    assert state_of(draft) == State.SENDING
    assert (draft.audience, Delivery.objects.filter(campaign=draft).count()) == (3, 3)
    assert set(rung) == {("send_email_batch", draft.pk)}
    rung.clear()
    Delivery.objects.filter(campaign=draft).update(status="sent")
    make_contact(draft.workspace, to=draft.lists.get())
    launch.prepare_campaign(draft.pk)
    assert rung == []
    assert selectors.status_counts(draft)["sent"] == 3
    assert selectors.status_counts(draft)["queued"] == 0


@pytest.mark.django_db(transaction=True)
def test_two_preparations_at_once_fill_the_ledger_once(
    draft: Campaign, rung: list[tuple[str, Any]]
) -> None:
    Campaign.objects.update(state=State.PREPARING)
    with transaction.atomic():
        launch.prepare_campaign(draft.pk)
        rung.clear()
        second = in_thread(launch.prepare_campaign, draft.pk)
        wait_until_blocked()
    second.result(timeout=10)
    assert rung == []
    assert Delivery.objects.filter(campaign=draft).count() == 3


def test_an_audience_that_has_gone_finishes_at_once(
    draft: Campaign, rung: list[tuple[str, Any]]
) -> None:
    Campaign.objects.update(state=State.PREPARING)
    Contact.objects.update(status="unsubscribed")
    launch.prepare_campaign(draft.pk)
    assert state_of(draft) == State.FINISHED
    assert draft.audience == 0
    assert rung == []


@pytest.mark.parametrize("state", [state for state in State.values if state != "preparing"])
def test_preparing_heeds_the_state(workspace: Workspace, to: ContactList, state: str) -> None:
    campaign = make_campaign(workspace, to, state=state)
    launch.prepare_campaign(campaign.pk)
    assert state_of(campaign) == state
    assert not Delivery.objects.exists()


# Steering


@pytest.mark.parametrize("state", State.values)
@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        (launch.pause_campaign, {"sending": "paused"}),
        (launch.resume_campaign, {"paused": "sending"}),
        (
            launch.cancel_campaign,
            dict.fromkeys(("preparing", "sending", "paused"), "cancelled"),
        ),
    ],
)
def test_each_action_has_its_states(
    workspace: Workspace, action: Any, allowed: dict[str, str], state: str
) -> None:
    campaign = make_campaign(workspace, state=state)
    if state in allowed:
        action(campaign=campaign)
        assert state_of(campaign) == allowed[state]
    else:
        with pytest.raises(Conflict):
            action(campaign=campaign)
        assert state_of(campaign) == state


def test_a_stale_page_cannot_move_a_campaign(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.SENDING)
    seen = Campaign.objects.get(pk=campaign.pk)
    launch.cancel_campaign(campaign=campaign)
    with pytest.raises(Conflict):
        launch.pause_campaign(campaign=seen)
    with pytest.raises(Conflict):
        launch.cancel_campaign(campaign=seen)


def test_resuming_rings(workspace: Workspace, rung: list[tuple[str, Any]]) -> None:
    campaign = make_campaign(workspace, state=State.SENDING)
    launch.pause_campaign(campaign=campaign, reason="too many bounces")
    assert campaign.pause_reason == "too many bounces"
    launch.resume_campaign(campaign=campaign)
    assert campaign.pause_reason == ""
    assert set(rung) == {("send_email_batch", campaign.pk)}


@pytest.mark.django_db(transaction=True)
def test_a_cancellation_during_the_preparation_ends_all_rows(
    draft: Campaign, rung: list[tuple[str, Any]]
) -> None:
    Campaign.objects.update(state=State.PREPARING)
    draft.refresh_from_db()
    with transaction.atomic():
        launch.prepare_campaign(draft.pk)
        cancelling = in_thread(launch.cancel_campaign, campaign=draft)
        wait_until_blocked()
    cancelling.result(timeout=10)
    assert state_of(draft) == State.CANCELLED
    assert selectors.status_counts(draft)["cancelled"] == 3


# Drafts


def test_a_draft_is_saved_with_its_lists(workspace: Workspace, to: ContactList) -> None:
    campaign = drafts.create_campaign(
        workspace=workspace, by=None, subject=" Hello ", lists=[to], include_verdicts=["risky"]
    )
    assert (campaign.name, campaign.subject) == ("Hello", "Hello")
    assert list(campaign.lists.all()) == [to]
    copy = drafts.duplicate_campaign(campaign=campaign, by=None)
    assert (copy.state, copy.include_verdicts) == (State.DRAFT, ["risky"])
    assert list(copy.lists.all()) == [to]
    drafts.delete_campaign(campaign=copy)
    with pytest.raises(Conflict):
        drafts.delete_campaign(campaign=copy)


@pytest.mark.parametrize("name", ["name", "subject", "from_name", "from_email", "reply_to"])
@pytest.mark.parametrize("control", ["\r\n", "\n", "\r", "\0", "\x7f"])
def test_headers_are_one_line(workspace: Workspace, name: str, control: str) -> None:
    with pytest.raises(InvalidInput):
        drafts.create_campaign(workspace=workspace, by=None, **{name: f"a{control}b@x.test"})


@pytest.mark.parametrize("name", ["from_email", "reply_to"])
@pytest.mark.parametrize("value", ["x", "a@b", "a@b.test, c@d.test", "a b@c.test", "<a@b.test>"])
def test_sender_addresses_are_addresses(workspace: Workspace, name: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        drafts.create_campaign(workspace=workspace, by=None, **{name: value})


def test_a_sender_in_a_domain_of_its_own_script_can_be_sent(workspace: Workspace) -> None:
    campaign = drafts.create_campaign(workspace=workspace, by=None, from_email="News@пример.рф")
    assert campaign.from_email == "news@xn--e1afmkfd.xn--p1ai"


def test_lists_of_other_workspaces_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput):
        drafts.create_campaign(workspace=workspace, by=None, lists=[make_list(make_workspace())])
    assert not Campaign.objects.exists()


def test_letters_are_bounded(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput):
        drafts.create_campaign(workspace=workspace, by=None, html="x" * (drafts.LARGEST_PART + 1))


@pytest.mark.parametrize("change", [{"subject": "a"}, {"lists": []}, {"html": "<p>a"}])
def test_a_stale_editor_overwrites_nothing(draft: Campaign, change: dict[str, Any]) -> None:
    seen = Campaign.objects.get(pk=draft.pk)
    drafts.update_campaign(campaign=draft, subject="Newer")
    with pytest.raises(Conflict):
        drafts.update_campaign(campaign=seen, **change)
    draft.refresh_from_db()
    assert draft.subject == "Newer"


@pytest.mark.django_db(transaction=True)
def test_a_draft_launched_while_it_is_deleted_stays(draft: Campaign) -> None:
    with transaction.atomic():
        launch.launch_campaign(campaign=draft, by=None)
        deleting = in_thread(drafts.delete_campaign, campaign=draft)
        wait_until_blocked()
    with pytest.raises(Conflict):
        deleting.result(timeout=10)
    assert state_of(draft) == State.PREPARING


# Figures


def test_progress_counts_final_rows(workspace: Workspace) -> None:
    campaign = make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())
    assert selectors.progress(campaign).total == 0
    for status in Delivery.Status.values:
        make_delivery(campaign, make_contact(workspace), status=status)
    progress = selectors.progress(campaign)
    assert (progress.total, progress.final) == (9, 5)
    assert progress.rate > 0
    assert progress.seconds_left is not None
    Delivery.objects.update(status="sent")
    assert selectors.progress(campaign).seconds_left is None


def test_failure_reasons_are_the_servers_words_the_most_frequent_first(
    workspace: Workspace,
) -> None:
    campaign = make_campaign(workspace, state=State.SENDING)
    for status, reply in (("failed", "no"), ("deferred", "later"), ("failed", "no")):
        make_delivery(
            campaign, make_contact(workspace), status=status, stage="rcpt", code=5, reply=reply
        )
    make_delivery(campaign, make_contact(workspace), status="sent", reply="ok")
    assert selectors.failure_reasons(campaign) == [("rcpt", 5, "no", 2), ("rcpt", 5, "later", 1)]
