"""Sending: claim rows, compose, look once more, hand over by SMTP, write what the server said.

From the claim to the last look is one transaction; SMTP begins when it is committed.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from django.utils.functional import Promise, lazy
from django.utils.translation import gettext_lazy as _

from apps.campaigns import letters, selectors
from apps.campaigns.hours import opens_at
from apps.campaigns.letters import LetterFault
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.campaigns.services import connections, launch, ledger, monitoring
from apps.campaigns.services.handover import Handover, Outcome, Ready
from apps.campaigns.services.ledger import Claimed, Result
from apps.mailer.models import Contact
from apps.mailer.services import contacts
from apps.senders import stops
from apps.senders.faults import RELAY_STAGES, fault_of
from apps.senders.selectors import (
    Route,
    choose_route,
    login_refused_everywhere,
    policy_of,
    routes_of,
)
from apps.senders.services.limits import Limits, Seats, limits_for
from apps.senders.services.relays import note_relay
from core import queues
from core.errors import AppError
from mailkit.smtp import faults
from mailkit.smtp.outcomes import Accepted, Broken

logger = logging.getLogger(__name__)

# The most letters that a process has in the ledger as being handed over.
GROUP = 200
SMALLEST_GROUP = 10
# A group is meant to take about this long: what a slow relay is given at once is little, since
# all of it is unknown should the process die.
GROUP_SECONDS = 0.5
SLICE_SECONDS = 5.0
# For letters that are with the server when the slice ends; others then see them out.
GRACE_SECONDS = 1.0
LONGEST_DELAY = timedelta(hours=4)
FIRST_DELAY_AFTER_BREAK = timedelta(seconds=10)
# Until another process gives up its connections to a provider.
SEAT_WAIT_SECONDS = 1.0
# While other processes hold all rows that are still queued.
OTHERS_SECONDS = 0.02
# How long, and how often, to try to write answers while the database is away.
SETTLE_SECONDS = 60.0
SETTLE_AGAIN_SECONDS = 0.5
# How often to look whether too much goes wrong.
WATCH_SECONDS = 1.0
# So many refusals of the sender in a group, and more than half of it, are no accident.
SENDER_REFUSED = 3

Status = Delivery.Status
# In the language of whoever is told.
_explained = lazy(stops.explain, str)


def send_batch(campaign_id: int) -> bool:
    """Send group after group for a few seconds; whether to go on with the campaign at once.

    A short slice keeps the queue fair: another campaign's task gets its turn in between. What
    cannot go on now (a limit, the hours, a relay that fails) is found by the sweeper later.
    """
    campaign = _campaign(campaign_id)
    if campaign is None:
        return False
    ledger.plan_anew()
    ledger.queue_due(campaign_id)
    return Slice(campaign).run()


def send_one(campaign_id: int, contact_id: int) -> None:
    """Send one queued row, for a retry that a person asked for; should there be no way now, the
    campaign's other turns find it."""
    campaign = _campaign(campaign_id)
    if campaign is None:
        return
    row = Delivery.objects.filter(campaign=campaign_id, contact=contact_id)
    for provider in row.values_list("provider", flat=True):
        Slice(campaign).send_one(contact_id, provider)
    ledger.finish(campaign_id)


def _campaign(campaign_id: int) -> Campaign | None:
    """None for a doorbell that rings after its campaign is gone."""
    found = Campaign.objects.select_related("workspace", "created_by")
    return found.filter(pk=campaign_id).first()


@dataclass(frozen=True, slots=True)
class Group:
    """Up to `size` rows of one provider on their way. Two threads may have to do with it."""

    route: Route
    limits: Limits
    seats: Seats
    token: uuid.UUID
    provider: str
    size: int


class Slice:
    """One process's turn with a campaign."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._policy = policy_of(campaign.workspace)
        self._until = time.monotonic() + SLICE_SECONDS
        self._key = uuid.uuid4().hex
        self._faulty = False
        self._watch_at = 0.0
        self._well: Route | None = None  # the relay whose health is noted: once a slice will do

    def run(self) -> bool:
        """Whether there is more to send at once."""
        if (
            self._is_closed()
            or not self._find_way()
            or not connections.sender().has_room(self._route)
        ):
            return False
        try:
            return self._send_in_turn()
        finally:
            if self._faulty:
                self._watch()

    def send_one(self, contact_id: int, provider: str) -> None:
        """Where the hours or the limits allow no letter now, the row stays queued."""
        if self._is_closed() or not self._find_way():
            return
        group = self._group(provider, 1)
        if isinstance(group, Group):
            self._send(group, partial(ledger.claim_one, self._campaign.pk, contact_id))

    def _find_way(self) -> bool:
        """The letter and a route; what only a person can mend pauses the campaign."""
        reason: str | Promise
        try:
            self._letter = letters.compiled(self._campaign)
            return self._find_route()
        except AppError as error:
            reason = error.message
        except InvalidToken:
            reason = _("A saved password or DKIM key cannot be read any more. Enter it again.")
        launch.pause_by_itself(self._campaign.pk, reason)
        return False

    def _find_route(self) -> bool:
        campaign = self._campaign
        routes = routes_of(campaign.workspace)
        if not routes:
            launch.pause_by_itself(campaign.pk, _("All SMTP relays are switched off."))
        route = choose_route(routes, self._key)
        if route is None:
            return False
        domain = campaign.from_email.rpartition("@")[2]
        self._route = route
        self._limits = limits_for(campaign.workspace, route.relay_id, domain)
        return True

    def _send_in_turn(self) -> bool:
        """Groups of one provider after another, so that none has to wait for the others."""
        campaign = self._campaign
        size = SMALLEST_GROUP
        waits: dict[str, float] = {}
        found: list[str] = []
        while time.monotonic() < self._until:
            found = found or ledger.queued_providers(campaign.pk)
            if not found:
                ledger.finish(campaign.pk)
                return False
            able = [one for one in found if one not in {*campaign.paused_providers, *waits}]
            if not able:
                return self._wait_for_limits(waits)
            claimed = 0
            for provider in able:
                started = time.monotonic()
                if started >= self._until:
                    break
                group = self._group(provider, size)
                if not isinstance(group, Group):
                    waits[provider] = group
                    continue
                rows = self._send(group, partial(ledger.claim, campaign.pk, provider, group.size))
                if rows is None:
                    self._key = uuid.uuid4().hex
                    return self._find_route()
                claimed += rows
                if rows < group.size:
                    found = []  # look again: this one may have no more
                if self._faulty and time.monotonic() >= self._watch_at:
                    self._watch()
                took = time.monotonic() - started
                if took < GROUP_SECONDS / 2:
                    size = min(size * 2, GROUP)
                elif took > GROUP_SECONDS * 2:
                    size = max(size // 2, SMALLEST_GROUP)
            if not (claimed or self._is_sending()):
                return False
            if not claimed and not waits:
                time.sleep(OTHERS_SECONDS)
        return True

    def _group(self, provider: str, size: int) -> Group | float:
        """Room for up to `size` letters to a provider, or in how many seconds to ask again."""
        grant = self._limits.take(provider, size)
        if not grant.granted:
            return grant.retry_after
        seats = self._limits.seats(provider, min(self._route.max_connections, grant.granted))
        if not seats.number:
            self._limits.give_back(provider, grant.granted)
            return SEAT_WAIT_SECONDS
        return Group(self._route, self._limits, seats, uuid.uuid4(), provider, grant.granted)

    def _wait_for_limits(self, waits: dict[str, float]) -> bool:
        """Wait for a limit that ends soon, unless other work is in the queue."""
        seconds = min(waits.values(), default=SLICE_SECONDS)
        if waits and seconds >= SLICE_SECONDS:
            monitoring.note_wait(self._campaign.pk, seconds)
        if seconds >= SLICE_SECONDS or queues.waiting("email"):
            return seconds < SLICE_SECONDS
        time.sleep(min(seconds, 1.0))
        return True

    def _is_sending(self) -> bool:
        self._campaign.refresh_from_db(fields=["state", "paused_providers"])
        return self._campaign.state == Campaign.State.SENDING

    def _send(self, group: Group, claim: Callable[[], list[Claimed]]) -> int | None:
        """Take queued rows to their next status; how many, or None where the relay cannot be
        reached."""
        try:
            rows, handover = self._take(group, claim)
            if not handover.contact_ids:
                group.seats.release()
                return rows
            future = self._hand_over(group, handover)
        except BaseException:
            group.seats.release()
            raise
        # Asked before what is told and left: what comes after that is the thread's to write.
        done = future.done()
        try:
            left = handover.left()
            group.limits.give_back(group.provider, len(left))
            self._faulty |= self._record(group, handover, left)
        finally:
            if done:
                group.seats.release()
            else:
                connections.sender().see_out(
                    future,
                    renew=partial(self._renew, group, handover.contact_ids),
                    finish=partial(self._record_rest, group, handover),
                )
        return rows if not done or self._reached(group, handover) else None

    def _take(self, group: Group, claim: Callable[[], list[Claimed]]) -> tuple[int, Handover]:
        """How many rows there were, and the letters that may go, committed as being handed over.

        The other rows are settled or stay queued.
        """
        with transaction.atomic():
            rows = claim()
            ready, settled = self._compose(rows)
            if settled:
                ledger.settle(self._campaign.pk, None, settled)
            contact_ids = [one.contact_id for one in ready]
            may_go = ledger.hand_off(self._campaign.pk, group.token, contact_ids) if ready else []
        group.limits.give_back(group.provider, group.size - len(may_go))
        return len(rows), Handover(one for one in ready if one.contact_id in may_go)

    def _hand_over(self, group: Group, handover: Handover) -> Future[None]:
        """Until all is told, or the slice is over and a moment more."""
        future = connections.sender().hand_over(
            group.route,
            handover,
            envelope_from=self._campaign.from_email,
            connections=min(group.seats.number, len(handover.contact_ids)),
        )
        wait([future], timeout=max(self._until - time.monotonic(), GROUP_SECONDS))
        if not future.done():
            handover.stop()
            wait([future], timeout=GRACE_SECONDS)
        if future.done():
            future.result()
        return future

    def _record(self, group: Group, handover: Handover, left: Sequence[Ready]) -> bool:
        """Write what is known of a group, and draw from it what concerns the next ones.

        Whether something went wrong with a letter.
        """
        told = handover.collect()
        faulty = {
            row: faults.classify(outcome)
            for row, outcome in told
            if not isinstance(outcome, Accepted)
        }
        number, throttled = len(told), sum(fault.throttled for fault in faulty.values())
        refused = {row for row, fault in faulty.items() if fault.sender_fault}
        if len(refused) >= max(SENDER_REFUSED, number // 2 + 1):
            refusal = next(outcome for row, outcome in told if row in refused)
            launch.pause_by_itself(self._campaign.pk, _refusal(refusal))
            left = [*left, *refused]
            told = [(row, outcome) for row, outcome in told if row not in refused]
        retry_for = timedelta(hours=self._policy.retry_for_hours)
        results = [result_of(row, outcome, retry_for) for row, outcome in told]
        results += [_not_begun(row.contact_id) for row in left]
        if results:
            self._settle(group, results)
        if throttled:
            group.limits.throttled(group.provider, throttled, number)
        group.limits.succeeded(group.provider, number - len(faulty))
        bounced = [result.contact_id for result in results if result.fault == "mailbox"]
        if bounced:
            contacts.mark_bounced(self._campaign.workspace, bounced)
        return bool(faulty)

    def _settle(self, group: Group, results: Sequence[Result]) -> None:
        """Write answers that only this process knows: a database that is away is waited for."""
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                ledger.settle(self._campaign.pk, group.token, results, group.route.relay_id)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > until:
                    raise
                logger.warning("answers could not be written, trying again: %s", error)
                connection.close()
                time.sleep(SETTLE_AGAIN_SECONDS)
            else:
                return

    def _record_rest(self, group: Group, handover: Handover) -> None:
        """What a slow server said at last, or did not say; in a thread of its own."""
        try:
            if self._record(group, handover, handover.left()):
                self._watch()
            self._reached(group, handover)
        finally:
            group.seats.release()

    def _renew(self, group: Group, contact_ids: Sequence[int]) -> None:
        group.seats.renew()
        ledger.renew(self._campaign.pk, group.token, contact_ids)

    def _reached(self, group: Group, handover: Handover) -> bool:
        """Whether the relay took letters; its health is noted either way."""
        failure = handover.failure
        if handover.answered and self._well != group.route:
            note_relay(group.route.relay_id, "")
            self._well = group.route
        if handover.answered or failure is None:
            return True
        note_relay(group.route.relay_id, fault_of(failure))
        workspace = self._campaign.workspace
        alone = len(routes_of(workspace)) == 1 or login_refused_everywhere(workspace)
        if alone and faults.classify(failure).sender_fault:
            launch.pause_by_itself(self._campaign.pk, _refusal(failure))
        return False

    def _compose(self, rows: Sequence[Claimed]) -> tuple[list[Ready], list[Result]]:
        """The letters that can be made now, and what becomes of the other rows."""
        now = timezone.now()
        ready, settled = [], []
        for row in rows:
            fields = row.fields or {}
            if self._campaign.recipient_time:
                zone = str(fields.get("timezone") or fields.get("time_zone") or "")
                opening = self._closed_until(zone)
                if opening:
                    settled.append(_not_begun(row.contact_id, opening))
                    continue
            values = {**fields, "first_name": row.first_name, "last_name": row.last_name}
            try:
                message = self._letter.letter(row.contact_id, row.email, values, date=now)
            except LetterFault as error:
                settled.append(Result(row.contact_id, Status.FAILED, "compose", reply=str(error)))
            else:
                ready.append(Ready(row.contact_id, row.email, message, row.attempts))
        return ready, settled

    def _is_closed(self) -> bool:
        """Outside the hours that the campaign keeps for all; those of each recipient come later."""
        closed = self._closed_until(self._policy.time_zone)
        return closed is not None and not self._campaign.recipient_time

    def _closed_until(self, zone: str) -> datetime | None:
        campaign = self._campaign
        if campaign.hours_from is None or campaign.hours_until is None:
            return None
        return opens_at(
            timezone.now(),
            zone,
            campaign.hours_from,
            campaign.hours_until,
            otherwise=self._policy.time_zone,
        )

    def _watch(self) -> None:
        """Stop by itself where too many letters bounce or are blocked."""
        self._faulty, self._watch_at = False, time.monotonic() + WATCH_SECONDS
        tallied = selectors.tallied(self._campaign)
        # Read after the counters: who lets it go on meanwhile has seen as much.
        found = Campaign.objects.filter(pk=self._campaign.pk)
        resumed = found.values_list("resumed_at", flat=True).first() or []  # none: it is gone
        since = {(p, s, f): number for p, s, f, number in resumed}
        for stop in stops.verdict(tallied.by_kind, self._policy, since):
            launch.pause_by_itself(self._campaign.pk, _explained(stop.stored()), stop.provider)


def _not_begun(contact_id: int, due: datetime | None = None) -> Result:
    """Its turn did not come: no attempt."""
    return Result(contact_id, Status.DEFERRED, next_attempt_at=due or timezone.now())


def _refusal(outcome: Outcome) -> str:
    words = (
        f"{outcome.error}: {outcome.detail}"
        if isinstance(outcome, Broken)
        else f"{outcome.reply.code} {outcome.reply.text}"
    )
    return str(_("The SMTP relay refuses to send: %(words)s") % {"words": words})


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
    routes = routes_of(campaign.workspace)
    route = choose_route(routes, str(test_id)) or next(iter(routes), None)
    settle = partial(_settle_test, test_id)
    if route is None:
        settle(TestSend.State.FAILED, None, str(_("All SMTP relays are switched off.")))
        return
    try:
        contact = Contact.objects.filter(workspace=campaign.workspace, email=test.to).first()
        message = letters.compiled(campaign).test_letter(
            test.to, letters.sample_values(contact), test.pk
        )
    except (LetterFault, AppError) as error:
        settle(TestSend.State.FAILED, None, str(error))
        return
    letter = Ready(0, test.to, message, 0)
    handover = Handover([letter])
    future = connections.sender().hand_over(
        route, handover, envelope_from=campaign.from_email, connections=1
    )

    def finish() -> None:
        outcome = next((outcome for _row, outcome in handover.collect()), handover.failure)
        # A person waits for a test letter: what would be tried again later has failed now.
        result = result_of(letter, outcome, retry_for=timedelta(0))
        settle(TestSend.State(result.status), result.code, result.reply)

    wait([future], timeout=SLICE_SECONDS)
    if future.done():
        future.result()
        finish()
    else:
        connections.sender().see_out(future, renew=partial(_renew_test, test_id), finish=finish)


def _renew_test(test_id: int) -> None:
    held = TestSend.objects.filter(pk=test_id, state=TestSend.State.SENDING)
    held.update(updated_at=timezone.now())


def _settle_test(test_id: int, state: str, code: int | None, reply: str) -> None:
    """Unknown too: the sweeper may have given it up too early."""
    held = [TestSend.State.SENDING, TestSend.State.UNKNOWN]
    TestSend.objects.filter(pk=test_id, state__in=held).update(
        state=state, code=code, reply=reply[:2000], updated_at=timezone.now()
    )


def result_of(row: Ready, outcome: Outcome | None, retry_for: timedelta) -> Result:
    """The row's next status. A 4xx or a lost connection is tried again for `retry_for`."""
    make = partial(Result, row.contact_id)
    if outcome is None:
        return _not_begun(row.contact_id)
    if isinstance(outcome, Accepted):
        return make(Status.SENT, "body", outcome.reply.code, outcome.reply.text)
    fault = faults.classify(outcome)
    again = partial(_again, make, row.attempts, retry_for, outcome.stage, fault.kind)
    if isinstance(outcome, Broken):
        words = f"{outcome.error}: {outcome.detail}" if outcome.detail else outcome.error
        if outcome.error == "stopped":  # our own client refuses to write such an address
            return make(Status.FAILED, outcome.stage, None, words, fault=fault.kind)
        if outcome.after_dot:
            return make(Status.UNKNOWN, outcome.stage, None, words, fault=fault.kind)
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
