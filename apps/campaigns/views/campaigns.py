"""Campaigns from the first draft to the report."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.campaigns import selectors
from apps.campaigns.forms import TARGETS, AudienceForm, NewCampaignForm
from apps.campaigns.messages import WAITS, fault_label
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import campaigns as drafts
from apps.campaigns.targets import Targets
from apps.mailer.models import ContactList
from apps.mailer.segments import turns
from apps.mailer.segments.counting import COUNT_SECONDS, QueryTooSlow
from apps.senders.selectors import has_relay
from core.errors import Conflict, InvalidInput


class LeftOut(NamedTuple):
    label: Promise
    page: str
    query: str


LEFT_OUT = {
    "unsubscribed": LeftOut(
        gettext_lazy("unsubscribed, bounced or complained"),
        "mailer:contacts",
        "?status=unsubscribed",
    ),
    "suppressed": LeftOut(gettext_lazy("on the suppression list"), "mailer:suppression", ""),
    "excluded": LeftOut(
        gettext_lazy("in a list or segment that is left out"), "mailer:contacts", ""
    ),
    "valid": LeftOut(gettext_lazy("verified as valid"), "mailer:contacts", "?verdict=valid"),
    "risky": LeftOut(gettext_lazy("risky addresses"), "mailer:contacts", "?verdict=risky"),
    "invalid": LeftOut(gettext_lazy("invalid addresses"), "mailer:contacts", "?verdict=invalid"),
    "unknown": LeftOut(
        gettext_lazy("could not be verified so far"), "mailer:contacts", "?verdict=unknown"
    ),
    "unverified": LeftOut(gettext_lazy("not verified yet"), "mailer:contacts", "?verdict=none"),
    "reasons": LeftOut(gettext_lazy("left out for what verification found"), "mailer:contacts", ""),
    "opened": LeftOut(
        gettext_lazy("were not sent the earlier letter, or have opened it"), "mailer:contacts", ""
    ),
}
# Always shown in the report, even when nothing went that way.
OUTCOMES = (Delivery.Status.SENT, Delivery.Status.FAILED, Delivery.Status.UNKNOWN)
OVER = (Campaign.State.FINISHED, Campaign.State.CANCELLED)
# A cancelled campaign stays as it ended.
RETRIED = (Campaign.State.SENDING, Campaign.State.PAUSED, Campaign.State.FINISHED)
# Seconds after which the report asks again.
MOVING_EVERY, SCHEDULED_EVERY = 2, 30


def campaign_or_404(request: WorkspaceRequest, pk: int) -> Campaign:
    return get_object_or_404(Campaign, pk=pk, workspace=request.workspace)


def to_page(name: str, campaign: Campaign, request: WorkspaceRequest) -> HttpResponse:
    return redirect(f"campaigns:{name}", request.workspace.slug, campaign.pk)


def targets_shown(campaign: Campaign) -> list[tuple[Any, list[tuple[Any, str]]]]:
    """(label, [(list or segment, its address)]) of each kind of target that was chosen."""
    slug, found = campaign.workspace.slug, []
    for name, (label, model) in TARGETS.items():
        page = "mailer:list" if model is ContactList else "mailer:segment"
        rows = getattr(campaign, name).order_by("name")
        shown = [(one, reverse(page, args=[slug, one.pk])) for one in rows]
        if shown:
            found.append((label, shown))
    return found


@require_GET
def campaigns(request: WorkspaceRequest) -> HttpResponse:
    search = request.GET.get("search", "").strip()
    state = request.GET.get("state", "")
    if state not in Campaign.State:
        state = ""
    found = selectors.campaigns(request.workspace, search=search, state=state)
    context = {
        "page": keyset_page(request, found),
        "search": search,
        "state": state,
        "states": Campaign.State.choices,
    }
    return render(request, "campaigns/list.html", context)


@require_http_methods(["GET", "POST"])
def create(request: WorkspaceRequest) -> HttpResponse:
    form = NewCampaignForm(request.POST or None)
    if form.is_valid():
        content = {"name": form.cleaned_data["name"], **_usual_sender(request)}
        campaign = drafts.create_campaign(workspace=request.workspace, by=request.user, **content)
        return to_page("edit", campaign, request)
    return render(request, "campaigns/create.html", {"form": form})


def _usual_sender(request: WorkspaceRequest) -> dict[str, str]:
    """The sender of the newest campaign: most workspaces write under one name."""
    newest = selectors.campaigns(request.workspace).first()
    if newest is None:
        return {}
    names = ("from_name", "from_email", "reply_to")
    return {name: getattr(newest, name) for name in names}


@require_GET
def audience(request: WorkspaceRequest) -> HttpResponse:
    """How many would get a letter to the chosen targets, and who is left out."""
    form = AudienceForm(request.GET, workspace=request.workspace)
    context: dict[str, Any] = {"new_tab": True}
    if form.is_valid():
        chosen = form.cleaned_data
        targets = Targets(
            tuple(one.pk for one in chosen["lists"]),
            tuple(chosen["segments"]),
            tuple(one.pk for one in chosen["excluded_lists"]),
            tuple(chosen["excluded_segments"]),
        )
        # Of one campaign's editor, not of one tab: whoever writes in two has the newer count.
        editor = f"{request.user.pk}:audience:{request.GET.get('editor', '')[:40]}"
        try:
            with turns.latest_of(editor):
                context |= _counted(
                    request,
                    targets,
                    chosen["include_verdicts"],
                    chosen["not_opened"],
                    chosen["left_out_reasons"],
                )
        except turns.Superseded:
            return HttpResponse(status=204)
    return _count_shown(request, "campaigns/_audience.html", context)


def _counted(
    request: WorkspaceRequest,
    targets: Targets,
    verdicts: list[str],
    not_opened: Campaign | None,
    left_out_reasons: list[str],
) -> dict[str, Any]:
    """The audience, counted within the limits of counts, or why there is none."""
    try:
        with turns.slot():
            found = selectors.audience(
                request.workspace,
                list_ids=targets.list_ids,
                segments=targets.segments,
                excluded_list_ids=targets.excluded_list_ids,
                excluded_segments=targets.excluded_segments,
                verdicts=verdicts,
                not_opened=not_opened,
                left_out_reasons=left_out_reasons,
                seconds=COUNT_SECONDS,
            )
    except InvalidInput as error:
        return {"outdated": error.message}
    except turns.Busy:
        return {"busy": True}
    except QueryTooSlow:
        return {"slow": True}
    return audience_shown(request, found)


def _count_shown(request: WorkspaceRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    answer = render(request, template, context)
    if context.get("busy"):
        answer["HX-Trigger"] = "count-again"  # the page asks again in a second
    return answer


def audience_shown(request: WorkspaceRequest, found: selectors.Audience) -> dict[str, Any]:
    """The audience, and (reason, count, address of the rows) of those left out."""
    slug = request.workspace.slug
    left_out = [
        (
            LEFT_OUT[reason].label,
            count,
            reverse(LEFT_OUT[reason].page, args=[slug]) + LEFT_OUT[reason].query,
        )
        for reason, count in found.left_out.items()
    ]
    return {"audience": found, "left_out": left_out}


@require_GET
def detail(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The progress while it moves, the report afterwards; a draft opens in the editor."""
    campaign = campaign_or_404(request, pk)
    if campaign.is_draft:
        return to_page("edit", campaign, request)
    context = _report(request, campaign) | {"targets": targets_shown(campaign)}
    return render(request, "campaigns/detail.html", context)


@require_GET
def progress(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    return render(request, "campaigns/_progress.html", _report(request, campaign))


@require_GET
def left_out(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Who of the campaign's targets would not get it today, loaded after the page: it counts."""
    campaign = campaign_or_404(request, pk)
    context = _counted(
        request,
        Targets.of(campaign),
        campaign.include_verdicts,
        campaign.not_opened,
        campaign.left_out_reasons,
    )
    context.pop("audience", None)
    return _count_shown(request, "campaigns/_left_out.html", context)


def _report(request: WorkspaceRequest, campaign: Campaign) -> dict[str, Any]:
    tallied = selectors.tallied(campaign)
    progress = selectors.progress(campaign, tallied)
    providers, faults = selectors.breakdown(tallied)
    over = campaign.state in OVER
    return {
        "campaign": campaign,
        "progress": progress,
        "figures": [
            (status, label, progress.counts[status])
            for status, label in Delivery.Status.choices
            if progress.counts[status] or status in OUTCOMES
        ],
        "tallied": tallied,
        "providers": [(selectors.provider_label(row.key), row) for row in providers],
        "faults": [(fault_label(row.key), row) for row in faults],
        "paused_providers": [
            (key, selectors.provider_label(key), reason)
            for key, reason in sorted(campaign.paused_providers.items())
            if not over
        ],
        "not_opened": max(progress.counts[Delivery.Status.SENT] - tallied.opens, 0),
        "can_retry": campaign.state in RETRIED,
        "waits": _waits(campaign),
        "zone": selectors.zone_of(request.workspace),
        "over": over,
        # A paused campaign moves too: what was being handed over, and a colleague's Resume.
        "every": 0 if over else SCHEDULED_EVERY if campaign.is_scheduled else MOVING_EVERY,
        "sandbox": not has_relay(request.workspace),
    }


def _waits(campaign: Campaign) -> str | Promise:
    if campaign.state != Campaign.State.SENDING:
        return ""
    return WAITS.get(selectors.waits_for(campaign), "")


@require_POST
def resend(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    copy = drafts.resend_campaign(campaign=campaign, by=request.user)
    messages.success(request, _("This is a draft for those who have not opened the letter."))
    return to_page("edit", copy, request)


@require_POST
def duplicate(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    copy = drafts.duplicate_campaign(campaign=campaign, by=request.user)
    messages.success(request, _("This is a copy, as a draft."))
    return to_page("edit", copy, request)


@require_http_methods(["GET", "POST"])
def delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        raise Conflict(_("Only drafts can be deleted: this campaign has been launched."))
    if request.method == "POST":
        drafts.delete_campaign(campaign=campaign)
        messages.success(request, _("The draft is deleted."))
        return redirect("campaigns:list", request.workspace.slug)
    return render(request, "campaigns/delete.html", {"campaign": campaign})
