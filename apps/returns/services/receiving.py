"""Storing what came back before anybody is told that it was received."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.utils import timezone

from apps.campaigns import tokens
from apps.returns.models import InboundMessage, Mailbox, Webhook
from core import queues

LARGEST = 1024 * 1024  # octets of a mail that are kept: a report stands at the beginning
KEPT = timedelta(days=90)


def is_ours(recipient: str) -> bool:
    """Whether an address carries a token of ours; at whatever domain."""
    return tokens.read_local_part(recipient.rpartition("@")[0]) is not None


def store(
    *,
    source: str,
    data: bytes,
    recipient: str = "",
    sender: str = "",
    mailbox: Mailbox | None = None,
    webhook: Webhook | None = None,
) -> InboundMessage | None:
    """Keep it and ring for whoever reads it; None where it has been stored before.

    The same octets to the same recipient are the same message: whoever lost our answer sends it
    again.
    """
    owner = mailbox or webhook
    digest = hashlib.sha256(
        f"{source}\n{owner.pk if owner else ''}\n{recipient}\n".encode() + data
    ).hexdigest()
    message, created = InboundMessage.objects.get_or_create(
        digest=digest,
        defaults={
            "workspace_id": owner.workspace_id if owner else None,
            "mailbox": mailbox,
            "webhook": webhook,
            "source": source,
            "sender": sender.replace("\0", "")[:320],
            "recipient": recipient.replace("\0", "")[:320],
            "data": data if webhook else data[:LARGEST],
            "size": len(data),
        },
    )
    if not created:
        return None
    ring(message.pk)
    return message


def ring(message_id: int) -> None:
    from apps.returns.tasks import read_inbound

    queues.ring(read_inbound, message_id)


def ring_due() -> int:
    """Ring for what is due and has nobody at work on it; how many."""
    due = InboundMessage.objects.filter(due_at__lte=timezone.now()).order_by("due_at")
    ids = list(due.values_list("pk", flat=True)[:1000])
    for message_id in ids:
        ring(message_id)
    return len(ids)


def remove_old(limit: int = 1000) -> int:
    """Forget what was read long ago; the reports stay. How many messages."""
    old = InboundMessage.objects.filter(received_at__lt=timezone.now() - KEPT, due_at=None)
    ids = list(old.order_by("received_at").values_list("pk", flat=True)[:limit])
    return InboundMessage.objects.filter(pk__in=ids).delete()[0] if ids else 0
