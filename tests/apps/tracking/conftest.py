from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.campaigns import links
from apps.campaigns.models import Campaign, Delivery
from apps.tracking import stream
from core import valkey
from tests.support.factories import make_campaign, make_contact, make_delivery


@pytest.fixture(autouse=True)
def _empty_stream() -> Iterator[None]:
    valkey.client().delete(stream.KEY)
    links.forget()
    yield
    assert stream.outbox.flush(10)
    valkey.client().delete(stream.KEY)


@pytest.fixture
def delivery(workspace) -> Delivery:
    """A letter that was handed over a day ago, of a campaign that is being sent."""
    campaign = make_campaign(workspace, state=Campaign.State.SENDING)
    contact = make_contact(workspace, "anna@inbox.sandbox.test")
    return sent(make_delivery(campaign, contact, status="sent"))


def sent(row: Delivery, hours_ago: float = 24) -> Delivery:
    then = timezone.now().replace(microsecond=0) - timedelta(hours=hours_ago)
    Delivery.objects.filter(pk=row.pk).update(updated_at=then)
    Campaign.objects.filter(pk=row.campaign_id).update(
        launched_at=then - timedelta(hours=1), created_at=then - timedelta(hours=1)
    )
    row.refresh_from_db()
    return row
