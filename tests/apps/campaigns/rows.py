"""The ledger's rows as its tests make and look at them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import ledger
from apps.mailer.models import Contact
from mailkit.providers import OTHER
from tests.support.factories import make_contact, make_delivery

PAST = timedelta(hours=-1)


def rows_of(campaign: Campaign, number: int, **fields: Any) -> list[Contact]:
    contacts_ = [make_contact(campaign.workspace) for _ in range(number)]
    for contact in contacts_:
        make_delivery(campaign, contact, **fields)
    return contacts_


def statuses(campaign: Campaign) -> dict[str, int]:
    return {status: n for status, n in selectors.status_counts(campaign).items() if n}


def row_of(campaign: Campaign, contact: Contact) -> Delivery:
    return Delivery.objects.get(campaign=campaign, contact=contact)


def held(campaign: Campaign, *, handed: bool = False, limit: int = 10) -> uuid.UUID:
    token = uuid.uuid4()
    assert ledger.claim(campaign.pk, token, limit, OTHER)
    if handed:
        hand_off(campaign, token)
    return token


def hand_off(campaign: Campaign, token: uuid.UUID) -> set[int]:
    """Of all rows of the campaign: the ledger has to see for itself which the token holds."""
    rows = Delivery.objects.filter(campaign=campaign)
    return ledger.hand_off(campaign.pk, token, list(rows.values_list("contact_id", flat=True)))


def let_leases_end(campaign: Campaign) -> None:
    leased = Delivery.objects.filter(campaign=campaign, lease_until__isnull=False)
    leased.update(lease_until=timezone.now() + PAST)


def make_due(campaign: Campaign) -> None:
    Delivery.objects.filter(campaign=campaign, status=Delivery.Status.DEFERRED).update(
        next_attempt_at=timezone.now() + PAST
    )
