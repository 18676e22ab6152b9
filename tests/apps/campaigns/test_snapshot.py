from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger import audience, queueing
from apps.mailer.models import Contact, DomainFact, Suppression, Verdict
from apps.senders.models import SendingPolicy
from tests.apps.campaigns.rows import (
    row_of,
)
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

State = Campaign.State
Status = Delivery.Status


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
    assert audience.snapshot(campaign.pk) == 2
    assert set(Delivery.objects.values_list("contact_id", "email", "status")) == {
        (both.pk, both.email, "queued"),
        (alone.pk, alone.email, "queued"),
    }


def test_snapshot_takes_the_chosen_verdicts(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    campaign = make_campaign(workspace, chosen, include_verdicts=["risky", "unknown"])
    expected = {make_contact(workspace, to=chosen, verdict=v).pk for v in ("risky", "unknown")}
    make_contact(workspace, to=chosen)
    audience.snapshot(campaign.pk)
    assert set(Delivery.objects.values_list("contact_id", flat=True)) == expected


def test_snapshot_again_adds_only_what_is_missing_and_changes_nothing(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    campaign = make_campaign(workspace, chosen)
    contact = make_contact(workspace, to=chosen)
    assert audience.snapshot(campaign.pk) == 1
    Delivery.objects.update(status=Status.SENT)
    assert audience.snapshot(campaign.pk) == 0
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
    assert audience.snapshot(campaign.pk) == 1
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
    assert audience.snapshot(campaign.pk) == shown.sendable


# In chunks


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_chunks_take_each_member_of_several_lists_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(audience, "CHUNK", chunk)
    elsewhere = make_workspace()
    first, second = make_list(workspace), make_list(workspace)
    campaign = make_campaign(workspace, first, second, state=State.PREPARING)
    expected = set()
    for number in range(12):
        # Ends of chunks with nobody to send to among them.
        status = "unsubscribed" if number in {0, 3, 4, 5, 11} else "subscribed"
        contact = make_contact(workspace, to=first, status=status)
        if number % 2:
            contact.lists.add(second)
        if number == 7:
            Suppression.objects.create(workspace=workspace, email=contact.email, reason="manual")
        elif status == "subscribed":
            expected.add(contact.pk)
        make_contact(elsewhere).lists.add(first)
    assert audience.snapshot(campaign.pk) == len(expected)
    assert set(Delivery.objects.values_list("contact_id", flat=True)) == expected
    assert audience.snapshot(campaign.pk) == 0


# Providers


def test_rows_have_the_provider_of_their_domain(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    campaign = make_campaign(workspace, chosen)
    now = timezone.now()
    for domain, provider, sandbox in [
        ("hosted.test", "yandex", False),
        ("alone.test", "", False),
        ("pretended.test", "gmail", True),
        ("mail.ru", "gmail", False),  # nobody's MX decides over what the table says
    ]:
        DomainFact.objects.create(domain=domain, sandbox=sandbox, provider=provider, expires_at=now)
    expected = {
        "gmail.com": "gmail",
        "mail.ru": "mailru",
        "hosted.test": "yandex",
        "alone.test": "other",
        "pretended.test": "other",
        "nobody.test": "other",
    }
    for domain in expected:
        make_contact(workspace, f"anna@{domain}", to=chosen)
    audience.snapshot(campaign.pk)
    found = dict(Delivery.objects.values_list("email", "provider"))
    assert found == {f"anna@{domain}": provider for domain, provider in expected.items()}
    assert queueing.queued_providers(campaign.pk) == ["gmail", "mailru", "other", "yandex"]


# In the recipient's own time


def local_time(workspace: Workspace, wall: datetime, **zones: str) -> dict[str, datetime | None]:
    """When letters that begin at a wall time of Berlin are due, by their contact's first name."""
    policy, _new = SendingPolicy.objects.get_or_create(workspace=workspace)
    policy.time_zone = "Europe/Berlin"
    policy.save()
    chosen = make_list(workspace)
    for name, zone in zones.items():
        make_contact(workspace, first_name=name, fields={"timezone": zone}, to=chosen)
    make_contact(workspace, first_name="nowhere", to=chosen)
    make_contact(workspace, first_name="other_name", fields={"time_zone": "Asia/Tokyo"}, to=chosen)
    begin = wall.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    campaign = make_campaign(workspace, chosen, scheduled_at=begin, recipient_time=True)
    audience.snapshot(campaign.pk)
    rows = Delivery.objects.filter(campaign=campaign)
    assert {row.status for row in rows if row.next_attempt_at} <= {"deferred"}
    assert {row.status for row in rows if not row.next_attempt_at} <= {"queued"}
    return {Contact.objects.get(pk=row.contact_id).first_name: row.next_attempt_at for row in rows}


def test_each_row_waits_for_its_own_clock(workspace: Workspace) -> None:
    wall = datetime(timezone.now().year + 1, 7, 1, 10, 0)
    due = local_time(workspace, wall, ny="America/New_York", nonsense="Mars/Olympus", empty="")
    for name, zone in {
        "ny": "America/New_York",
        "other_name": "Asia/Tokyo",
        # Whose clock we do not know gets it by the workspace's.
        "nonsense": "Europe/Berlin",
        "empty": "Europe/Berlin",
        "nowhere": "Europe/Berlin",
    }.items():
        assert due[name] == wall.replace(tzinfo=ZoneInfo(zone)), name


def test_whose_clock_is_past_the_time_gets_it_at_once(workspace: Workspace) -> None:
    now = timezone.now().astimezone(ZoneInfo("Europe/Berlin"))
    wall = (now + timedelta(minutes=30)).replace(tzinfo=None)
    due = local_time(workspace, wall, kiribati="Pacific/Kiritimati", samoa="Pacific/Pago_Pago")
    assert due["kiribati"] is None
    assert due["samoa"] is not None
    assert due["nowhere"] is not None


def test_clocks_that_change_between_are_heeded(workspace: Workspace) -> None:
    """Between the two Sundays in March New York has changed its clocks and Berlin has not."""
    year = timezone.now().year + 1
    sunday = next(day for day in range(8, 15) if datetime(year, 3, day, tzinfo=UTC).weekday() == 6)
    wall = datetime(year, 3, sunday, 2, 30)
    due = local_time(workspace, wall, ny="America/New_York")
    assert due["ny"] is not None
    assert due["ny"].astimezone(ZoneInfo("America/New_York")).hour in {1, 3}
    later = datetime(year, 3, sunday + 1, 10, 0)
    due = local_time(workspace, later, ny="America/New_York")
    berlin = later.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert due["ny"] is not None
    assert due["ny"] - berlin == timedelta(hours=5)


# To those who have not opened


def test_only_those_who_got_an_earlier_one_and_have_not_opened_it(workspace: Workspace) -> None:
    chosen = make_list(workspace)
    earlier = make_campaign(workspace, chosen, state=State.FINISHED)
    other = make_campaign(workspace, chosen, state=State.FINISHED)
    campaign = make_campaign(workspace, chosen, not_opened=earlier)
    unopened = make_contact(workspace, to=chosen)
    make_delivery(earlier, unopened, status="sent")
    opened = make_contact(workspace, to=chosen)
    make_delivery(earlier, opened, status="sent", opened_at=timezone.now())
    for status in ("failed", "unknown", "suppressed", "cancelled"):
        make_delivery(earlier, make_contact(workspace, to=chosen), status=status)
    make_delivery(other, make_contact(workspace, to=chosen), status="sent")
    make_contact(workspace, to=chosen)
    left_the_list = make_contact(workspace)
    make_delivery(earlier, left_the_list, status="sent")
    said_no = make_contact(workspace, to=chosen, status="unsubscribed")
    make_delivery(earlier, said_no, status="sent")
    assert audience.snapshot(campaign.pk) == 1
    assert Delivery.objects.get(campaign=campaign).contact_id == unopened.pk
    assert audience.snapshot(campaign.pk) == 0
