"""Objects for tests, made with as few words as the test needs."""

from __future__ import annotations

import itertools
from typing import Any

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.partitions import ensure_partition
from apps.mailer.models import Contact, ContactList, ListMember, Verdict

_numbers = itertools.count(1)


def make_user(email: str = "", **fields: Any) -> User:
    return User.objects.create_user(email or f"user{next(_numbers)}@example.com", None, **fields)


def make_workspace(owner: User | None = None, **fields: Any) -> Workspace:
    number = next(_numbers)
    workspace = Workspace.objects.create(
        **{"name": f"Workspace {number}", "slug": f"workspace-{number}"} | fields
    )
    if owner:
        make_member(workspace, owner, role=Membership.Role.OWNER)
    return workspace


def make_member(workspace: Workspace, user: User, **fields: Any) -> Membership:
    return Membership.objects.create(workspace=workspace, user=user, **fields)


def make_list(workspace: Workspace, name: str = "") -> ContactList:
    return ContactList.objects.create(workspace=workspace, name=name or f"List {next(_numbers)}")


def make_contact(
    workspace: Workspace, email: str = "", *, to: ContactList | None = None, **fields: Any
) -> Contact:
    """A valid, subscribed contact, in the list `to` where one is given."""
    contact = Contact.objects.create(
        workspace=workspace,
        email=email or f"person{next(_numbers)}@inbox.sandbox.test",
        **{"verdict": Verdict.VALID, "reason": "mailbox_exists"} | fields,
    )
    if to:
        ListMember.objects.create(list=to, contact=contact)
    return contact


def make_campaign(workspace: Workspace, *lists: ContactList, **fields: Any) -> Campaign:
    """A draft that could be launched."""
    campaign = Campaign.objects.create(
        workspace=workspace,
        **{
            "name": f"Campaign {next(_numbers)}",
            "subject": "News for {{ first_name }}",
            "from_name": "Shop",
            "from_email": "news@inbox.sandbox.test",
            "html": "<p>Hello {{ first_name }}</p>",
            "text": "Hello {{ first_name }}",
        }
        | fields,
    )
    campaign.lists.set(lists)
    # Rolled back tests use up ids all the same.
    ensure_partition(campaign.pk)
    return campaign


def make_delivery(campaign: Campaign, contact: Contact, **fields: Any) -> Delivery:
    return Delivery.objects.create(
        campaign=campaign, contact=contact, email=contact.email, **fields
    )
