"""Opens and clicks by people, as the writer notes them in the ledger."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from apps.campaigns.services import engagement
from apps.campaigns.services.engagement import Engaged


def note_open(campaign_id: int, contact_id: int) -> None:
    _note(Engaged(campaign_id, contact_id, timezone.now()))


def note_click(campaign_id: int, contact_id: int) -> None:
    now = timezone.now()
    _note(Engaged(campaign_id, contact_id, now, now))


def _note(one: Engaged) -> None:
    with transaction.atomic():
        engagement.note([one])
        engagement.settle_unknown([(one.campaign_id, one.contact_id)])


def take_back(campaign_id: int, contact_id: int) -> None:
    with transaction.atomic():
        engagement.take_back([(campaign_id, contact_id)])
