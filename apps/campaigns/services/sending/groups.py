"""Groups of letters on their way, and what is learned from their answers."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import InterfaceError, OperationalError, connection
from django.utils.translation import gettext_lazy as _

from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch, soft_bounces
from apps.campaigns.services.ledger import results
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.sending.handover import Handover, Outcome, Ready
from apps.campaigns.services.sending.outcomes import not_begun, result_of
from apps.mailer.services import contacts
from apps.senders.models import SendingPolicy
from apps.senders.selectors import Route
from apps.senders.services.limits import Limits, Seats
from mailkit.smtp import faults
from mailkit.smtp.outcomes import Accepted, Broken

logger = logging.getLogger(__name__)

# How long, and how often, to try to write answers while the database is away.
SETTLE_SECONDS = 60.0
SETTLE_AGAIN_SECONDS = 0.5
# So many refusals of the sender in a group, and more than half of it, are no accident.
SENDER_REFUSED = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Up to `size` rows of one provider on their way. Two threads may have to do with it."""

    route: Route
    limits: Limits
    seats: Seats
    token: uuid.UUID
    provider: str
    size: int


def record(
    campaign: Campaign,
    policy: SendingPolicy,
    group: Group,
    handover: Handover,
    left: Sequence[Ready],
) -> bool:
    """Write what is known of a group, and draw from it what concerns the next ones.

    Whether something went wrong with a letter.
    """
    told = handover.collect()
    faulty = {
        row: faults.classify(outcome) for row, outcome in told if not isinstance(outcome, Accepted)
    }
    number, throttled = len(told), sum(fault.throttled for fault in faulty.values())
    refused = {row for row, fault in faulty.items() if fault.sender_fault}
    if len(refused) >= max(SENDER_REFUSED, number // 2 + 1):
        refusal = next(outcome for row, outcome in told if row in refused)
        launch.pause_by_itself(campaign.pk, refusal_reason(refusal))
        left = [*left, *refused]
        told = [(row, outcome) for row, outcome in told if row not in refused]
    retry_for = timedelta(hours=policy.retry_for_hours)
    answers = [result_of(row, outcome, retry_for) for row, outcome in told]
    answers += [not_begun(row.contact_id) for row in left]
    if answers:
        _settle(campaign.pk, group, answers)
    if throttled:
        group.limits.throttled(group.provider, throttled, number)
    group.limits.succeeded(group.provider, number - len(faulty))
    bounced = [result.contact_id for result in answers if result.fault == "mailbox"]
    if bounced:
        contacts.mark_bounced(campaign.workspace, bounced)
    soft = [
        result.contact_id
        for result in answers
        if result.status == Delivery.Status.FAILED and result.fault in soft_bounces.FAULTS
    ]
    if soft:
        soft_bounces.review(campaign.workspace, soft)
    return bool(faulty)


def _settle(campaign_id: int, group: Group, answers: Sequence[Result]) -> None:
    """Write answers that only this process knows: a database that is away is waited for."""
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            results.settle(campaign_id, group.token, answers, group.route.relay_id)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > until:
                raise
            logger.warning("answers could not be written, trying again: %s", error)
            connection.close()
            time.sleep(SETTLE_AGAIN_SECONDS)
        else:
            return


def refusal_reason(outcome: Outcome) -> str:
    """For people: why a campaign is paused."""
    words = (
        f"{outcome.error}: {outcome.detail}"
        if isinstance(outcome, Broken)
        else f"{outcome.reply.code} {outcome.reply.text}"
    )
    return str(_("The SMTP relay refuses to send: %(words)s") % {"words": words})
