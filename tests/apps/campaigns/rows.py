"""The ledger's rows as its tests make and look at them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger import claims
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


def claim(campaign: Campaign, limit: int = 10) -> list[int]:
    """The contacts whose rows could be claimed; they are free again."""
    with transaction.atomic():
        return [row.contact_id for row in claims.claim(campaign.pk, OTHER, limit)]


def held(campaign: Campaign, *, limit: int = 10) -> uuid.UUID:
    """The token of rows that are being handed over."""
    token = uuid.uuid4()
    assert hand_off(campaign, token, limit=limit)
    return token


def hand_off(
    campaign: Campaign,
    token: uuid.UUID,
    *,
    limit: int = 10,
    meanwhile: Callable[[], object] = lambda: None,
) -> set[int]:
    """Claim rows and hand them off, with something happening in between."""
    with transaction.atomic():
        rows = claims.claim(campaign.pk, OTHER, limit)
        meanwhile()
        return claims.hand_off(campaign.pk, token, [row.contact_id for row in rows])


def let_leases_end(campaign: Campaign) -> None:
    leased = Delivery.objects.filter(campaign=campaign, lease_until__isnull=False)
    leased.update(lease_until=timezone.now() + PAST)


def make_due(campaign: Campaign) -> None:
    Delivery.objects.filter(campaign=campaign, status=Delivery.Status.DEFERRED).update(
        next_attempt_at=timezone.now() + PAST
    )
