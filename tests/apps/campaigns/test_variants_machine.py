"""A test of variants in any order of events: nobody gets two of them, and nobody none."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from apps.accounts.models import User, Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery, Variant
from apps.campaigns.services import launch, monitoring
from apps.campaigns.services.experiments import decide
from apps.campaigns.services.ledger import endings, experiments, results
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.retry import retry_delivery
from apps.mailer.models import Contact
from core.errors import Conflict
from tests.apps.campaigns.rows import PAST, hand_off, let_leases_end
from tests.apps.campaigns.tested import contacts_of, make_tested, prepared
from tests.support.engagement import note_open

State = Campaign.State
Status = Delivery.Status


class VariantsMachine(RuleBasedStateMachine):
    """A worker, a sweeper and people, against the real database.

    `first` is the variant of which a contact was handed a letter first.
    """

    campaign: Campaign
    contacts: list[Contact]
    owner: User
    people = st.integers(0, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[int, int] = {}
        self.winner: int | None = None
        self.token: uuid.UUID | None = None
        self.held: set[int] = set()
        Delivery.objects.all().delete()
        Contact.objects.update(status=Contact.Status.SUBSCRIBED)
        Campaign.objects.update(
            winner=None, tested_at=None, decided_at=None, decided_by=None, finished_at=None
        )
        prepared(self.campaign)

    @property
    def state(self) -> str:
        return Campaign.objects.values_list("state", flat=True).get()

    @rule()
    def take(self) -> None:
        if self.token is not None:
            return
        token = uuid.uuid4()
        going = hand_off(self.campaign, token, limit=3)
        if not going:
            return
        self.token, self.held = token, going
        rows = Delivery.objects.filter(contact_id__in=going)
        for contact_id, variant in rows.values_list("contact_id", "variant"):
            assert variant in (1, 2, 3)
            assert self.first.setdefault(contact_id, variant) == variant

    @rule(status=st.sampled_from(["sent", "deferred", "failed", "unknown"]))
    def settle(self, status: str) -> None:
        if self.token:
            due = timezone.now() + PAST if status == "deferred" else None
            told = [Result(contact, status, "body", 0, "", due) for contact in self.held]
            results.settle(self.campaign.pk, self.token, told)
        self.token = None

    @rule()
    def die(self) -> None:
        let_leases_end(self.campaign)
        self.token = None

    @rule(number=people)
    def open_(self, number: int) -> None:
        contact = self.contacts[number]
        if contact.pk in self.first:
            note_open(self.campaign.pk, contact.pk)

    @rule()
    def sweep(self) -> None:
        monitoring.sweep()

    @rule()
    def let_time_pass(self) -> None:
        Campaign.objects.exclude(tested_at=None).update(tested_at=timezone.now() + 200 * PAST)

    @rule(number=st.integers(1, 3))
    def choose(self, number: int) -> None:
        before = Campaign.objects.get()
        try:
            decide(campaign=before, number=number, by=self.owner)
        except Conflict:
            return
        assert self.winner is None

    @rule(number=people)
    def say_no(self, number: int) -> None:
        contact = self.contacts[number]
        Contact.objects.filter(pk=contact.pk).update(status=Contact.Status.UNSUBSCRIBED)
        endings.suppress_waiting(self.campaign.workspace_id, contact.email)

    @rule(number=people)
    def retry(self, number: int) -> None:
        try:
            retry_delivery(campaign=self.campaign, contact_id=self.contacts[number].pk)
        except Conflict:
            return

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        before, after = (State.SENDING, State.PAUSED) if paused else (State.PAUSED, State.SENDING)
        Campaign.objects.filter(state=before).update(state=after)

    @rule(really=st.integers(0, 9))
    def cancel(self, really: int) -> None:
        if really:
            return
        try:
            launch.cancel_campaign(campaign=Campaign.objects.get())
        except Conflict:
            assert self.state not in {State.SENDING, State.PAUSED}

    @invariant()
    def the_test_is_even_and_the_rest_has_the_winner(self) -> None:
        """Nine people, 34 %: three in the test, one for each variant."""
        winner = Campaign.objects.values_list("winner", flat=True).get()
        assert self.winner in (None, winner)
        self.winner = winner
        rows = list(Delivery.objects.values_list("contact_id", "variant", "status"))
        assert len(rows) == len(self.contacts)
        variants = [variant for _contact, variant, _status in rows]
        for number in (1, 2, 3):
            assert variants.count(number) >= 1
            assert number == self.winner or variants.count(number) == 1
        for _contact, variant, status in rows:
            assert status != "waiting" or variant == 0
            assert variant or status in {"waiting", "suppressed", "cancelled"}

    def teardown(self) -> None:
        """Whatever happened, the campaign comes to its end once people let it."""
        self.pause_or_resume(paused=False)
        self.settle("sent")
        self.die()
        for _round in range(len(self.contacts) + 2):
            monitoring.sweep()
            self.let_time_pass()
            self.take()
            self.settle("sent")
        monitoring.sweep()
        self.the_test_is_even_and_the_rest_has_the_winner()
        assert self.state in {State.FINISHED, State.CANCELLED}
        assert not Delivery.objects.exclude(status__in=selectors.FINAL).exists()
        for contact_id, variant in Delivery.objects.filter(status=Status.SENT).values_list(
            "contact_id", "variant"
        ):
            assert self.first[contact_id] == variant


def test_variants_in_any_order_of_events(
    workspace: Workspace, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)
    monkeypatch.setattr(experiments, "CHUNK", 2)
    tested = make_tested(workspace, 9, {"subject": "B"}, {"subject": "C"}, share=34)
    person = owner

    class Machine(VariantsMachine):
        campaign = tested
        contacts = contacts_of(tested)
        owner = person

    assert Variant.objects.count() == 3
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
