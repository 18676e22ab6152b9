"""Launching a campaign at a time: chosen by a person, kept as a row, started by the sweeper.

A time is chosen as a clock on the wall shows it in the workspace's time zone. In the recipients'
own time it means what their own clocks show; the ledger works that out for each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.campaigns import bounces
from apps.campaigns.models import Campaign
from apps.campaigns.selectors import zone_of
from apps.campaigns.services import launch, notices
from apps.campaigns.services.launch import Hours
from apps.senders.models import SendingPolicy
from core.errors import Conflict, InvalidInput

logger = logging.getLogger(__name__)

State = Campaign.State
# The clocks that are ahead of all others: UTC+14. Those of the workspace may be as late as
# UTC-12, so that the first recipient's time may come 26 hours before its own.
FOREMOST = timedelta(hours=14)
EARLIEST = timedelta(hours=26)
LATEST = timedelta(days=366)


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When clocks in the zone show this naive time; the first of two, where they are put back.

    Raises InvalidInput for a time that they leave out when they are put forward.
    """
    local = wall.replace(tzinfo=zone)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != wall:
        raise InvalidInput(
            _("There is no %(time)s on that day: the clocks go forward. Choose a later time.")
            % {"time": wall.strftime("%H:%M")}
        )
    return moment


def keep_zone(*, workspace: Workspace, zone: str) -> None:
    """Make the zone in which somebody chose hours the workspace's, where it has none so far.

    The ledger reads hours and the recipients' time in the workspace's zone.
    """
    SendingPolicy.objects.get_or_create(workspace=workspace, defaults={"time_zone": zone})


def schedule_campaign(
    *,
    campaign: Campaign,
    wall: datetime,
    zone: str,
    hours: Hours | None = None,
    recipient_time: bool = False,
    by: User | None = None,
    accept_bounces: int | None = None,
    acknowledged: Iterable[str] | None = None,
) -> datetime:
    """Have the draft launched when clocks in `zone` show `wall`; returns the instant.

    Its content may not change until it is a draft again. `accept_bounces` and `acknowledged`: as
    for a launch; at its time the campaign begins only where no more than that is expected.

    Raises InvalidInput for a time that is past, too far ahead or does not exist and for a draft
    that could not be launched now, NotAllowed where anybody but an owner accepts bounces, Conflict
    for one that was changed elsewhere.
    """
    at = instant(wall, ZoneInfo(zone))
    now = timezone.now()
    if at <= now:
        raise InvalidInput(_("This time is past. Choose a later one, or send the campaign now."))
    if at > now + LATEST:
        raise InvalidInput(_("Choose a time within the next year."))
    hours_from, hours_until = launch.checked_hours(hours)
    if hours_from is not None and hours_until is not None:
        in_hours = hours_from * 60 <= wall.hour * 60 + wall.minute < hours_until * 60
        if not in_hours:
            raise InvalidInput(_("The time to begin lies outside the hours in which it may go."))
    launch.check(campaign, acknowledged)
    accepted = bounces.acceptance(campaign, by=by, accept_bounces=accept_bounces)
    with transaction.atomic():
        keep_zone(workspace=campaign.workspace, zone=zone)
        scheduled = Campaign.objects.filter(
            pk=campaign.pk, state=State.DRAFT, updated_at=campaign.updated_at
        ).update(
            state=State.SCHEDULED,
            scheduled_at=at,
            recipient_time=recipient_time,
            hours_from=hours_from,
            hours_until=hours_until,
            pause_reason="",
            **accepted,
        )
        if not scheduled:
            raise Conflict(_("This campaign was launched or changed already: look at it again."))
    campaign.refresh_from_db()
    return at


def unschedule_campaign(*, campaign: Campaign) -> None:
    """Make it a draft again. Raises Conflict where it is not scheduled any more."""
    back = Campaign.objects.filter(pk=campaign.pk, state=State.SCHEDULED).update(
        state=State.DRAFT, scheduled_at=None, updated_at=timezone.now()
    )
    if not back:
        raise Conflict(_("This campaign is not scheduled any more: look at it again."))
    campaign.refresh_from_db()


def begins_at(campaign: Campaign) -> datetime:
    """When to launch it: in recipients' own time, once the first clock on Earth shows the time."""
    assert campaign.scheduled_at is not None
    if not campaign.recipient_time:
        return campaign.scheduled_at
    wall = campaign.scheduled_at.astimezone(zone_of(campaign.workspace)).replace(tzinfo=UTC)
    return min(campaign.scheduled_at, wall - FOREMOST)


def launch_due() -> int:
    """Launch the scheduled campaigns whose time has come; how many.

    Two sweepers at once start each of them once. One that cannot be launched any more, or of which
    more bounces are expected than the limit and than an owner accepted, is a draft again, with the
    reason; its owners are told.
    """
    soon = Campaign.objects.filter(
        state=State.SCHEDULED, scheduled_at__lte=timezone.now() + EARLIEST
    )
    return sum(_launch_or_log(campaign) for campaign in soon.select_related("workspace"))


def _launch_or_log(campaign: Campaign) -> bool:
    try:
        return begins_at(campaign) <= timezone.now() and _launch_or_return(campaign)
    except Exception:
        # One that cannot even be looked at must not hold up the others; it is tried again.
        logger.exception("campaign %s could not be looked at for its launch", campaign.pk)
        return False


def _launch_or_return(campaign: Campaign) -> bool:
    same = Campaign.objects.filter(
        pk=campaign.pk, state=State.SCHEDULED, scheduled_at=campaign.scheduled_at
    )
    with notices.in_language_of(campaign.pk):
        reason = " ".join(launch.problems(campaign)) or bounces.objection(campaign)
        reason = reason[: launch.LONGEST_REASON]
    if not reason:
        return launch.start(same)
    with transaction.atomic():
        returned = same.update(
            state=State.DRAFT, scheduled_at=None, pause_reason=reason, updated_at=timezone.now()
        )
        if returned:
            logger.warning("campaign %s could not be launched: %s", campaign.pk, reason)
            transaction.on_commit(lambda: notices.ring(campaign.pk))
    return False
