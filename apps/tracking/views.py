"""The workspace's first page."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.accounts.http import WorkspaceRequest
from apps.campaigns.models import Campaign
from apps.senders.selectors import has_relay
from apps.tracking import selectors, trends


@require_GET
def dashboard(request: WorkspaceRequest) -> HttpResponse:
    health = selectors.audience_health(request.workspace)
    campaigns = Campaign.objects.filter(workspace=request.workspace)
    written = campaigns.exists()
    launched = campaigns.exclude(state=Campaign.State.DRAFT).exists()
    context = {
        **_now(request),
        "health": health,
        "uploaded": health.total > 0,
        "written": written,
        "launched": launched,
        "draft": campaigns.filter(state=Campaign.State.DRAFT).order_by("-id").first(),
        "sandbox": not has_relay(request.workspace),
        **(_trends(request) if launched else {}),
    }
    return render(request, "tracking/dashboard.html", context)


def _trends(request: WorkspaceRequest) -> dict[str, Any]:
    found = trends.trends_of(request.workspace)
    labels = (
        _("Accepted"), _("Opens by people"), _("Clicks by people"), _("Unsubscribed"),
        _("Complaints"), _("Bounced"),
    )  # fmt: skip
    return {
        "trends": found,
        "series": labels,
        "sums": list(zip(labels, found.sums.values(), strict=True)),
        "limits": (trends.COMPLAINTS, trends.HARD_BOUNCES),
        "least_letters": trends.LEAST_LETTERS,
    }


@require_GET
def dashboard_now(request: WorkspaceRequest) -> HttpResponse:
    """The part of the dashboard that moves."""
    return render(request, "tracking/_now.html", _now(request))


def _now(request: WorkspaceRequest) -> dict[str, Any]:
    campaigns = selectors.recent_campaigns(request.workspace)
    imports = selectors.running_imports(request.workspace)
    return {
        "campaigns": campaigns,
        "imports": imports,
        "moving": bool(imports) or any(campaign.in_motion for campaign, _ in campaigns),
    }
