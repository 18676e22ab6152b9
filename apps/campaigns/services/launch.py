"""Launching a campaign and steering it while it is sent."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns import letters, selectors
from apps.campaigns.models import Campaign
from apps.campaigns.services import ledger, partitions
from core.errors import Conflict, InvalidInput

State = Campaign.State


def problems(campaign: Campaign) -> list[str]:
    """Why the campaign cannot be launched yet, each in a sentence that says what to do."""
    found = []
    if not campaign.subject:
        found.append(_("Write a subject."))
    if not campaign.from_email:
        found.append(_("Say who sends it: the sender address is empty."))
    if not (campaign.html.strip() or campaign.text.strip()):
        found.append(_("Write the letter: both its HTML and its text are empty."))
    list_ids = list(campaign.lists.values_list("pk", flat=True))
    if not list_ids:
        found.append(_("Choose at least one list."))
    if found:
        return found
    try:
        letters.preview(campaign, None)
    except InvalidInput as error:
        found.append(error.message)
    audience = selectors.audience(
        campaign.workspace, list_ids=list_ids, verdicts=campaign.include_verdicts
    )
    if not audience.sendable:
        found.append(_("Nobody would get it: choose other lists or include more verdicts."))
    return found


def launch_campaign(*, campaign: Campaign, by: User | None) -> None:
    """Freeze the content and start. A second click finds it launched: Conflict.

    Raises InvalidInput with the reasons where it cannot be launched.
    """
    found = problems(campaign)
    if found:
        raise InvalidInput(" ".join(found))
    with transaction.atomic():
        launched = Campaign.objects.filter(
            pk=campaign.pk, state=State.DRAFT, updated_at=campaign.updated_at
        ).update(
            state=State.PREPARING,
            launched_at=timezone.now(),
            moved_at=timezone.now(),
            created_by=campaign.created_by or by,
        )
        if not launched:
            raise Conflict(_("This campaign was launched or changed already: look at it again."))
        transaction.on_commit(lambda: _ring_preparation(campaign.pk))


def prepare_campaign(campaign_id: int) -> None:
    """Take the audience into the ledger and ask for sending; a repetition does nothing."""
    partitions.ensure_partition(campaign_id)
    with transaction.atomic():
        # The update holds the campaign's row: a second worker waits here and then finds it done.
        prepared = Campaign.objects.filter(pk=campaign_id, state=State.PREPARING).update(
            state=State.SENDING, moved_at=timezone.now()
        )
        if not prepared:
            return
        audience = ledger.snapshot(campaign_id)
        Campaign.objects.filter(pk=campaign_id).update(audience=audience)
    if not ledger.finish(campaign_id):
        ring_sending([campaign_id])


def pause_campaign(*, campaign: Campaign, reason: str = "") -> None:
    """Stop handing over within seconds. Raises Conflict if it is not being sent."""
    _move(campaign, [State.SENDING], State.PAUSED, pause_reason=reason)


def resume_campaign(*, campaign: Campaign) -> None:
    """Go on. Raises Conflict if it is not paused."""
    _move(campaign, [State.PAUSED], State.SENDING, pause_reason="", moved_at=timezone.now())
    ring_sending([campaign.pk])


def cancel_campaign(*, campaign: Campaign) -> None:
    """End it for good: what waits is cancelled, what is being handed over ends by itself."""
    with transaction.atomic():
        _move(campaign, [State.PREPARING, State.SENDING, State.PAUSED], State.CANCELLING)
        ledger.cancel_waiting(campaign.pk)
    ledger.finish(campaign.pk)


def ring_sending(campaign_ids: Iterable[int]) -> None:
    """Ask for as many send tasks a campaign as the email pool has processes."""
    from apps.campaigns.tasks import send_email_batch

    for campaign_id in campaign_ids:
        for _number in range(settings.EMAIL_CONCURRENCY):
            send_email_batch.delay(campaign_id)


def _ring_preparation(campaign_id: int) -> None:
    from apps.campaigns.tasks import send_campaign

    send_campaign.delay(campaign_id)


def _move(campaign: Campaign, before: list[State], after: State, **changes: object) -> None:
    moved = Campaign.objects.filter(pk=campaign.pk, state__in=before).update(state=after, **changes)
    if not moved:
        raise Conflict(_("The campaign is in another state by now: look at it again."))
    campaign.refresh_from_db()
