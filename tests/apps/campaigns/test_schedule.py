from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign
from apps.campaigns.services import campaigns, launch, monitoring, schedule
from apps.campaigns.services.ledger import audience
from apps.mailer.models import ContactList
from apps.senders.models import SendingPolicy
from core.errors import Conflict, InvalidInput
from tests.support.concurrency import in_thread
from tests.support.factories import make_campaign, make_contact, make_list

ClientOf = Callable[[User], Client]
State = Campaign.State
HOUR = timedelta(hours=1)


@pytest.fixture
def store(settings: LazySettings) -> Iterator[redis.Redis]:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.flushdb()
    yield store
    store.flushdb()


@pytest.fixture
def to(workspace: Workspace) -> ContactList:
    chosen = make_list(workspace)
    make_contact(workspace, to=chosen)
    return chosen


@pytest.fixture
def draft(workspace: Workspace, to: ContactList, owner: User) -> Campaign:
    return make_campaign(workspace, to, name="Spring", created_by=owner)


def plan(campaign: Campaign, wall: datetime | None = None, **changes: Any) -> datetime:
    wall = wall or (timezone.now() + 2 * HOUR).replace(tzinfo=None, microsecond=0)
    return schedule.schedule_campaign(campaign=campaign, wall=wall, **({"zone": "UTC"} | changes))


# The time on the wall


def test_a_time_is_what_clocks_of_the_zone_show() -> None:
    moscow = ZoneInfo("Europe/Moscow")
    assert schedule.instant(datetime(2027, 1, 5, 9), moscow) == datetime(2027, 1, 5, 6, tzinfo=UTC)


def test_a_time_that_clocks_leave_out_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no 02:30"):
        schedule.instant(datetime(2027, 3, 28, 2, 30), ZoneInfo("Europe/Berlin"))


def test_of_a_time_that_comes_twice_it_is_the_first() -> None:
    found = schedule.instant(datetime(2027, 10, 31, 2, 30), ZoneInfo("Europe/Berlin"))
    assert found == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)


# Scheduling


def test_schedule_and_back(draft: Campaign) -> None:
    at = plan(draft, hours=(9, 18), wall=(timezone.now() + 25 * HOUR).replace(
        tzinfo=None, hour=10, minute=0, second=0, microsecond=0), recipient_time=True)  # fmt: skip
    assert (draft.state, draft.scheduled_at) == (State.SCHEDULED, at)
    assert (draft.hours_from, draft.hours_until, draft.recipient_time) == (9, 18, True)
    with pytest.raises(Conflict):
        campaigns.update_campaign(campaign=draft, subject="Other")
    with pytest.raises(Conflict):
        campaigns.delete_campaign(campaign=draft)
    with pytest.raises(Conflict):
        launch.launch_campaign(campaign=draft, by=None)
    schedule.unschedule_campaign(campaign=draft)
    assert (draft.state, draft.scheduled_at) == (State.DRAFT, None)
    with pytest.raises(Conflict):
        schedule.unschedule_campaign(campaign=draft)


@pytest.mark.parametrize("hours", [-48, -1, 24 * 400])
def test_times_that_are_past_or_too_far_are_refused(draft: Campaign, hours: int) -> None:
    with pytest.raises(InvalidInput):
        plan(draft, (timezone.now() + hours * HOUR).replace(tzinfo=None))
    draft.refresh_from_db()
    assert draft.state == State.DRAFT


@pytest.mark.parametrize("hours", [(9, 9), (18, 9), (-1, 5), (3, 25)])
def test_hours_that_are_none_are_refused(draft: Campaign, hours: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        plan(draft, hours=hours)
    with pytest.raises(InvalidInput):
        launch.launch_campaign(campaign=draft, by=None, hours=hours)


def test_a_beginning_outside_the_hours_is_refused(draft: Campaign) -> None:
    wall = (timezone.now() + 48 * HOUR).replace(tzinfo=None, hour=8, minute=59)
    with pytest.raises(InvalidInput, match="outside the hours"):
        plan(draft, wall, hours=(9, 18))
    plan(draft, wall.replace(hour=9, minute=0), hours=(9, 18))


def test_what_could_not_be_launched_cannot_be_scheduled(draft: Campaign) -> None:
    Campaign.objects.update(subject="")
    draft.refresh_from_db()
    with pytest.raises(InvalidInput, match="Write a subject"):
        plan(draft)


def test_the_zone_becomes_the_workspace_s_where_it_has_none(draft: Campaign) -> None:
    zone = ZoneInfo("Asia/Tokyo")
    plan(draft, (timezone.now() + HOUR).astimezone(zone).replace(tzinfo=None), zone="Asia/Tokyo")
    assert SendingPolicy.objects.get().time_zone == "Asia/Tokyo"
    schedule.unschedule_campaign(campaign=draft)
    plan(draft)
    assert SendingPolicy.objects.get().time_zone == "Asia/Tokyo"


def test_launching_at_once_keeps_no_old_time(draft: Campaign) -> None:
    Campaign.objects.update(scheduled_at=timezone.now() - HOUR, recipient_time=True)
    draft.refresh_from_db()
    launch.launch_campaign(campaign=draft, by=None, hours=(8, 20))
    draft.refresh_from_db()
    assert (draft.scheduled_at, draft.recipient_time, draft.hours_from) == (None, False, 8)


# When its time has come


def due(campaign: Campaign, **changes: Any) -> None:
    plan(campaign)
    Campaign.objects.filter(pk=campaign.pk).update(
        **({"scheduled_at": timezone.now() - HOUR} | changes)
    )


def test_the_sweeper_launches_what_is_due(
    draft: Campaign, store: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    plan(draft)
    monitoring.sweep()
    draft.refresh_from_db()
    assert draft.state == State.SCHEDULED
    Campaign.objects.update(scheduled_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        monitoring.sweep()
    draft.refresh_from_db()
    assert draft.state == State.PREPARING
    assert draft.launched_at is not None
    assert store.llen("campaigns") == 1
    assert schedule.launch_due() == 0


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_launch_it_once(
    workspace: Workspace, to: ContactList, store: redis.Redis
) -> None:
    for _ in range(5):
        due(make_campaign(workspace, to))
    sweepers = [in_thread(schedule.launch_due) for _ in range(3)]
    assert sum(sweeper.result(timeout=30) for sweeper in sweepers) == 5
    assert set(Campaign.objects.values_list("state", flat=True)) == {State.PREPARING}
    assert store.llen("campaigns") == 5


def test_what_cannot_be_launched_any_more_is_a_draft_with_the_reason(
    draft: Campaign, owner: User, mailoutbox: list[Any], django_capture_on_commit_callbacks: Any,
    client_of: ClientOf, settings: LazySettings, store: redis.Redis,
) -> None:  # fmt: skip
    User.objects.update(language="ru")
    due(draft)
    draft.lists.get().contacts.all().delete()
    with django_capture_on_commit_callbacks(execute=True):
        assert schedule.launch_due() == 0
    draft.refresh_from_db()
    assert (draft.state, draft.scheduled_at) == (State.DRAFT, None)
    assert draft.pause_reason
    assert store.llen("default") == 1
    User.objects.update(language="en")
    page = client_of(owner).get(f"/w/shop/campaigns/{draft.pk}/edit/").content.decode()
    assert "It was scheduled and could not be launched" in page
    campaigns.update_campaign(campaign=draft, subject="Other")
    assert draft.pause_reason == ""


def test_one_that_cannot_go_does_not_hold_up_the_others(draft: Campaign, to: ContactList) -> None:
    other = make_campaign(draft.workspace, to)
    due(draft, html="{{ unclosed", text="")
    due(other)
    assert schedule.launch_due() == 1
    other.refresh_from_db()
    assert other.state == State.PREPARING


def test_one_that_cannot_be_looked_at_does_not_either(
    draft: Campaign, to: ContactList, outsider: User
) -> None:
    due(draft, recipient_time=True)
    SendingPolicy.objects.update(time_zone="Nowhere/Else")
    elsewhere = outsider.workspaces.get()
    theirs = make_list(elsewhere)
    make_contact(elsewhere, to=theirs)
    due(make_campaign(elsewhere, theirs))
    assert schedule.launch_due() == 1
    draft.refresh_from_db()
    assert draft.state == State.SCHEDULED


@pytest.mark.parametrize(
    ("zone", "ahead"),
    [("UTC", 14), ("Europe/Moscow", 11), ("Pacific/Kiritimati", 0), ("Etc/GMT+12", 26)],
)
def test_in_recipients_time_it_begins_where_the_day_begins(
    draft: Campaign, zone: str, ahead: int
) -> None:
    SendingPolicy.objects.create(workspace=draft.workspace, time_zone=zone)
    at = timezone.now() + 50 * HOUR
    plan(
        draft,
        at.astimezone(ZoneInfo(zone)).replace(tzinfo=None),
        zone=zone,
        recipient_time=True,
    )
    assert schedule.begins_at(draft) == at - ahead * HOUR
    Campaign.objects.update(scheduled_at=timezone.now() + (ahead + 1) * HOUR)
    assert schedule.launch_due() == 0
    Campaign.objects.update(scheduled_at=timezone.now() + (ahead - 1) * HOUR)
    assert schedule.launch_due() == 1


def test_each_gets_it_when_their_own_clock_shows_the_time(draft: Campaign) -> None:
    workspace, to = draft.workspace, draft.lists.get()
    SendingPolicy.objects.create(workspace=workspace, time_zone="Europe/Moscow")
    zones = {"Asia/Tokyo": 6, "America/New_York": None, "": 0, "Nowhere/Else": 0}
    people = {
        zone: make_contact(workspace, to=to, fields={"timezone": zone} if zone else {})
        for zone in zones
    }
    wall = (timezone.now() + 72 * HOUR).replace(tzinfo=None, microsecond=0)
    plan(draft, wall, zone="Europe/Moscow", recipient_time=True)
    Campaign.objects.update(state=State.SENDING)
    audience.snapshot(draft.pk)
    for zone, contact in people.items():
        row = draft.deliveries.get(contact_id=contact.pk)
        own = zone if zone in {"Asia/Tokyo", "America/New_York"} else "Europe/Moscow"
        assert row.status == "deferred"
        assert row.next_attempt_at == wall.replace(tzinfo=ZoneInfo(own)).astimezone(UTC)


# Pages


def url(campaign: Campaign, page: str = "") -> str:
    return f"/w/shop/campaigns/{campaign.pk}/{page}"


def click(campaign: Campaign, **changes: Any) -> dict[str, Any]:
    at = (timezone.now() + 48 * HOUR).strftime("%Y-%m-%d")
    form = {"when": "later", "date": at, "time": "10:00", "zone": "UTC"}
    return form | {"version": version(campaign)} | changes


def test_the_launch_page_schedules_once(
    draft: Campaign, teammate: User, client_of: ClientOf
) -> None:
    client = client_of(teammate)
    page = client.get(url(draft, "launch/")).content.decode()
    assert "Schedule for 1 contact" in page
    asked = click(draft, hours_from="9", hours_until="18", recipient_time="on")
    for _ in range(2):
        assert client.post(url(draft, "launch/"), asked)["Location"] == url(draft)
    draft.refresh_from_db()
    assert (draft.state, draft.hours_from, draft.recipient_time) == (State.SCHEDULED, 9, True)
    page = client.get(url(draft)).content.decode()
    assert "10 a.m." in page
    assert "in each recipient's own time zone" in page
    assert "from 9:00 until 18:00" in page
    assert 'every 30s"' in page
    assert "begins" in client.get("/w/shop/campaigns/").content.decode()
    assert client.get("/w/shop/").status_code == 200
    assert client.get(url(draft, "edit/"))["Location"] == url(draft)
    assert client.post(url(draft, "unschedule/"))["Location"] == url(draft, "edit/")
    draft.refresh_from_db()
    assert draft.state == State.DRAFT
    assert client.get(url(draft, "launch/")).context["form"].initial["hours_from"] == 9


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"date": ""}, "Say when."),
        ({"time": ""}, "Say when."),
        ({"date": "2020-01-01"}, "This time is past."),
        ({"date": "31.12.2099x"}, "valid date"),
        ({"time": "25:00"}, "valid time"),
        ({"hours_from": "18", "hours_until": "9"}, "must end later"),
        ({"hours_from": "11"}, "outside the hours"),
        ({"hours_from": "24"}, "valid choice"),
        ({"zone": "Asia/Tokyo"}, "time zone has changed"),
        ({"when": "never"}, "valid choice"),
    ],
)
def test_what_cannot_be_scheduled_says_why(
    draft: Campaign, owner: User, client_of: ClientOf, changes: dict[str, str], error: str
) -> None:
    response = client_of(owner).post(url(draft, "launch/"), click(draft, **changes))
    assert response.status_code == 422
    assert error in response.content.decode()
    draft.refresh_from_db()
    assert draft.state == State.DRAFT


def test_times_are_read_in_the_workspace_s_zone_else_in_the_person_s(
    draft: Campaign, owner: User, client_of: ClientOf
) -> None:
    User.objects.update(time_zone="Asia/Tokyo")
    client = client_of(owner)
    assert "Asia/Tokyo" in client.get(url(draft, "launch/")).content.decode()
    client.post(url(draft, "launch/"), click(draft, zone="Asia/Tokyo"))
    draft.refresh_from_db()
    assert draft.scheduled_at is not None
    assert draft.scheduled_at.astimezone(UTC).hour == 1


def test_hours_hold_for_a_launch_at_once(draft: Campaign, owner: User, client_of: ClientOf) -> None:
    client_of(owner).post(
        url(draft, "launch/"), click(draft, when="now", hours_from="9", hours_until="")
    )
    draft.refresh_from_db()
    assert (draft.state, draft.hours_from, draft.hours_until) == (State.PREPARING, 9, 24)
