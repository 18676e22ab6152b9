"""The test of a campaign's variants while it runs: when it is over, and who gets the winner.

The sweeper chooses at the time, by what people did until then, even where that could be chance:
the rest of the audience is not kept waiting for a certainty that may never come, and the report
says how sure it is. Of equals the first one is chosen, and A where nobody did anything.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns.experiments import VariantRows, count, counts_by, due_at
from apps.campaigns.models import Campaign, Variant, WinnerBy
from apps.campaigns.services import launch, notices
from apps.campaigns.services.ledger import experiments as rows
from apps.campaigns.services.ledger import queueing
from core.errors import Conflict, InvalidInput
from mailkit.experiments import compare

logger = logging.getLogger(__name__)

State = Campaign.State
# So long a person waits until the rest is queued; the sweeper queues what is left of it.
REQUEST_SECONDS, SWEEP_SECONDS = 2.0, 10.0


def decide(*, campaign: Campaign, number: int, by: User | None) -> None:
    """Choose the winner, once, and send it to the rest; `by` None: nobody did, its figures did.

    What it was chosen by is kept with the variants. Raises InvalidInput for a variant that does
    not exist, Conflict where a winner was chosen already or nothing is being tested.
    """
    if not campaign.variants.filter(number=number).exists():
        raise InvalidInput(_("This variant does not exist any more."))
    now = timezone.now()
    with transaction.atomic():
        decided = Campaign.objects.filter(
            pk=campaign.pk,
            state__in=[State.SENDING, State.PAUSED],
            test_share__lt=100,
            winner=None,
        ).update(winner=number, decided_at=now, decided_by=by, moved_at=now)
        if not decided:
            raise Conflict(_("The winner was chosen already, or the campaign is over."))
        _keep(campaign.pk)
    campaign.refresh_from_db()
    rows.release(campaign.pk, REQUEST_SECONDS if by else SWEEP_SECONDS)
    if campaign.state == State.SENDING:
        launch.ring_sending([campaign.pk])


def decide_due() -> int:
    """Look at the tests of all campaigns being sent, and choose the winners whose time has come;
    how many. Where a person chooses, the owners are asked to. A paused campaign is looked at when
    it goes on."""
    decided = 0
    for campaign in Campaign.objects.filter(state=State.SENDING, test_share__lt=100):
        if campaign.winner is not None:
            rows.release(campaign.pk, SWEEP_SECONDS)
        elif campaign.tested_at is None:
            _note_tested(campaign)
        elif due_at(campaign) <= timezone.now() and rows.any_waiting(campaign.pk):
            if campaign.winner_by == WinnerBy.HAND:
                _ask(campaign)
                continue
            number = _leader(campaign)
            with suppress(Conflict):  # somebody chose in this moment
                decide(campaign=campaign, number=number, by=None)
                logger.info("campaign %s: variant %s won", campaign.pk, number)
                decided += 1
    return decided


def _note_tested(campaign: Campaign) -> None:
    """The time runs from when no test letter is left to send: a warm-up may take days for them.

    Those that a server told to come again later are not waited for, nor those to a provider whose
    letters are paused.
    """
    queued = set(queueing.queued_providers(campaign.pk)) - campaign.paused_providers.keys()
    if not queued and not rows.any_to_begin(campaign.pk):
        Campaign.objects.filter(pk=campaign.pk, tested_at=None).update(tested_at=timezone.now())


def _ask(campaign: Campaign) -> None:
    """Have the owners told, once, that it is time to choose."""
    with transaction.atomic():
        unasked = Campaign.objects.filter(pk=campaign.pk, asked_at=None, winner=None)
        if unasked.update(asked_at=timezone.now()):
            transaction.on_commit(lambda: notices.ring_choice(campaign.pk))


def _leader(campaign: Campaign) -> int:
    counted = count(campaign.pk)
    numbers = list(campaign.variants.order_by("number").values_list("number", flat=True))
    counts = [counts_by(campaign.winner_by, counted.get(n, VariantRows())) for n in numbers]
    return numbers[compare(counts).leader]


def _keep(campaign_id: int) -> None:
    for number, counted in count(campaign_id).items():
        Variant.objects.filter(campaign=campaign_id, number=number).update(
            letters=counted.letters,
            accepted=counted.accepted,
            opened=counted.opened,
            clicked=counted.clicked,
        )
