"""What the report shows and offers: breakdowns, pauses, unknown letters, resends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import messages, selectors, tasks
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import campaigns, launch, monitoring, retry
from apps.campaigns.services.ledger import audience, endings
from apps.mailer.models import ContactList
from apps.senders.models import Relay
from core.errors import Conflict
from mailkit.smtp import faults
from tests.support import engagement
from tests.support.concurrency import in_thread
from tests.support.factories import make_campaign, make_contact, make_delivery, make_list

ClientOf = Callable[[User], Client]
State = Campaign.State


@pytest.fixture
def store(settings: LazySettings) -> Iterator[redis.Redis]:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.flushdb()
    yield store
    store.flushdb()


@pytest.fixture
def to(workspace: Workspace) -> ContactList:
    return make_list(workspace, "Customers")


@pytest.fixture
def campaign(workspace: Workspace, to: ContactList, owner: User) -> Campaign:
    return make_campaign(
        workspace, to, name="Summer", state=State.SENDING, created_by=owner,
        launched_at=timezone.now(),
    )  # fmt: skip


@pytest.fixture
def client(owner: User, client_of: ClientOf) -> Client:
    return client_of(owner)


def add(campaign: Campaign, status: str, number: int = 1, **fields: Any) -> list[Delivery]:
    to = campaign.lists.get()
    return [
        make_delivery(campaign, make_contact(campaign.workspace, to=to), status=status, **fields)
        for _ in range(number)
    ]


def url(campaign: Campaign, page: str = "") -> str:
    return f"/w/shop/campaigns/{campaign.pk}/{page}"


def counts(campaign: Campaign) -> dict[str, int]:
    return {name: n for name, n in selectors.status_counts(campaign).items() if n}


# Figures


def test_every_class_of_fault_has_words() -> None:
    assert set(messages.FAULTS) == set(faults.Kind.__args__)  # type: ignore[attr-defined]


def test_breakdown_by_provider_and_fault(campaign: Campaign, client: Client) -> None:
    add(campaign, "sent", 3, provider="gmail")
    add(campaign, "failed", 2, provider="gmail", fault="mailbox")
    add(campaign, "deferred", provider="mailru", fault="rate", next_attempt_at=timezone.now())
    add(campaign, "unknown", provider="other")
    add(campaign, "sent", fault="rate")  # deferred once, accepted in the end
    providers, classes = selectors.breakdown(selectors.tallied(campaign))
    assert [(row.key, row.total, row.waiting) for row in providers] == [
        ("gmail", 5, 0), ("other", 2, 0), ("mailru", 1, 1),
    ]  # fmt: skip
    assert [(row.key, row.counts) for row in classes] == [
        ("mailbox", {"failed": 2}), ("", {"unknown": 1}), ("rate", {"deferred": 1}),
    ]  # fmt: skip
    page = client.get(url(campaign)).content.decode()
    for words in ("By mailbox provider", "Gmail", "No such mailbox", "Too many letters at once"):
        assert words in page
    for query in ("fault=mailbox", "fault=none", "provider=mailru", "status=unknown"):
        assert f"{url(campaign, 'deliveries/')}?{query}" in page
        assert client.get(url(campaign, "deliveries/") + "?" + query).context["rows"], query


def test_filters_go_together_and_page(campaign: Campaign, client: Client) -> None:
    add(campaign, "failed", 60, provider="gmail", fault="spam")
    add(campaign, "failed", 2, provider="mailru", fault="spam")
    add(campaign, "deferred", 1, provider="gmail", fault="spam", next_attempt_at=timezone.now())
    add(campaign, "sent", 5, provider="gmail", fault="spam")
    path = url(campaign, "deliveries/")
    first = client.get(path, {"fault": "spam", "provider": "gmail"})
    second = client.get(path + first.context["page"].next_url)
    rows = [*first.context["rows"], *second.context["rows"]]
    assert len(rows) == 61
    assert {row.delivery.status for row in rows} == {"failed", "deferred"}
    assert {row.provider for row in rows} == {"Gmail"}
    for query in ({"fault": "no"}, {"provider": "no"}, {"status": "no"}):
        assert len(client.get(path, query).context["rows"]) == 50


def test_the_rate_is_that_of_the_last_seconds(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    Campaign.objects.update(launched_at=timezone.now() - timedelta(hours=1))
    campaign.refresh_from_db()
    add(campaign, "queued", 20)
    rows = list(campaign.deliveries.values_list("contact_id", flat=True))
    assert selectors.progress(campaign).rate == 0
    for number in range(1, 11):
        clock[0] += 1
        campaign.deliveries.filter(contact_id=rows[number]).update(status="sent")
        found = selectors.progress(campaign)
        assert found.final == number
        if number >= selectors.LEAST_RATE_SECONDS:
            assert found.rate == pytest.approx(1)
            assert found.seconds_left == pytest.approx(20 - number)
    clock[0] += 29
    assert selectors.progress(campaign).rate < 1
    clock[0] += 3600
    assert 0 < selectors.progress(campaign).rate < 1  # nobody has looked for long


def test_opens_and_clicks_are_shown_as_what_they_are(campaign: Campaign, client: Client) -> None:
    one, two = add(campaign, "sent", 2)
    engagement.note_click(campaign.pk, one.contact_id)
    engagement.note_open(campaign.pk, two.contact_id)
    page = client.get(url(campaign)).content.decode()
    assert "Opens and clicks are raw" in page
    assert client.get(url(campaign)).context["tallied"].opens == 2
    rows = client.get(url(campaign, "deliveries/")).content.decode()
    assert "clicked" in rows
    assert "opened" in rows


# Waiting is no standstill


def test_what_waits_by_rights_is_not_started_again(campaign: Campaign, client: Client) -> None:
    add(campaign, "queued", provider="gmail")
    monitoring.note_progress()
    long_ago = timezone.now() - timedelta(hours=1)

    def stuck() -> int:
        Campaign.objects.update(moved_at=long_ago)
        return monitoring.restart_stuck_campaigns()

    assert stuck() == 1
    monitoring.note_wait(campaign.pk, 60)
    assert stuck() == 0
    assert "used up for now" in client.get(url(campaign)).content.decode()
    other = make_campaign(campaign.workspace, campaign.lists.get(), state=State.SENDING)
    add(other, "queued")
    monitoring.note_progress()
    assert stuck() == 1
    Campaign.objects.filter(pk=other.pk).delete()

    make = campaign.workspace.relays.create
    relay = make(host="smtp.example.com", retry_at=timezone.now() + timedelta(hours=1))
    assert selectors.waits_for(campaign) == "relay"
    Relay.objects.filter(pk=relay.pk).update(retry_at=None)
    assert selectors.waits_for(campaign) == "limits"
    hour = timezone.now().hour
    campaign.hours_from, campaign.hours_until = ((hour + 2) % 23, (hour + 2) % 23 + 1)
    assert selectors.waits_for(campaign) == "hours"
    campaign.hours_from, campaign.hours_until = hour, hour + 1
    assert selectors.waits_for(campaign) == "limits"


def test_rows_of_paused_providers_only_are_no_standstill(
    campaign: Campaign, store: redis.Redis
) -> None:
    add(campaign, "queued", provider="gmail")
    launch.pause_by_itself(campaign.pk, "blocks", "gmail")
    store.flushdb()
    monitoring.sweep()
    assert store.llen("email") == 0
    add(campaign, "queued", provider="other")
    monitoring.sweep()
    assert store.llen("email") > 0


# Pauses


@pytest.mark.django_db(transaction=True)
def test_a_campaign_pauses_itself_and_says_so_once(
    campaign: Campaign, owner: User, store: redis.Redis, mailoutbox: list[Any]
) -> None:
    made = [in_thread(launch.pause_by_itself, campaign.pk, "Wrong password.") for _ in range(4)]
    assert sorted(one.result(timeout=30) for one in made) == [False, False, False, True]
    assert store.llen("default") == 1
    campaign.refresh_from_db()
    assert (campaign.state, campaign.pause_reason) == (State.PAUSED, "Wrong password.")
    tasks.notify_owners(campaign.pk)
    [letter] = mailoutbox
    assert letter.to == [owner.email]
    assert "Summer" in letter.subject
    assert "Wrong password." in letter.body
    assert url(campaign) in letter.body


@pytest.mark.django_db(transaction=True)
def test_two_providers_pause_side_by_side(
    campaign: Campaign, store: redis.Redis, mailoutbox: list[Any]
) -> None:
    asked = [("gmail", "Blocks: 12 %"), ("mailru", "Bounces"), ("gmail", "Blocks: 13 %")]
    done = [
        in_thread(launch.pause_by_itself, campaign.pk, reason, provider)
        for provider, reason in asked
    ]
    assert sum(one.result(timeout=30) for one in done) == 2
    assert store.llen("default") == 2
    campaign.refresh_from_db()
    assert campaign.state == State.SENDING
    assert set(campaign.paused_providers) == {"gmail", "mailru"}
    tasks.notify_owners(campaign.pk, "gmail")
    assert "Gmail" in mailoutbox[0].subject


def test_what_is_not_being_sent_does_not_pause(campaign: Campaign) -> None:
    for state in set(State) - {State.SENDING}:
        Campaign.objects.update(state=state)
        assert not launch.pause_by_itself(campaign.pk, "late")
        assert not launch.pause_by_itself(campaign.pk, "late", "gmail")
    assert not launch.pause_by_itself(10**9, "gone")
    campaign.refresh_from_db()
    assert (campaign.pause_reason, campaign.paused_providers) == ("", {})


def test_each_reads_it_in_their_own_language(
    campaign: Campaign, owner: User, teammate: User, outsider: User, mailoutbox: list[Any]
) -> None:
    User.objects.filter(pk=owner.pk).update(language="ru")
    second = User.objects.create_user("second@example.com", None)
    campaign.workspace.memberships.create(user=second, role=Membership.Role.OWNER)
    assert launch.pause_by_itself(campaign.pk, gettext_lazy("Paused"))
    campaign.refresh_from_db()
    with_russian = campaign.pause_reason
    assert with_russian != "Paused"
    tasks.notify_owners(campaign.pk)
    assert [letter.to for letter in mailoutbox] == [[owner.email], [second.email]]
    assert all(with_russian in letter.body for letter in mailoutbox)
    launch.resume_campaign(campaign=campaign)
    tasks.notify_owners(campaign.pk)
    assert len(mailoutbox) == 2  # mended before the letter went


def test_a_long_reason_is_cut(campaign: Campaign) -> None:
    assert launch.pause_by_itself(campaign.pk, lazystr("x" * 1000), "gmail")
    assert launch.pause_by_itself(campaign.pk, lazystr("x" * 1000))
    campaign.refresh_from_db()
    assert len(campaign.pause_reason) == launch.LONGEST_REASON


def test_the_banner_names_the_provider_and_resumes_it(
    campaign: Campaign, client: Client, store: redis.Redis
) -> None:
    launch.pause_by_itself(campaign.pk, "12 % of <answers> are blocks.", "gmail")
    launch.pause_by_itself(campaign.pk, "5 % bounce.", "mailru")
    page = client.get(url(campaign, "progress/")).content.decode()
    assert "Paused for Gmail" in page
    assert "12 % of &lt;answers&gt; are blocks." in page
    store.flushdb()
    resume = url(campaign, "resume/gmail/")
    assert resume in page
    assert client.post(resume)["Location"] == url(campaign)
    campaign.refresh_from_db()
    assert set(campaign.paused_providers) == {"mailru"}
    assert store.llen("email") > 0
    answer = client.post(resume, headers={"accept": "application/json"})
    assert answer.status_code == 409


# Unknown letters


def test_unknown_letters_are_sent_again_after_a_warning(
    campaign: Campaign, client: Client, store: redis.Redis
) -> None:
    add(campaign, "unknown", 3, stage="body", reply="timeout")
    add(campaign, "failed")
    add(campaign, "sent")
    endings.finish(campaign.pk)
    page = client.get(url(campaign)).content.decode()
    assert "Send again to 3 unknown" in page
    rows = client.get(url(campaign, "deliveries/"), {"status": "unknown"}).content.decode()
    assert "at the end of the letter" in rows
    assert "timeout" in rows
    path = url(campaign, "deliveries/retry-unknown/")
    assert "may get the letter twice" in client.get(path).content.decode()
    assert counts(campaign)["unknown"] == 3
    for _ in range(2):
        assert client.post(path)["Location"] == url(campaign)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.finished_at) == (State.SENDING, None)
    assert counts(campaign) == {"queued": 3, "failed": 1, "sent": 1}
    assert store.llen("email") > 0
    words = [str(one) for one in client.get(url(campaign)).context["messages"]]
    assert words == ["3 letters are queued again.", "No letter is unknown any more."]
    assert client.get(path)["Location"] == url(campaign)


def test_in_chunks_and_none_left_reopens_nothing(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CHUNK", 2)
    add(campaign, "unknown", 5)
    assert retry.retry_unknown(campaign=campaign) == 5
    campaign.deliveries.update(status="sent")
    assert endings.finish(campaign.pk)
    assert retry.retry_unknown(campaign=campaign) == 0
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED


@pytest.mark.parametrize("state", [State.DRAFT, State.CANCELLING, State.CANCELLED])
def test_what_was_ended_stays_so(campaign: Campaign, client: Client, state: str) -> None:
    add(campaign, "unknown")
    Campaign.objects.update(state=state)
    with pytest.raises(Conflict):
        retry.retry_unknown(campaign=campaign)
    assert counts(campaign) == {"unknown": 1}
    assert "Send again" not in client.get(url(campaign), follow=True).content.decode()


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_queue_each_letter_once(campaign: Campaign, store: redis.Redis) -> None:
    add(campaign, "unknown", 20)
    clicks = [in_thread(retry.retry_unknown, campaign=campaign) for _ in range(3)]
    assert sum(click.result(timeout=30) for click in clicks) == 20


# Resends


def test_resend_to_those_who_did_not_open(
    campaign: Campaign, teammate: User, client_of: ClientOf
) -> None:
    opened, _closed, clicked = add(campaign, "sent", 3)
    add(campaign, "failed")
    engagement.note_open(campaign.pk, opened.contact_id)
    engagement.note_click(campaign.pk, clicked.contact_id)
    make_contact(campaign.workspace, to=campaign.lists.get())  # joined later
    client = client_of(teammate)
    assert 'id="resend"' not in client.get(url(campaign)).content.decode()
    assert endings.finish(campaign.pk)
    assert "1 letter was accepted and not opened" in client.get(url(campaign)).content.decode()
    answer = client.post(url(campaign, "resend/"))
    copy = Campaign.objects.latest("pk")
    assert answer["Location"] == url(copy, "edit/")
    assert (copy.not_opened_id, copy.state, copy.html) == (campaign.pk, State.DRAFT, campaign.html)
    page = client.get(url(copy, "edit/")).content.decode()
    assert "have not opened it when this letter goes" in page
    assert f'name="not_opened" value="{campaign.pk}"' in page
    counted = client.get(
        "/w/shop/campaigns/audience/",
        {
            "lists": str(campaign.lists.get().pk),
            "include_verdicts": "valid",
            "not_opened": str(campaign.pk),
        },
    ).context["audience"]
    assert (counted.sendable, counted.left_out) == (1, {"opened": 4})
    summary = client.get(url(copy, "launch/")).content.decode()
    assert "Launch to 1 contact" in summary
    assert "have not opened it" in summary
    Campaign.objects.filter(pk=copy.pk).update(state=State.SENDING)
    assert audience.snapshot(copy.pk) == 1


def test_a_copy_of_a_resend_is_for_the_same_people(campaign: Campaign, owner: User) -> None:
    Campaign.objects.update(state=State.FINISHED, track_clicks=False)
    campaign.refresh_from_db()
    resend = campaigns.resend_campaign(campaign=campaign, by=owner)
    copy = campaigns.duplicate_campaign(campaign=resend, by=owner)
    assert copy.not_opened == campaign
    assert (copy.track_opens, copy.track_clicks) == (True, False)


def test_where_opens_were_not_counted_there_is_no_resend(
    campaign: Campaign, client: Client
) -> None:
    add(campaign, "sent")
    Campaign.objects.update(state=State.FINISHED, track_opens=False)
    assert 'id="resend"' not in client.get(url(campaign)).content.decode()
    answer = client.post(url(campaign, "resend/"), headers={"accept": "application/json"})
    assert answer.status_code == 409


def test_the_audience_of_another_workspace_s_campaign_is_not_counted(
    workspace: Workspace, outsider: User, client_of: ClientOf, campaign: Campaign
) -> None:
    answer = client_of(outsider).get(
        "/w/elsewhere/campaigns/audience/", {"not_opened": campaign.pk}
    )
    assert "audience" not in answer.context


def test_the_forecast_counts_the_providers_of_the_launch(
    campaign: Campaign, client: Client
) -> None:
    to = campaign.lists.get()
    for email in ("a@gmail.com", "b@gmail.com", "c@example.com", "d@mail.ru"):
        make_contact(campaign.workspace, email, to=to)
    make_contact(campaign.workspace, "e@gmail.com", to=to, verdict="invalid")
    counted = selectors.reach(campaign).by_provider
    assert counted["gmail"] == 2
    assert audience.snapshot(campaign.pk) == 4
    assert counted == {
        row.key: row.total for row in selectors.breakdown(selectors.tallied(campaign))[0]
    }
