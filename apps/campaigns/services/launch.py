"""Launching a campaign and steering it while it is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.db.models import F, Func, JSONField, QuerySet, TextField, Value
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns import bounces, letters, links, preflight, selectors
from apps.campaigns.models import Campaign, CampaignLink
from apps.campaigns.services import notices, partitions, variants
from apps.campaigns.services.ledger import audience, endings
from apps.campaigns.targets import Targets
from core import queues
from core.errors import Conflict, InvalidInput

State = Campaign.State
# So long a person waits for the rows of a cancelled campaign.
CANCEL_SECONDS = 2.0
Hours = tuple[int, int]
LONGEST_REASON = 300


class _Merged(Func):
    """A JSON object with the keys of another one added, in one statement."""

    template, arg_joiner, output_field = "(%(expressions)s)", " || ", JSONField()


class _Without(Func):
    """A JSON object without a key."""

    template, arg_joiner, output_field = "(%(expressions)s)", " - ", JSONField()


def problems(campaign: Campaign) -> list[str]:
    """Why the campaign cannot be launched yet, each in a sentence that says what to do."""
    found = []
    if not campaign.subject:
        found.append(_("Write a subject."))
    if not campaign.from_email:
        found.append(_("Say who sends it: the sender address is empty."))
    if not (campaign.html.strip() or campaign.text.strip()):
        found.append(_("Write the letter: both its HTML and its text are empty."))
    if not Targets.of(campaign):
        found.append(_("Choose at least one list or segment."))
    if found:
        return found
    found += variants.problems(campaign)
    try:
        letters.preview(campaign, None)
    except InvalidInput as error:
        found.append(error.message)
    try:
        if not selectors.has_audience(campaign):
            found.append(_("Nobody would get it: choose other lists or include more verdicts."))
    except InvalidInput as error:  # a segment is about something that does not exist any more
        found.append(error.message)
    return found


def check(campaign: Campaign, acknowledged: Iterable[str] | None) -> None:
    """Raises InvalidInput with the reasons why the campaign cannot be launched."""
    if found := problems(campaign):
        raise InvalidInput(" ".join(found))
    if objections := preflight.objections(campaign, acknowledged):
        raise InvalidInput(" ".join(str(one.sentence) for one in objections))


def launch_campaign(
    *,
    campaign: Campaign,
    by: User | None,
    hours: Hours | None = None,
    accept_bounces: int | None = None,
    acknowledged: Iterable[str] | None = None,
) -> None:
    """Freeze the content and start. A second click finds it launched: Conflict.

    `hours`: the hours of the day in which it may be handed over, None for all of them.
    `accept_bounces`: up to how many percent `by`, an owner, accepts beyond the workspace's limit.
    `acknowledged`: the codes of preflight's blocking findings that the person has read; None, for
    a launch without a page, asks only for those that nobody may acknowledge.
    Raises InvalidInput with the reasons where it cannot be launched, NotAllowed where somebody
    else accepts bounces.
    """
    hours_from, hours_until = checked_hours(hours)
    check(campaign, acknowledged)
    accepted = bounces.acceptance(campaign, by=by, accept_bounces=accept_bounces)
    started = start(
        Campaign.objects.filter(pk=campaign.pk, state=State.DRAFT, updated_at=campaign.updated_at),
        created_by=campaign.created_by or by,
        scheduled_at=None,
        recipient_time=False,
        hours_from=hours_from,
        hours_until=hours_until,
        **accepted,
    )
    if not started:
        raise Conflict(_("This campaign was launched or changed already: look at it again."))


def start(one: QuerySet[Campaign], **changes: Any) -> bool:
    """Ask for the preparation of the campaign that a condition names, if it still holds."""
    with transaction.atomic():
        pk = one.values_list("pk", flat=True).first()
        now = timezone.now()
        if not one.update(
            state=State.PREPARING,
            launched_at=now,
            moved_at=now,
            pause_reason="",
            paused_providers={},
            **changes,
        ):
            return False
        transaction.on_commit(lambda: _ring_preparation(cast(int, pk)))
    return True


def checked_hours(hours: Hours | None) -> tuple[int | None, int | None]:
    """As columns take them. Raises InvalidInput."""
    if hours is None or hours == (0, 24):
        return None, None
    hours_from, hours_until = hours
    if not 0 <= hours_from < hours_until <= 24:
        raise InvalidInput(_("The hours must end later than they begin."))
    return hours_from, hours_until


def prepare_campaign(campaign_id: int) -> None:
    """Take the audience into the ledger and ask for sending; a repetition does nothing.

    Where what a segment is about was deleted since the launch, the campaign is a draft again.
    """
    partitions.ensure_partition(campaign_id)
    try:
        prepared = _prepare(campaign_id)
    except InvalidInput as error:
        _return_to_draft(campaign_id, error.message)
        return
    if prepared and not endings.finish(campaign_id):
        ring_sending([campaign_id])


def _return_to_draft(campaign_id: int, reason: str) -> None:
    with transaction.atomic():
        returned = Campaign.objects.filter(pk=campaign_id, state=State.PREPARING).update(
            state=State.DRAFT,
            launched_at=None,
            pause_reason=reason[:LONGEST_REASON],
            updated_at=timezone.now(),
        )
        if returned:
            transaction.on_commit(lambda: notices.ring(campaign_id))


def _prepare(campaign_id: int) -> bool:
    """Whether it was done now."""
    with transaction.atomic():
        # The update holds the campaign's row: a second worker waits here and then finds it done.
        prepared = Campaign.objects.filter(pk=campaign_id, state=State.PREPARING).update(
            state=State.SENDING, moved_at=timezone.now()
        )
        if not prepared:
            return False
        _fix_links(Campaign.objects.select_related("workspace", "created_by").get(pk=campaign_id))
        number = audience.snapshot(campaign_id)
        Campaign.objects.filter(pk=campaign_id).update(audience=number)
    return True


def _fix_links(campaign: Campaign) -> None:
    """Write down where the tracked links lead, for good."""
    # The same in each variant.
    urls = next(iter(letters.compiled_variants(campaign).values())).links
    CampaignLink.objects.bulk_create(
        [
            CampaignLink(campaign=campaign, number=number, url=url)
            for number, url in enumerate(urls, start=1)
        ],
        ignore_conflicts=True,
    )
    transaction.on_commit(lambda: links.publish(campaign.pk))


def pause_campaign(*, campaign: Campaign, reason: str = "") -> None:
    """Stop handing over within seconds. Raises Conflict if it is not being sent."""
    _move(campaign, [State.SENDING], State.PAUSED, pause_reason=reason[:LONGEST_REASON])


def pause_by_itself(campaign_id: int, reason: str | Promise, provider: str = "") -> bool:
    """Pause a campaign that is being sent, or its letters to one provider, and tell the owners.

    Whether it was done now: of several processes that find the same reason, one does it and
    says so. A lazy `reason` is kept in the language of the person whose campaign it is.
    """
    sending = Campaign.objects.filter(pk=campaign_id, state=State.SENDING)
    with transaction.atomic(), notices.in_language_of(campaign_id):
        words = str(reason)[:LONGEST_REASON]
        if provider:
            added = Value({provider: words}, JSONField())
            done = sending.exclude(paused_providers__has_key=provider).update(
                paused_providers=_Merged(F("paused_providers"), added)
            )
        else:
            done = sending.update(state=State.PAUSED, pause_reason=words)
        if done:
            transaction.on_commit(lambda: notices.ring(campaign_id, provider))
    return bool(done)


def resume_campaign(*, campaign: Campaign) -> None:
    """Go on. Raises Conflict if it is not paused."""
    _move(
        campaign,
        [State.PAUSED],
        State.SENDING,
        pause_reason="",
        resumed_at=_counters(campaign),
        moved_at=timezone.now(),
    )
    ring_sending([campaign.pk])


def resume_provider(*, campaign: Campaign, provider: str) -> None:
    """Go on with the letters to a provider. Raises Conflict if they are not paused."""
    resumed = Campaign.objects.filter(pk=campaign.pk, paused_providers__has_key=provider).update(
        paused_providers=_Without(F("paused_providers"), Value(provider, TextField())),
        resumed_at=_counters(campaign),
        moved_at=timezone.now(),
    )
    if not resumed:
        raise Conflict(_("The letters to this provider are not paused any more."))
    ring_sending([campaign.pk])


def _counters(campaign: Campaign) -> list[list[object]]:
    """What was counted so far stops it no second time."""
    return [[*key, number] for key, number in selectors.tallied(campaign).by_kind.items()]


def cancel_campaign(*, campaign: Campaign) -> None:
    """End it for good: what waits is cancelled, what is being handed over ends by itself.

    Of a large campaign the sweeper cancels the rest; nothing of it is sent from now on.
    """
    _move(campaign, [State.PREPARING, State.SENDING, State.PAUSED], State.CANCELLING)
    endings.cancel_waiting(campaign.pk, CANCEL_SECONDS)
    endings.finish(campaign.pk)


def ring_sending(campaign_ids: Iterable[int]) -> None:
    """Ask for as many send tasks a campaign as the email pool has processes."""
    from apps.campaigns.tasks import send_email_batch

    for campaign_id in campaign_ids:
        for _number in range(settings.EMAIL_CONCURRENCY):
            if not queues.ring(send_email_batch, campaign_id):
                return  # to be told so each time would keep a page waiting


def _ring_preparation(campaign_id: int) -> None:
    from apps.campaigns.tasks import send_campaign

    queues.ring(send_campaign, campaign_id)


def _move(campaign: Campaign, before: list[State], after: State, **changes: object) -> None:
    moved = Campaign.objects.filter(pk=campaign.pk, state__in=before).update(state=after, **changes)
    if not moved:
        raise Conflict(_("The campaign is in another state by now: look at it again."))
    campaign.refresh_from_db()
