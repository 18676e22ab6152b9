"""Launching a campaign, now or later, and steering it while it is sent."""

from __future__ import annotations

from contextlib import suppress

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import bounces, experiments, selectors
from apps.campaigns.forms import LaunchForm, version_to_launch
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch as launching
from apps.campaigns.services import retry, schedule
from apps.campaigns.views.campaigns import (
    RETRIED,
    audience_shown,
    campaign_or_404,
    targets_shown,
    to_page,
)
from apps.senders.models import SendingPolicy
from apps.senders.selectors import relays_of
from apps.senders.services.limits import forecast_for
from core.errors import Conflict, InvalidInput


@require_http_methods(["GET", "POST"])
def launch(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        # A second click, or a colleague's: that it is launched is the answer.
        return to_page("detail", campaign, request)
    zone = _zone(request)
    if request.method == "GET":
        return _launch_page(request, campaign, LaunchForm.of(campaign, zone))
    if request.POST.get("version") != version_to_launch(campaign):
        raise Conflict(_("The draft was changed after you opened this page: look at it again."))
    form = LaunchForm(request.POST, zone=zone)
    if not form.is_valid():
        return _launch_page(request, campaign, form, status=422)
    try:
        _launch(request, campaign, form)
    except Conflict:
        campaign.refresh_from_db()
        if campaign.is_draft:
            raise
    except InvalidInput as error:
        form.add_error(None, error.message)
        return _launch_page(request, campaign, form, status=422)
    return to_page("detail", campaign, request)


def _launch(request: WorkspaceRequest, campaign: Campaign, form: LaunchForm) -> None:
    hours = form.hours
    accepted = request.POST.get("accept_bounces", "")
    accept_bounces = int(accepted) if accepted.isdecimal() and len(accepted) < 4 else None
    if form.later:
        schedule.schedule_campaign(
            campaign=campaign,
            wall=form.wall,
            zone=form.time_zone,
            hours=hours,
            recipient_time=form.cleaned_data["recipient_time"],
            by=request.user,
            accept_bounces=accept_bounces,
            acknowledged=request.POST.getlist("acknowledge"),
        )
        return
    if hours:
        schedule.keep_zone(workspace=request.workspace, zone=form.time_zone)
    launching.launch_campaign(
        campaign=campaign,
        by=request.user,
        hours=hours,
        accept_bounces=accept_bounces,
        acknowledged=request.POST.getlist("acknowledge"),
    )


def _zone(request: WorkspaceRequest) -> str:
    """The workspace's time zone; the person's own, until somebody has set one."""
    policy = SendingPolicy.objects.filter(workspace=request.workspace).first()
    return policy.time_zone if policy else request.user.time_zone


def _launch_page(
    request: WorkspaceRequest, campaign: Campaign, form: LaunchForm, *, status: int = 200
) -> HttpResponse:
    relays = relays_of(request.workspace)
    reach, gate = selectors.Reach(selectors.Audience(0, {}), {}, {}), None
    # A segment may be about something that does not exist any more: the problems say so.
    with suppress(InvalidInput):
        reach = selectors.reach(campaign)
        gate = bounces.gate_of(campaign, reach)
    context = {
        "campaign": campaign,
        "form": form,
        "version": version_to_launch(campaign),
        "zone": form.time_zone,
        "now": timezone.now(),
        "targets": targets_shown(campaign),
        "problems": launching.problems(campaign),
        "relays": relays,
        "gate": gate,
        "plan": experiments.plan(campaign, reach.audience.sendable),
        "forecast": forecast_for(
            request.workspace,
            relays[0].pk if len(relays) == 1 else None,
            campaign.from_email.rpartition("@")[2],
            reach.by_provider,
        ),
        **audience_shown(request, reach.audience),
    }
    return render(request, "campaigns/launch.html", context, status=status)


@require_POST
def leave_out(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Leave out those because of whom the forecast is beyond the limit."""
    campaign = campaign_or_404(request, pk)
    number = bounces.leave_out(campaign=campaign)
    words = ngettext(
        "%(number)s contact is left out: look at the campaign again.",
        "%(number)s contacts are left out: look at the campaign again.",
        number,
    )
    messages.success(request, words % {"number": number})
    return to_page("launch", campaign, request)


@require_POST
def include_all(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Take back what was left out for its reason."""
    campaign = campaign_or_404(request, pk)
    bounces.include_all(campaign=campaign)
    messages.success(request, _("Nobody is left out for a reason of verification any more."))
    return to_page("launch", campaign, request)


@require_POST
def unschedule(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    schedule.unschedule_campaign(campaign=campaign)
    messages.success(request, _("The campaign is a draft again: nothing is sent by itself."))
    return to_page("edit", campaign, request)


@require_POST
def pause(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    launching.pause_campaign(campaign=campaign)
    return to_page("detail", campaign, request)


@require_POST
def resume(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    launching.resume_campaign(campaign=campaign)
    return to_page("detail", campaign, request)


@require_POST
def resume_provider(request: WorkspaceRequest, pk: int, provider: str) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    launching.resume_provider(campaign=campaign, provider=provider)
    return to_page("detail", campaign, request)


@require_http_methods(["GET", "POST"])
def cancel(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    if request.method == "POST":
        launching.cancel_campaign(campaign=campaign)
        return to_page("detail", campaign, request)
    context = {"campaign": campaign, "progress": selectors.progress(campaign)}
    return render(request, "campaigns/cancel.html", context)


@require_http_methods(["GET", "POST"])
def retry_unknown(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Send again what nobody knows the outcome of, once the person has read what that means."""
    campaign = campaign_or_404(request, pk)
    if request.method == "POST":
        number = retry.retry_unknown(campaign=campaign)
        words = ngettext(
            "%(number)s letter is queued again.", "%(number)s letters are queued again.", number
        )
        if number:
            messages.success(request, words % {"number": number})
        else:
            messages.info(request, _("No letter is unknown any more."))
        return to_page("detail", campaign, request)
    unknown = selectors.status_counts(campaign)[Delivery.Status.UNKNOWN]
    if not unknown or campaign.state not in RETRIED:
        return to_page("detail", campaign, request)
    context = {"campaign": campaign, "unknown": unknown}
    return render(request, "campaigns/retry_unknown.html", context)
