"""Sending: claim rows, compose, look once more, hand over by SMTP, write what the server said."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

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
# A slow server keeps a group, and with it a worker, no longer than this and one letter more.
BEGIN_WITHIN = 60.0
LONGEST_DELAY = timedelta(hours=4)
DROP_SHOWS_WITHIN = 0.005

Status = Delivery.Status
Outcome = Accepted | Refused | Broken
# Before MAIL FROM nothing was said about the letter: the fault lies with the relay, not with it.
_RELAY_STAGES = frozenset({"connect", "banner", "ehlo", "starttls", "auth"})


def send_batch(campaign_id: int) -> bool:
    """Send group after group for a few seconds; whether to go on with the campaign at once.

    A short slice keeps the queue fair: another campaign's task gets its turn in between. Where
    the relay cannot be reached the sweeper comes back to it.
    """
    campaign = _campaign(campaign_id)
    if campaign is None:
        return False
    route = route_of(campaign.workspace)
    ledger.queue_due(campaign_id)
    until = time.monotonic() + SLICE_SECONDS
    while time.monotonic() < until:
        token = uuid.uuid4()
        rows = ledger.claim(campaign_id, token, GROUP)
        if not rows:
            ledger.finish(campaign_id)
            return False
        if not send_rows(campaign, route, token, rows):
            return False
    return True


def send_one(campaign_id: int, contact_id: int) -> None:
    """Send one queued row, for a retry that a person asked for."""
    campaign = _campaign(campaign_id)
    if campaign is None:
        return
    token = uuid.uuid4()
    rows = ledger.claim_one(campaign_id, contact_id, token)
    if rows:
        send_rows(campaign, route_of(campaign.workspace), token, rows)
    ledger.finish(campaign_id)


def _campaign(campaign_id: int) -> Campaign | None:
    """None for a doorbell that rings after its campaign is gone."""
    found = Campaign.objects.select_related("workspace", "created_by")
    return found.filter(pk=campaign_id).first()


def send_rows(campaign: Campaign, route: Route, token: uuid.UUID, rows: Sequence[Claimed]) -> bool:
    """Take claimed rows to their next status; False where the relay cannot be reached."""
    messages, unfit = _compose(campaign, rows)
    if unfit:
        ledger.settle(campaign.pk, token, unfit)
    may_go = ledger.hand_off(campaign.pk, token, [row.contact_id for row in rows])
    going = [row for row in rows if row.contact_id in may_go]
    if not going:
        return True
    outcomes = connections.sender().run(
        _hand_over(route, campaign.from_email, [(row, messages[row.contact_id]) for row in going]),
        while_waiting=lambda: ledger.renew(campaign.pk, token, list(may_go)),
    )
    retry_for = timedelta(hours=settings.RETRY_FOR_HOURS)
    ledger.settle(
        campaign.pk,
        token,
        [result_of(row, outcomes[row.contact_id], retry_for) for row in going],
    )
    return any(reached(outcome) for outcome in outcomes.values())


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
    result = result_of(row, outcomes[0], retry_for=timedelta(0))
    _settle_test(test_id, TestSend.State(result.status), result.code, result.reply)


def _settle_test(test_id: int, state: str, code: int | None, reply: str) -> None:
    """Unknown too: the sweeper may have given it up too early."""
    held = [TestSend.State.SENDING, TestSend.State.UNKNOWN]
    TestSend.objects.filter(pk=test_id, state__in=held).update(
        state=state, code=code, reply=reply[:2000], updated_at=timezone.now()
    )


def reached(outcome: Outcome | None) -> bool:
    """Whether the relay got as far as to hear of a letter."""
    return isinstance(outcome, Accepted) or (
        outcome is not None and outcome.stage not in _RELAY_STAGES
    )


def result_of(row: Claimed, outcome: Outcome | None, retry_for: timedelta) -> Result:
    """The row's next status. A 4xx or a lost connection is tried again for `retry_for`.

    None is a row whose turn did not come: nothing was said about it.
    """
    if outcome is None:
        return Result(row.contact_id, Status.DEFERRED, next_attempt_at=timezone.now())
    if isinstance(outcome, Accepted):
        return Result(row.contact_id, Status.SENT, "body", outcome.reply.code, outcome.reply.text)
    if isinstance(outcome, Broken):
        words = f"{outcome.error}: {outcome.detail}" if outcome.detail else outcome.error
        if outcome.error == "stopped":  # our own client refuses to write such an address
            return Result(row.contact_id, Status.FAILED, outcome.stage, None, words)
        if outcome.after_dot:
            return Result(row.contact_id, Status.UNKNOWN, outcome.stage, None, words)
        return _again(row, outcome.stage, None, words, retry_for, first=timedelta(seconds=10))
    code, words = outcome.reply.code, outcome.reply.text
    if outcome.permanent and outcome.stage not in _RELAY_STAGES:
        return Result(row.contact_id, Status.FAILED, outcome.stage, code, words)
    return _again(row, outcome.stage, code, words, retry_for, first=timedelta(minutes=5))


def _again(
    row: Claimed,
    stage: str,
    code: int | None,
    words: str,
    retry_for: timedelta,
    *,
    first: timedelta,
) -> Result:
    """Deferred with growing, jittered delays; failed once they add up to more than `retry_for`.

    Counted from the row's own first attempt, not from the launch: the last rows of a large or
    long paused campaign are tried again as well.
    """
    delays = [min(first * 2 ** min(n, 10), LONGEST_DELAY) for n in range(row.attempts + 1)]
    if sum(delays, timedelta(0)) > retry_for:
        return Result(row.contact_id, Status.FAILED, stage, code, words)
    due = timezone.now() + delays[-1] * random.uniform(0.8, 1.2)
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
) -> dict[int, Outcome | None]:
    """Send over the route's pool, each connection the next letter until none is left.

    A connection that cannot be had ends its part: some relays allow fewer than we were told.
    Once none can be had the rest is not tried. None stands for letters whose turn did not come.
    """
    pool = connections.sender().pool(route)
    waiting = deque(messages)
    outcomes: dict[int, Outcome | None] = {}
    failure: Outcome | None = None
    begin_before = time.monotonic() + BEGIN_WITHIN

    async def work() -> None:
        nonlocal failure
        while waiting and time.monotonic() < begin_before:
            row, message = waiting.popleft()
            try:
                outcome = await pool.send(
                    envelope_from, row.email, message, before_dot=_let_a_drop_show
                )
            except ValueError as error:
                outcome = Broken("mail", "stopped", detail=str(error))
            if not reached(outcome):
                failure = outcome
                waiting.appendleft((row, message))
                return
            outcomes[row.contact_id] = outcome

    await asyncio.gather(*(work() for _ in range(min(route.max_connections, len(messages)))))
    for row, _message in waiting:
        outcomes[row.contact_id] = failure
    return outcomes
