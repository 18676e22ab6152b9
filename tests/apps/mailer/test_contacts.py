"""Subscription of one contact, and the list of addresses that are never mailed."""

from __future__ import annotations

import pytest

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, Suppression
from apps.mailer.services import contacts, suppression
from core.errors import InvalidInput
from tests.support import factories

pytestmark = pytest.mark.django_db


def status_of(contact: Contact) -> str:
    return Contact.objects.get(pk=contact.pk).status


def suppressed(workspace: Workspace) -> dict[str, str]:
    return dict(Suppression.objects.filter(workspace=workspace).values_list("email", "reason"))


def test_unsubscribing_works_twice(workspace: Workspace) -> None:
    contact = factories.make_contact(workspace, "ann@example.com")
    for source in ("first", "second"):
        contacts.unsubscribe(contact=contact, source=source)
    assert status_of(contact) == "unsubscribed"
    assert suppressed(workspace) == {"ann@example.com": "unsubscribed"}
    assert Suppression.objects.get().source == "first"


def test_unsubscribing_is_of_one_workspace(workspace: Workspace) -> None:
    elsewhere = factories.make_workspace()
    theirs = factories.make_contact(elsewhere, "ann@example.com")
    contacts.unsubscribe(
        contact=factories.make_contact(workspace, "ann@example.com"), source="test"
    )
    assert status_of(theirs) == "subscribed"
    assert suppressed(elsewhere) == {}


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_a_bounce_is_not_undone_by_the_person(workspace: Workspace, status: str) -> None:
    contact = factories.make_contact(workspace, "ann@example.com", status=status)
    contacts.unsubscribe(contact=contact, source="test")
    assert status_of(contact) == status
    contacts.resubscribe(contact=contact)
    assert status_of(contact) == status


def test_resubscribing(workspace: Workspace) -> None:
    contact = factories.make_contact(workspace, "ann@example.com")
    elsewhere = factories.make_workspace()
    Suppression.objects.create(workspace=elsewhere, email="ann@example.com", reason="unsubscribed")
    contacts.unsubscribe(contact=contact, source="test")
    contacts.resubscribe(contact=contact)
    assert status_of(contact) == "subscribed"
    assert suppressed(workspace) == {}
    assert suppressed(elsewhere) == {"ann@example.com": "unsubscribed"}


@pytest.mark.parametrize("reason", ["manual", "bounced", "complained"])
def test_resubscribing_leaves_other_reasons(workspace: Workspace, reason: str) -> None:
    contact = factories.make_contact(workspace, "ann@example.com")
    Suppression.objects.create(workspace=workspace, email="ann@example.com", reason=reason)
    contacts.unsubscribe(contact=contact, source="test")
    contacts.resubscribe(contact=contact)
    assert suppressed(workspace) == {"ann@example.com": reason}


def test_an_address_is_suppressed_in_its_one_form(workspace: Workspace) -> None:
    for email in (" Ann@Example.COM", "ann@example.com", "Ann <ann@example.com>"):
        suppression.suppress(workspace=workspace, email=email, reason="manual", source="s" * 300)
    entry = Suppression.objects.get()
    assert (entry.email, entry.source) == ("ann@example.com", "s" * 200)
    suppression.remove(suppression=entry)
    assert suppressed(workspace) == {}


@pytest.mark.parametrize("email", ["", "ann", "ann@", "a\r\nb@example.com", "x" * 300 + "@b.ru"])
def test_what_is_no_address_is_not_suppressed(workspace: Workspace, email: str) -> None:
    with pytest.raises(InvalidInput, match="not an email address"):
        suppression.suppress(workspace=workspace, email=email, reason="manual", source="")
