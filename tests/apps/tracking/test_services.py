from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection

from apps.accounts.models import Workspace
from apps.campaigns import selectors, tokens
from apps.campaigns.models import Campaign
from apps.campaigns.tokens import Kind
from apps.mailer.models import Contact, Suppression
from apps.tracking.models import Event
from apps.tracking.services import partitions, recipients
from tests.support.factories import make_campaign, make_contact, make_delivery, make_workspace

State = Campaign.State


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=State.SENDING)


@pytest.fixture
def contact(campaign: Campaign) -> Contact:
    contact = make_contact(campaign.workspace, "anna@inbox.sandbox.test")
    make_delivery(campaign, contact)
    return contact


def token_of(campaign: Campaign, contact: Contact) -> str:
    return tokens.sign(Kind.UNSUBSCRIBE, campaign.pk, contact.pk)


def test_a_token_names_its_recipient(campaign: Campaign, contact: Contact) -> None:
    recipient = recipients.read_token(token_of(campaign, contact))
    assert recipient == recipients.Recipient(campaign, contact)


def test_a_token_needs_a_letter_behind_it(campaign: Campaign, contact: Contact) -> None:
    workspace = campaign.workspace
    elsewhere = make_workspace()
    never_sent = make_contact(workspace)
    other_campaign = make_campaign(workspace, state=State.SENDING)
    stranger = make_contact(elsewhere)
    make_delivery(campaign, stranger)  # a row that should not be there
    for one, person in (
        (campaign, never_sent),
        (other_campaign, contact),
        (campaign, stranger),
        (make_campaign(elsewhere), contact),
    ):
        assert recipients.read_token(token_of(one, person)) is None
    for ids in ((10**9, contact.pk), (campaign.pk, 10**9), (2**63, 2**63), (0, 0)):
        assert recipients.read_token(tokens.sign(Kind.UNSUBSCRIBE, *ids)) is None
    for forged in ("", "x", token_of(campaign, contact)[:-1], "A" * 43, "%00", "Ж" * 43):
        assert recipients.read_token(forged) is None


def test_the_erased_have_no_page(campaign: Campaign, contact: Contact) -> None:
    token = token_of(campaign, contact)
    contact.delete()
    assert recipients.read_token(token) is None


def test_a_no_counts_at_once_in_all_campaigns_of_the_workspace(
    campaign: Campaign, contact: Contact
) -> None:
    later = make_campaign(campaign.workspace, state=State.PAUSED)
    make_delivery(later, contact, status="deferred")
    elsewhere = make_workspace()
    namesake = make_contact(elsewhere, contact.email)
    theirs = make_campaign(elsewhere, state=State.SENDING)
    make_delivery(theirs, namesake)
    recipient = recipients.Recipient(campaign, contact)
    recipients.unsubscribe(recipient=recipient)
    recipients.unsubscribe(recipient=recipient)
    contact.refresh_from_db()
    assert contact.status == Contact.Status.UNSUBSCRIBED
    entry = Suppression.objects.get()
    assert (entry.workspace, entry.email, entry.reason) == (
        campaign.workspace,
        contact.email,
        "unsubscribed",
    )
    assert entry.source == f"campaign {campaign.pk}"
    for one in (campaign, later):
        assert selectors.status_counts(one)["suppressed"] == 1
    namesake.refresh_from_db()
    assert namesake.status == Contact.Status.SUBSCRIBED
    assert selectors.status_counts(theirs)["queued"] == 1


def test_a_mistaken_click_is_undone_but_no_other_suppression(
    campaign: Campaign, contact: Contact
) -> None:
    recipient = recipients.Recipient(campaign, contact)
    recipients.unsubscribe(recipient=recipient)
    recipients.resubscribe(recipient=recipient)
    contact.refresh_from_db()
    assert contact.status == Contact.Status.SUBSCRIBED
    assert not Suppression.objects.exists()
    Suppression.objects.create(
        workspace=campaign.workspace, email=contact.email, reason="complained"
    )
    recipients.unsubscribe(recipient=recipient)
    recipients.resubscribe(recipient=recipient)
    assert Suppression.objects.get().reason == "complained"


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_a_bounce_or_complaint_is_not_undone_by_a_click(
    campaign: Campaign, contact: Contact, status: str
) -> None:
    Contact.objects.update(status=status)
    recipient = recipients.Recipient(campaign, contact)
    recipients.unsubscribe(recipient=recipient)
    recipients.resubscribe(recipient=recipient)
    contact.refresh_from_db()
    assert contact.status == status


@pytest.mark.django_db
def test_a_month_is_made_once_and_has_the_indexes(workspace: Workspace) -> None:
    """Attached beside a default partition with events of other months."""
    moment = datetime(2031, 2, 28, 23, 59, tzinfo=UTC)
    old = {"workspace_id": workspace.pk, "campaign_id": 1, "contact_id": 1, "kind": "open"}
    Event.objects.create(at=datetime(1999, 1, 1, tzinfo=UTC), number=1, **old)
    assert partitions.ensure_month(moment)
    assert not partitions.ensure_month(moment)
    Event.objects.create(at=moment, number=1, **old)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM tracking_event ORDER BY at")
        assert [row[0] for row in cursor.fetchall()] == [
            "tracking_event_default", "tracking_event_2031_02",
        ]  # fmt: skip
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'tracking_event_2031_02'")
        assert cursor.fetchone()[0] == 2
