"""What the outcome of a letter makes of its row."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.campaigns.models import Delivery
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.sending.handover import Outcome, Ready
from apps.senders.faults import RELAY_STAGES
from mailkit.smtp import faults
from mailkit.smtp.outcomes import Accepted, Broken

LONGEST_DELAY = timedelta(hours=4)
FIRST_DELAY_AFTER_BREAK = timedelta(seconds=10)
UNREADABLE_SECRET = _("A saved password or DKIM key cannot be read any more. Enter it again.")

Status = Delivery.Status


def result_of(row: Ready, outcome: Outcome | None, retry_for: timedelta) -> Result:
    """The row's next status. A 4xx or a lost connection is tried again for `retry_for`."""
    make = partial(Result, row.contact_id)
    if outcome is None:
        return not_begun(row.contact_id)
    if isinstance(outcome, Accepted):
        return make(Status.SENT, "body", outcome.reply.code, outcome.reply.text)
    fault = faults.classify(outcome)
    again = partial(_again, make, row.attempts, retry_for, outcome.stage, fault.kind)
    if isinstance(outcome, Broken):
        words = f"{outcome.error}: {outcome.detail}" if outcome.detail else outcome.error
        if outcome.after_dot:
            return make(Status.UNKNOWN, outcome.stage, None, words, fault=fault.kind)
        if outcome.error == "stopped":  # our own client refuses to write such an address
            return make(Status.FAILED, outcome.stage, None, words, fault=fault.kind)
        return again(None, words, FIRST_DELAY_AFTER_BREAK)
    code, words = outcome.reply.code, outcome.reply.text
    later = fault.kind == "rate" or outcome.stage in RELAY_STAGES
    if outcome.permanent and not later:
        return make(Status.FAILED, outcome.stage, code, words, fault=fault.kind)
    return again(code, words, timedelta(seconds=settings.SMTP_RETRY_FIRST_SECONDS))


def _again(
    make: Callable[..., Result],
    attempts: int,
    retry_for: timedelta,
    stage: str,
    fault: str,
    code: int | None,
    words: str,
    first: timedelta,
) -> Result:
    """Deferred with growing, jittered delays; failed once they add up to more than `retry_for`.

    Counted from the row's own first attempt, not from the launch: the last rows of a large or
    long paused campaign are tried again as well.
    """
    delays = [min(first * 2 ** min(n, 10), LONGEST_DELAY) for n in range(attempts + 1)]
    if sum(delays, timedelta(0)) > retry_for:
        return make(Status.FAILED, stage, code, words, fault=fault)
    due = timezone.now() + delays[-1] * random.uniform(0.8, 1.2)
    return make(Status.DEFERRED, stage, code, words, due, fault)


def not_begun(contact_id: int, due: datetime | None = None) -> Result:
    """Its turn did not come: no attempt."""
    return Result(contact_id, Status.DEFERRED, next_attempt_at=due or timezone.now())
