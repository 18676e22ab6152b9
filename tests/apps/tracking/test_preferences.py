"""The page behind the unsubscribe link: lists, how often, reasons, and the way back."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger import claims
from apps.campaigns.tokens import Kind
from apps.mailer.models import Contact, ContactList, LeavingReason, ListMember, Suppression
from apps.tracking.models import Event
from apps.tracking.services.recipients import Recipient
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
    make_list,
    make_workspace,
)

State = Campaign.State


@pytest.fixture
def news(workspace: Workspace) -> ContactList:
    return _public(make_list(workspace, "cold leads"), "Weekly news")


@pytest.fixture
def recipient(workspace: Workspace, news: ContactList) -> Recipient:
    contact = make_contact(workspace, "anna@inbox.sandbox.test", to=news)
    campaign = make_campaign(workspace, news, state=State.SENDING)
    make_delivery(campaign, contact, status="sent")
    return Recipient(campaign, contact)


def _public(one: ContactList, name: str) -> ContactList:
    ContactList.objects.filter(pk=one.pk).update(public_name=name)
    one.refresh_from_db()
    return one


def path_of(recipient: Recipient) -> str:
    return f"/u/{tokens.sign(Kind.UNSUBSCRIBE, recipient.campaign.pk, recipient.contact.pk)}"


def post(recipient: Recipient, **data: object) -> str:
    response = Client(enforce_csrf_checks=True).post(path_of(recipient), data)
    assert response.status_code == 200
    assert not response.cookies
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["X-Robots-Tag"] == "noindex"
    return response.content.decode()


def lists_of(recipient: Recipient) -> set[int]:
    return set(recipient.contact.lists.values_list("pk", flat=True))


def hand_off(campaign: Campaign, *contacts: Contact) -> set[int]:
    with transaction.atomic():
        claims.claim(campaign.pk, "other", 100)
        return claims.hand_off(campaign.pk, uuid.uuid4(), [one.pk for one in contacts])


def running(recipient: Recipient, *lists: ContactList) -> Campaign:
    campaign = make_campaign(recipient.campaign.workspace, *lists, state=State.SENDING)
    make_delivery(campaign, recipient.contact)
    return campaign


# Lists


def test_only_lists_with_a_public_name_are_shown(
    recipient: Recipient, workspace: Workspace
) -> None:
    make_list(workspace, "Secret list")
    _public(make_list(make_workspace()), "Elsewhere")
    page = Client().get(path_of(recipient)).content.decode()
    assert "Weekly news" in page
    for hidden in ("cold leads", "Secret list", "Elsewhere"):
        assert hidden not in page


def test_leaving_a_list_and_coming_back(
    recipient: Recipient, news: ContactList, workspace: Workspace
) -> None:
    hidden = make_list(workspace)
    offers = _public(make_list(workspace), "Offers")
    ListMember.objects.create(list=hidden, contact=recipient.contact)
    shown = [news.pk, offers.pk]
    for _ in range(2):
        page = post(recipient, action="choose", shown=shown, lists=[offers.pk])
        assert "Your choice is saved" in page
        assert lists_of(recipient) == {offers.pk, hidden.pk}
    post(recipient, action="choose", shown=shown, lists=shown)
    assert lists_of(recipient) == {*shown, hidden.pk}
    recipient.contact.refresh_from_db()
    assert recipient.contact.status == Contact.Status.SUBSCRIBED


def test_a_list_that_was_not_on_the_page_is_not_left(
    recipient: Recipient, news: ContactList, workspace: Workspace
) -> None:
    later = _public(make_list(workspace), "Later")
    ListMember.objects.create(list=later, contact=recipient.contact)
    post(recipient, action="choose", shown=[news.pk])
    assert lists_of(recipient) == {later.pk}


def test_lists_of_others_and_nonsense_change_nothing(
    recipient: Recipient, news: ContactList, workspace: Workspace
) -> None:
    elsewhere = _public(make_list(make_workspace()), "Elsewhere")
    secret = make_list(workspace)
    for bad in (elsewhere.pk, secret.pk, "x", "1" * 30, "\x00"):
        for name in ("lists", "shown"):
            page = post(recipient, **{"action": "choose", "shown": news.pk} | {name: bad})
            assert "This choice cannot be made" in page
    page = post(recipient, action="choose", every_days="-1")
    assert "This choice cannot be made" in page
    assert lists_of(recipient) == {news.pk}


def test_rows_already_queued_follow_a_list_that_was_left(
    recipient: Recipient, news: ContactList, workspace: Workspace
) -> None:
    offers = _public(make_list(workspace), "Offers")
    ListMember.objects.create(list=offers, contact=recipient.contact)
    to_news, to_both = running(recipient, news), running(recipient, news, offers)
    tested = running(recipient, news)
    tested.deliveries.update(status=Delivery.Status.WAITING)  # for the winner of its variants
    other = make_contact(workspace, to=news)
    make_delivery(to_news, other)
    post(recipient, action="choose", shown=[news.pk, offers.pk], lists=[offers.pk])
    rows = {
        (row.campaign_id, row.contact_id): (row.status, row.fault)
        for row in Delivery.objects.exclude(status="sent")
    }
    assert rows == {
        (to_news.pk, recipient.contact.pk): ("suppressed", "left_list"),
        (tested.pk, recipient.contact.pk): ("suppressed", "left_list"),
        (to_news.pk, other.pk): ("queued", ""),
        (to_both.pk, recipient.contact.pk): ("queued", ""),
    }


# Less often


def test_fewer_letters_hold_for_rows_already_queued(recipient: Recipient) -> None:
    campaign = running(recipient)
    other = make_contact(campaign.workspace)
    make_delivery(campaign, other)
    post(recipient, action="choose", every_days="7")
    assert hand_off(campaign, recipient.contact, other) == {other.pk}
    row = Delivery.objects.get(campaign=campaign, contact=recipient.contact.pk)
    assert (row.status, row.fault) == ("suppressed", "seldom")


def test_one_letter_in_so_many_days(recipient: Recipient) -> None:
    contact = recipient.contact
    post(recipient, action="choose", every_days="30")
    Contact.objects.update(quiet_until=timezone.now() - timedelta(hours=1))
    first, second = running(recipient), running(recipient)
    assert hand_off(first, contact) == {contact.pk}
    contact.refresh_from_db()
    assert contact.quiet_campaign == first.pk
    assert contact.quiet_until is not None
    assert timedelta(days=29) < contact.quiet_until - timezone.now() <= timedelta(days=30)
    assert hand_off(second, contact) == set()
    # Another attempt at the same letter is no second letter.
    Delivery.objects.filter(campaign=first).update(status="queued", token=None, lease_until=None)
    assert hand_off(first, contact) == {contact.pk}
    assert Delivery.objects.get(campaign=second).fault == "seldom"
    post(recipient, action="choose", every_days="")
    third = running(recipient)
    assert hand_off(third, contact) == {contact.pk}


@pytest.mark.django_db(transaction=True)
def test_a_contact_that_somebody_holds_waits_for_the_next_group(recipient: Recipient) -> None:
    """Neither a deadlock nor a letter: an unsubscription holds the contact, then wants the row."""
    from tests.support.concurrency import in_thread

    contact, campaign = recipient.contact, running(recipient)
    Contact.objects.update(every_days=7)
    with transaction.atomic():
        Contact.objects.select_for_update().get(pk=contact.pk)
        assert in_thread(hand_off, campaign, contact).result(timeout=30) == set()
    assert Delivery.objects.get(campaign=campaign).status == "queued"
    assert hand_off(campaign, contact) == {contact.pk}


def test_nobody_who_asked_for_less_costs_one_look(recipient: Recipient) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT id FROM mailer_contact"
            " WHERE id = ANY('{1,2}'::bigint[]) AND every_days IS NOT NULL"
        )
        plan = "\n".join(row for (row,) in cursor.fetchall())
    assert "contact_seldom" in plan


def test_choosing_the_same_again_does_not_begin_anew(recipient: Recipient) -> None:
    post(recipient, action="choose", every_days="7")
    recipient.contact.refresh_from_db()
    before = recipient.contact.quiet_until
    post(recipient, action="choose", every_days="7")
    recipient.contact.refresh_from_db()
    assert recipient.contact.quiet_until == before
    assert 'value="7" checked' in Client().get(path_of(recipient)).content.decode().replace(
        'id="id_every_days_1" ', ""
    )


# Reasons, and the way back


def test_a_reason_is_kept_once_and_the_last_word_counts(recipient: Recipient) -> None:
    page = post(recipient, action="unsubscribe")
    assert "Would you say why?" in page
    post(recipient, action="reason", reason="too_many", comment="Every\r\nday! <b>\x00")
    page = post(recipient, action="reason", reason="other", comment="No time")
    assert "Thank you" in page
    said = LeavingReason.objects.get()
    assert (said.reason, said.comment) == ("other", "No time")
    assert said.workspace_id == recipient.campaign.workspace_id
    assert Event.objects.filter(kind="unsubscribe").count() == 1


@pytest.mark.parametrize("reason", ["", "nonsense"])
def test_a_reason_that_is_none_is_asked_for_again(recipient: Recipient, reason: str) -> None:
    post(recipient, action="unsubscribe")
    assert "Choose one of the reasons" in post(recipient, action="reason", reason=reason)
    page = post(recipient, action="reason", reason="other", comment="x" * 501)
    assert "At most 500 characters" in page
    assert not LeavingReason.objects.exists()


def test_an_unknown_action_is_a_no(recipient: Recipient) -> None:
    """Providers send what they like in a one-click request; a no must never be lost."""
    assert "You are unsubscribed" in post(recipient, action="anything", x="y")
    assert Suppression.objects.exists()


def test_another_tab_shows_what_is_true(recipient: Recipient, news: ContactList) -> None:
    post(recipient, action="unsubscribe")
    assert "You are unsubscribed" in Client().get(path_of(recipient)).content.decode()
    assert "You are unsubscribed" in post(recipient, action="choose", shown=[news.pk])
    assert "You are subscribed again" in post(recipient, action="resubscribe")
    assert "Unsubscribe?" in post(recipient, action="reason", reason="other")


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_no_way_back_is_shown_where_there_is_none(recipient: Recipient, status: str) -> None:
    Contact.objects.update(status=status)
    assert "subscribe me again" not in Client().get(path_of(recipient)).content.decode()
    assert "You are unsubscribed" in post(recipient, action="resubscribe")


# Words


@pytest.mark.parametrize(
    ("field", "author", "spoken", "language"),
    [
        ("RU", "en", "en", "ru"),
        ("", "ru", "en", "ru"),
        ("en-GB", "ru", "ru", "en"),
        ("de", "ru", "en", "ru"),
        ("", "", "ru", "ru"),
        ("", "", "de", "en"),
    ],
)
def test_the_page_speaks_the_contacts_language_or_the_authors(
    recipient: Recipient, owner: User, field: str, author: str, spoken: str, language: str
) -> None:
    User.objects.filter(pk=owner.pk).update(language=author)
    Campaign.objects.filter(pk=recipient.campaign.pk).update(created_by=owner)
    Contact.objects.update(fields={"language": field} if field else {})
    response = Client().get(path_of(recipient), headers={"accept-language": spoken})
    assert response["Content-Language"] == language
    word = {"ru": "Отписаться?", "en": "Unsubscribe?"}[language]
    assert f"<h1>{word}</h1>" in response.content.decode()
