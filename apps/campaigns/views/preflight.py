"""What to mend before a launch, loaded behind the page of the launch: it counts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import preflight as checks
from apps.campaigns.views.campaigns import campaign_or_404
from core.errors import InvalidInput


@require_GET
def preflight(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    context: dict[str, Any] = {"campaign": campaign, "notices": [], "fault": ""}
    try:
        context["notices"] = checks.notices(campaign)
    except InvalidInput as error:
        context["fault"] = error.message
    return render(request, "campaigns/_preflight.html", context)


@require_GET
def outside(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """What the links and the domain say: asks again until a worker has looked."""
    campaign = campaign_or_404(request, pk)
    context: dict[str, Any] = {"campaign": campaign, "notices": []}
    with suppress(InvalidInput):
        context["notices"] = checks.outside_notices(campaign)
    return render(request, "campaigns/_outside.html", context)
