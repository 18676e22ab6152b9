"""Reading a stored message and applying what it says, once."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.campaigns import tokens
from apps.campaigns.services import thresholds
from apps.returns.models import InboundMessage
from apps.returns.services import effects, notices
from apps.returns.services.effects import Letter, Said, TooEarly
from apps.senders.selectors import policy_of
from mailkit import dsn

logger = logging.getLogger(__name__)

# A reader that dies leaves its message due again after this, doubled with each attempt.
LEASE = timedelta(seconds=30)
MOST_ATTEMPTS = 8


def read(message_id: int) -> bool:
    """Apply a message that is due; whether it was this call that did it."""
    message = _take(message_id)
    return message is not None and _apply(message)


def _apply(message: InboundMessage) -> bool:
    kind, found = notices.read(message) if message.webhook_id else _of_mail(message)
    try:
        with transaction.atomic():
            # Whoever took it later, because this one was slow, counts instead.
            done = InboundMessage.objects.filter(
                pk=message.pk, attempts=message.attempts, due_at__isnull=False
            ).update(due_at=None, kind=kind)
            if not done:
                return False
            campaigns = {effects.apply(one, message) for one in found}
    except TooEarly:
        return False
    for campaign in campaigns - {None}:
        assert campaign is not None
        thresholds.watch(campaign, policy_of(campaign.workspace))
    return True


def _take(message_id: int) -> InboundMessage | None:
    """Make the message ours for a while; None where it is somebody's or done."""
    now = timezone.now()
    due = InboundMessage.objects.filter(pk=message_id, due_at__lte=now)
    message = due.first()
    if message is None:
        return None
    if message.attempts >= MOST_ATTEMPTS:
        logger.error("inbound message %s is given up after %s attempts", message_id, MOST_ATTEMPTS)
        due.update(due_at=None, kind="other")
        return None
    rest = LEASE * 2**message.attempts
    taken = due.filter(attempts=message.attempts).update(
        attempts=F("attempts") + 1, due_at=now + rest
    )
    message.attempts += 1
    return message if taken else None


def _of_mail(message: InboundMessage) -> tuple[str, list[Said]]:
    returned = dsn.read(bytes(message.data))
    named = _named(message, returned)
    if named is None:
        return returned.kind, []
    mailbox, campaign_id, contact_id = named
    letter = Letter(campaign_id, contact_id)
    if mailbox == tokens.UNSUBSCRIBE_BY_MAIL:
        wish = returned.kind in ("other", "challenge")  # no program's answer
        report = dsn.Report("other" if wish else returned.kind, text=returned.subject)
        key = f"unsubscribe:{message.digest[:40]}"
        return "unsubscribe" if wish else returned.kind, [
            Said(letter, report, key, unsubscribes=wish)
        ]
    report = _worst(returned)
    return returned.kind, [Said(letter, report, f"mail:{message.digest[:40]}")]


def _named(message: InboundMessage, returned: dsn.Returned) -> tuple[str, int, int] | None:
    """The letter that a message is about, by a token that only we can have made."""
    for address in (message.recipient, *returned.addresses):
        if named := tokens.read_local_part(address.rpartition("@")[0]):
            return named
    for message_id in returned.message_ids:
        if ids := tokens.read_message_id(message_id):
            return (tokens.RETURN_PATH, *ids)
    return None


def _worst(returned: dsn.Returned) -> dsn.Report:
    """The return path is of one recipient: where a report names several, what is final counts."""
    for report in returned.reports:
        if report.kind == returned.kind:
            return report
    return dsn.Report(returned.kind, text=returned.subject)
