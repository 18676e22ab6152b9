from __future__ import annotations

import uuid
from collections import Counter

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.accounts.models import Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch, monitoring
from apps.campaigns.services.ledger import endings, results
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.models import Contact, Suppression
from apps.mailer.services import contacts
from core.errors import Conflict
from tests.apps.campaigns.rows import (
    PAST,
    hand_off,
)
from tests.support.factories import (
    make_campaign,
    make_contact,
    make_delivery,
)

State = Campaign.State
Status = Delivery.Status


# All of it together


class Worker:
    """A process that holds at most one group; a dead one may still come back late."""

    def __init__(self) -> None:
        self.token: uuid.UUID | None = None
        self.handed: set[int] = set()

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]


class LedgerMachine(RuleBasedStateMachine):
    """Two workers, a sweeper and people, in any order, against the real database.

    `reached` counts by contact the letters that may have reached the server; `asked` how often a
    person asked for another.
    """

    campaign: Campaign
    contacts: list[Contact]
    workers = st.integers(0, 1)
    people = st.integers(0, 4)

    def __init__(self) -> None:
        super().__init__()
        self.pair = [Worker(), Worker()]
        self.reached: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.said_no: set[int] = set()
        Suppression.objects.all().delete()
        Contact.objects.update(status=Contact.Status.SUBSCRIBED)
        Delivery.objects.all().delete()
        Campaign.objects.update(state=State.SENDING, finished_at=None)
        for contact in self.contacts:
            make_delivery(self.campaign, contact)

    @property
    def state(self) -> str:
        return Campaign.objects.values_list("state", flat=True).get()

    @rule(number=workers, meanwhile=st.sampled_from(["", "no", "pause", "retry"]), who=people)
    def take(self, number: int, meanwhile: str, who: int) -> None:
        """Claim and hand off, with something happening in between."""
        worker = self.pair[number]
        if worker.token is not None:
            return

        def happen() -> None:
            match meanwhile:
                case "no":
                    self.say_no(who)
                case "pause":
                    self.pause_or_resume(paused=True)
                case "retry":
                    self.retry(who)

        token = uuid.uuid4()
        going = hand_off(self.campaign, token, limit=2, meanwhile=happen)
        assert not going & self.said_no
        assert not going or self.state == State.SENDING
        self.reached.update(going)
        if going:
            worker.token, worker.handed = token, going

    @rule(number=workers, status=st.sampled_from(["sent", "deferred", "failed", "unknown"]))
    def settle(self, number: int, status: str) -> None:
        worker = self.pair[number]
        if worker.token and worker.handed:
            due = timezone.now() + PAST if status == "deferred" else None
            told = [Result(contact, status, "body", 0, "", due) for contact in worker.handed]
            results.settle(self.campaign.pk, worker.token, told)
            if status in ("deferred", "failed"):  # the server surely has not got them
                self.reached.subtract(worker.handed)
            worker.forget()

    @rule(number=workers)
    def stall(self, number: int) -> None:
        """Its leases end. It does not know it yet."""
        Delivery.objects.filter(token=self.pair[number].token, lease_until__isnull=False).update(
            lease_until=timezone.now() + PAST
        )

    @rule(number=workers)
    def die(self, number: int) -> None:
        self.stall(number)
        self.pair[number].forget()

    @rule()
    def sweep(self) -> None:
        monitoring.sweep()

    @rule()
    def finish(self) -> None:
        endings.finish(self.campaign.pk)

    @rule(number=people)
    def say_no(self, number: int) -> None:
        contact = self.contacts[number]
        contacts.unsubscribe(contact=contact, source="test")
        endings.suppress_waiting(self.campaign.workspace_id, contact.email)
        self.said_no.add(contact.pk)

    @rule(number=people)
    def retry(self, number: int) -> None:
        contact = self.contacts[number]
        try:
            retry_delivery(campaign=self.campaign, contact_id=contact.pk)
        except Conflict:
            return
        self.asked[contact.pk] += 1

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        before, after = (State.SENDING, State.PAUSED) if paused else (State.PAUSED, State.SENDING)
        Campaign.objects.filter(state=before).update(state=after)

    @precondition(lambda self: sum(self.reached.values()) > 1)
    @rule()
    def cancel(self) -> None:
        try:
            launch.cancel_campaign(campaign=self.campaign)
        except Conflict:
            assert self.state in {State.CANCELLING, State.CANCELLED, State.FINISHED}

    @invariant()
    def no_row_is_lost(self) -> None:
        found = Delivery.objects.values_list("contact_id", flat=True)
        assert sorted(found) == sorted(contact.pk for contact in self.contacts)

    @invariant()
    def nobody_gets_a_second_letter_unasked(self) -> None:
        for contact in self.contacts:
            assert self.reached[contact.pk] <= 1 + self.asked[contact.pk]

    @invariant()
    def nobody_holds_what_waits_or_is_over(self) -> None:
        loose = Delivery.objects.exclude(status__in=["handing_off", "unknown"])
        assert not loose.exclude(token=None).exists()
        assert not loose.exclude(lease_until=None).exists()

    def teardown(self) -> None:
        """Whatever happened, the campaign comes to its end once people let it."""
        self.pause_or_resume(paused=False)
        for number in (0, 1):
            self.settle(number, "sent")
            self.die(number)
        for _round in range(len(self.contacts) + 1):
            monitoring.sweep()
            self.take(0, "", 0)
            self.settle(0, "sent")
        monitoring.sweep()
        assert self.state in {State.FINISHED, State.CANCELLED}
        self.no_row_is_lost()
        self.nobody_gets_a_second_letter_unasked()
        assert not Delivery.objects.exclude(status__in=selectors.FINAL).exists()
        for row in Delivery.objects.filter(status=Status.SENT):
            assert self.reached[row.contact_id] >= 1


def test_ledger_in_any_order_of_events(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)

    class Machine(LedgerMachine):
        campaign = make_campaign(workspace, state=State.SENDING, launched_at=timezone.now())
        contacts = [make_contact(workspace) for _ in range(5)]  # noqa: RUF012

    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes here
            suppress_health_check=list(HealthCheck),
        ),
    )
