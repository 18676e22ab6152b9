"""Notices of providers, as they come in by HTTP."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from apps.accounts.models import Workspace
from apps.campaigns import letters
from apps.campaigns.models import Delivery
from apps.mailer.models import Contact
from apps.returns.models import InboundMessage, Webhook
from apps.returns.services import reading
from core import secrets


def hook(workspace: Workspace, provider: str, secret: str = "") -> Webhook:
    return Webhook.objects.create(
        workspace=workspace,
        provider=provider,
        key=f"key-of-{provider}",
        secret_encrypted=secrets.encrypt(secret),
    )


def post(client: Client, provider: str, body: Any, **headers: str) -> int:
    """The status of the answer; what was stored is read."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(
        f"/hooks/{provider}/key-of-{provider}/",
        data,
        content_type="application/json",
        headers=headers,
    )
    for message in InboundMessage.objects.exclude(due_at=None):
        reading.read(message.pk)
    return answer.status_code


def message_id(row: Delivery) -> str:
    return letters.message_id_of(row.campaign_id, row.contact_id, "news@shop.test")


def state(delivery: Delivery) -> tuple[str, str, str]:
    delivery.refresh_from_db()
    contact = Contact.objects.get(pk=delivery.contact_id)
    return delivery.status, delivery.fault, contact.status
