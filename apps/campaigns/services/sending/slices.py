"""A process's turn with a campaign: groups of its letters, as fast as the limits allow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.campaigns import letters
from apps.campaigns.models import Campaign
from apps.campaigns.services import launch, monitoring, thresholds
from apps.campaigns.services.ledger import claims, endings, leases, queueing, results
from apps.campaigns.services.ledger.claims import Claimed
from apps.campaigns.services.sending import connections
from apps.campaigns.services.sending.composing import closed_until, compose
from apps.campaigns.services.sending.groups import Group, record, refusal_reason
from apps.campaigns.services.sending.handover import Handover
from apps.campaigns.services.sending.outcomes import UNREADABLE_SECRET
from apps.senders.faults import fault_of
from apps.senders.selectors import (
    Route,
    choose_route,
    login_refused_everywhere,
    policy_of,
    return_path_domain,
    routes_of,
)
from apps.senders.services.limits import limits_for
from apps.senders.services.relays import note_relay
from core import queues
from core.errors import AppError
from mailkit.smtp import faults

# The most letters that a process has in the ledger as being handed over.
GROUP = 200
SMALLEST_GROUP = 10
# A group is meant to take about this long: what a slow relay is given at once is little, since
# all of it is unknown should the process die.
GROUP_SECONDS = 0.5
# As long as that, and as many times over as there are chains of tasks, a small campaign waits for
# its turn behind a large one.
SLICE_SECONDS = 3.0
# A limit that ends sooner is waited for; the sweeper finds the others.
SOON_SECONDS = 5.0
# For letters that are with the server when the slice ends; others then see them out.
GRACE_SECONDS = 1.0
# Until another process gives up its connections to a provider.
SEAT_WAIT_SECONDS = 1.0
# While other processes hold all rows that are still queued.
OTHERS_SECONDS = 0.02
# How often to look whether too much goes wrong.
WATCH_SECONDS = 1.0


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
            self._send(group, partial(claims.claim_one, self._campaign.pk, contact_id))

    def _find_way(self) -> bool:
        """The letter and a route; what only a person can mend pauses the campaign."""
        reason: str | Promise
        try:
            self._letters = letters.compiled_variants(self._campaign)
            for letter in self._letters.values():
                letter.read_files()  # not later: within a transaction
            return self._find_route()
        except AppError as error:
            reason = error.message
        except InvalidToken:
            reason = UNREADABLE_SECRET
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
        self._return_domain = return_path_domain(campaign.workspace, campaign.from_email)
        self._limits = limits_for(campaign.workspace, route.relay_id, domain)
        return True

    def _send_in_turn(self) -> bool:
        """Groups of one provider after another, so that none has to wait for the others."""
        campaign = self._campaign
        size = SMALLEST_GROUP
        waits: dict[str, float] = {}
        found: list[str] = []
        while time.monotonic() < self._until:
            found = found or queueing.queued_providers(campaign.pk)
            if not found:
                endings.finish(campaign.pk)
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
                rows = self._send(group, partial(claims.claim, campaign.pk, provider, group.size))
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
        seconds = min(waits.values(), default=SOON_SECONDS)
        if waits and seconds >= SOON_SECONDS:
            monitoring.note_wait(self._campaign.pk, seconds)
        if seconds >= SOON_SECONDS or queues.waiting("email"):
            return seconds < SOON_SECONDS
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
            self._faulty |= record(self._campaign, self._policy, group, handover, left)
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
        going = 0
        try:
            with transaction.atomic():
                rows = claim()
                ready, settled = compose(
                    self._campaign, self._policy, self._letters, rows, self._return_domain
                )
                if settled:
                    results.settle(self._campaign.pk, None, settled)
                ids = [one.contact_id for one in ready]
                may_go = claims.hand_off(self._campaign.pk, group.token, ids) if ready else set()
            going = len(may_go)
        finally:
            group.limits.give_back(group.provider, group.size - going)
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

    def _record_rest(self, group: Group, handover: Handover) -> None:
        """What a slow server said at last, or did not say; in a thread of its own."""
        try:
            if record(self._campaign, self._policy, group, handover, handover.left()):
                self._watch()
            self._reached(group, handover)
        finally:
            group.seats.release()

    def _renew(self, group: Group, contact_ids: Sequence[int]) -> None:
        group.seats.renew()
        leases.renew(self._campaign.pk, group.token, contact_ids)

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
            launch.pause_by_itself(self._campaign.pk, refusal_reason(failure))
        return False

    def _is_closed(self) -> bool:
        """Outside the hours that the campaign keeps for all; those of each recipient come later."""
        closed = closed_until(self._campaign, self._policy, self._policy.time_zone)
        return closed is not None and not self._campaign.recipient_time

    def _watch(self) -> None:
        """Stop by itself where too many letters bounce or are blocked."""
        self._faulty, self._watch_at = False, time.monotonic() + WATCH_SECONDS
        thresholds.watch(self._campaign, self._policy)
