"""Sending: claim rows, compose, look once more, hand over by SMTP, write what the server said."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from apps.campaigns import letters
from apps.campaigns.letters import LetterFault
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import connections, ledger
from apps.campaigns.services.ledger import Claimed, Result
from apps.mailer.models import Contact
from apps.senders.selectors import Route, route_of
from core.errors import AppError
from mailkit.smtp.outcomes import Accepted, Broken, Refused

GROUP = 50
SLICE_SECONDS = 5.0
DROP_SHOWS_WITHIN = 0.005

Status = Delivery.Status
Outcome = Accepted | Refused | Broken
# Before MAIL FROM nothing was said about the letter: the fault lies with the relay, not with it.
_RELAY_STAGES = frozenset({"connect", "banner", "ehlo", "starttls", "auth"})


def send_batch(campaign_id: int) -> bool:
    """Send group after group for a few seconds; whether the campaign has more to send now.

    A short slice keeps the queue fair: another campaign's task gets its turn in between.
    """
    campaign = Campaign.objects.select_related("workspace", "created_by").get(pk=campaign_id)
    route = route_of(campaign.workspace)
    ledger.queue_due(campaign_id)
    until = time.monotonic() + SLICE_SECONDS
    while time.monotonic() < until:
        token = uuid.uuid4()
        rows = ledger.claim(campaign_id, token, GROUP)
        if not rows:
            ledger.finish(campaign_id)
            return False
        send_rows(campaign, route, token, rows)
    return True


def send_one(campaign_id: int, contact_id: int) -> None:
    """Send one queued row, for a retry that a person asked for."""
    campaign = Campaign.objects.select_related("workspace", "created_by").get(pk=campaign_id)
    token = uuid.uuid4()
    rows = ledger.claim_one(campaign_id, contact_id, token)
    if rows:
        send_rows(campaign, route_of(campaign.workspace), token, rows)
    ledger.finish(campaign_id)


def send_rows(campaign: Campaign, route: Route, token: uuid.UUID, rows: Sequence[Claimed]) -> None:
    """Take claimed rows to their next status."""
    messages, unfit = _compose(campaign, rows)
    if unfit:
        ledger.settle(campaign.pk, token, unfit)
    may_go = ledger.hand_off(campaign.pk, token)
    going = [row for row in rows if row.contact_id in may_go]
    if not going:
        return
    outcomes = connections.sender().run(
        _hand_over(route, campaign.from_email, [(row, messages[row.contact_id]) for row in going]),
        while_waiting=lambda: ledger.renew(campaign.pk, token),
    )
    give_up_at = (campaign.launched_at or timezone.now()) + timedelta(
        hours=settings.RETRY_FOR_HOURS
    )
    ledger.settle(
        campaign.pk,
        token,
        [result_of(row, outcomes[row.contact_id], give_up_at) for row in going],
    )


def send_test_letter(test_id: int) -> None:
    """Send a queued test letter, once: a second worker with the same task does nothing."""
    claimed = TestSend.objects.filter(pk=test_id, state=TestSend.State.QUEUED).update(
        state=TestSend.State.SENDING, updated_at=timezone.now()
    )
    if not claimed:
        return
    test = TestSend.objects.select_related("campaign__workspace", "campaign__created_by").get(
        pk=test_id
    )
    campaign = test.campaign
    try:
        contact = Contact.objects.filter(workspace=campaign.workspace, email=test.to).first()
        message = letters.compiled(campaign).test_letter(
            test.to, letters.sample_values(contact), test.pk
        )
    except (LetterFault, AppError) as error:
        _settle_test(test_id, TestSend.State.FAILED, None, str(error))
        return
    row = Claimed(0, test.to, 0)
    outcomes = connections.sender().run(
        _hand_over(route_of(campaign.workspace), campaign.from_email, [(row, message)]),
        while_waiting=lambda: None,
    )
    # A person waits for a test letter: what would be tried again later has failed now.
    result = result_of(row, outcomes[0], give_up_at=timezone.now())
    _settle_test(test_id, TestSend.State(result.status), result.code, result.reply)


def _settle_test(test_id: int, state: str, code: int | None, reply: str) -> None:
    TestSend.objects.filter(pk=test_id, state=TestSend.State.SENDING).update(
        state=state, code=code, reply=reply[:2000], updated_at=timezone.now()
    )


def result_of(row: Claimed, outcome: Outcome, give_up_at: datetime) -> Result:
    """The row's next status. A 4xx or a lost connection is tried again until `give_up_at`."""
    if isinstance(outcome, Accepted):
        return Result(row.contact_id, Status.SENT, "body", outcome.reply.code, outcome.reply.text)
    if isinstance(outcome, Broken):
        words = f"{outcome.error}: {outcome.detail}" if outcome.detail else outcome.error
        if outcome.error == "stopped":  # our own client refuses to write such an address
            return Result(row.contact_id, Status.FAILED, outcome.stage, None, words)
        if outcome.after_dot:
            return Result(row.contact_id, Status.UNKNOWN, outcome.stage, None, words)
        return _again(row, outcome.stage, None, words, give_up_at, first=timedelta(seconds=10))
    code, words = outcome.reply.code, outcome.reply.text
    if outcome.permanent and outcome.stage not in _RELAY_STAGES:
        return Result(row.contact_id, Status.FAILED, outcome.stage, code, words)
    return _again(row, outcome.stage, code, words, give_up_at, first=timedelta(minutes=5))


def _again(
    row: Claimed,
    stage: str,
    code: int | None,
    words: str,
    give_up_at: datetime,
    *,
    first: timedelta,
) -> Result:
    """Deferred with growing, jittered delays; failed once the next try would be too late."""
    delay = min(first * 2 ** min(row.attempts, 10), timedelta(hours=4))
    due = timezone.now() + delay * random.uniform(0.8, 1.2)
    if due > give_up_at:
        return Result(row.contact_id, Status.FAILED, stage, code, words)
    return Result(row.contact_id, Status.DEFERRED, stage, code, words, due)


def _compose(campaign: Campaign, rows: Sequence[Claimed]) -> tuple[dict[int, bytes], list[Result]]:
    """The messages by contact, and the rows for which none can be made."""
    letter = letters.compiled(campaign)
    contacts = Contact.objects.in_bulk([row.contact_id for row in rows])
    now = timezone.now()
    messages: dict[int, bytes] = {}
    unfit = []
    for row in rows:
        contact = contacts.get(row.contact_id)
        if contact is None:
            continue  # erased: the last look before the hand-off ends its row
        try:
            messages[row.contact_id] = letter.letter(contact, date=now)
        except LetterFault as error:
            unfit.append(Result(row.contact_id, Status.FAILED, "compose", None, str(error)))
    return messages, unfit


async def _let_a_drop_show() -> bool:
    """Hold the end of a letter back for a moment, in which other connections go on.

    A server that hangs up in the middle of a letter is then noticed before the end is sent: the
    letter is deferred, and not unknown.
    """
    await asyncio.sleep(DROP_SHOWS_WITHIN)
    return True


async def _hand_over(
    route: Route, envelope_from: str, messages: Sequence[tuple[Claimed, bytes]]
) -> dict[int, Outcome]:
    """Send over the route's pool; once the relay cannot be reached the rest is not tried."""
    pool = connections.sender().pool(route)
    unreachable: list[Outcome] = []

    async def send(row: Claimed, message: bytes) -> tuple[int, Outcome]:
        async with limit:
            if unreachable:
                return row.contact_id, unreachable[0]
            try:
                outcome = await pool.send(
                    envelope_from, row.email, message, before_dot=_let_a_drop_show
                )
            except ValueError as error:
                return row.contact_id, Broken("mail", "stopped", detail=str(error))
        if not isinstance(outcome, Accepted) and outcome.stage in _RELAY_STAGES:
            unreachable.append(outcome)
        return row.contact_id, outcome

    limit = asyncio.Semaphore(route.max_connections)
    return dict(await asyncio.gather(*(send(row, message) for row, message in messages)))
