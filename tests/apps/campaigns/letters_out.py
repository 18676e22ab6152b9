"""Campaigns with rows to send, and looks at what became of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from django.utils import timezone

from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.sending import batches, connections
from apps.mailer.models import Contact
from apps.senders.models import Relay
from tests.mailkit.smtp.fake_server import FakeServer
from tests.support.factories import make_contact, make_delivery

StartRelay = Callable[..., FakeServer]


def queue(campaign: Campaign, *emails: str, **fields: Any) -> list[Contact]:
    contacts = [make_contact(campaign.workspace, email, first_name="Anna") for email in emails]
    for contact in contacts:
        make_delivery(campaign, contact, **fields)
    return contacts


def queue_many(campaign: Campaign, number: int, at: str = "n", **fields: Any) -> list[Contact]:
    return queue(campaign, *(f"{at}{i}@inbox.sandbox.test" for i in range(number)), **fields)


def only_row(campaign: Campaign) -> Delivery:
    return Delivery.objects.get(campaign=campaign)


def parsed(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=policy.default)


def send_all(campaign: Campaign) -> None:
    while batches.send_batch(campaign.pk):
        pass


def make_all_due(campaign: Campaign) -> None:
    Delivery.objects.filter(campaign=campaign, status=Delivery.Status.DEFERRED).update(
        next_attempt_at=timezone.now() - timedelta(hours=1)
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def dead_relay(campaign: Campaign, **fields: Any) -> Relay:
    return Relay.objects.create(
        workspace=campaign.workspace,
        host="127.0.0.1",
        port=free_port(),
        security="none",
        **fields,
    )


def say_goodbye() -> None:
    """Close the connections that are kept for the next letter."""

    async def close() -> None:
        for pool in list(sender._pools.values()):
            await pool.close_idle()

    sender = connections.sender()
    asyncio.run_coroutine_threadsafe(close(), sender._loop).result(timeout=30)
