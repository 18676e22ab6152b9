"""The ledger of one campaign, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import PAGE_SIZE, WorkspaceRequest, after_of, page_of
from apps.campaigns import selectors
from apps.campaigns.found import Filters, find
from apps.campaigns.messages import ENDINGS, FAULTS, NO_FAULT, STAGES
from apps.campaigns.models import Delivery
from apps.campaigns.services.retry import retry_delivery
from apps.campaigns.views.campaigns import RETRIED, campaign_or_404, to_page
from mailkit.providers import PROVIDERS

RETRYABLE = (Delivery.Status.FAILED, Delivery.Status.UNKNOWN)


class Row(NamedTuple):
    """A row of the ledger with its codes in words."""

    delivery: Delivery
    provider: str
    fault: str | Promise
    stage: str | Promise


@require_GET
def deliveries(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    providers = [(key, selectors.provider_label(key)) for key in PROVIDERS]
    faults = [*FAULTS.items(), (selectors.NO_FAULT, NO_FAULT)]
    status = _chosen(request, "status", Delivery.Status.values)
    fault = _chosen(request, "fault", dict(faults))
    provider = _chosen(request, "provider", PROVIDERS)
    search = request.GET.get("search", "").strip()
    found = find(
        campaign,
        Filters(status, fault, provider, search),
        after=after_of(request) or 0,
        size=PAGE_SIZE,
    )
    page = page_of(request, found.rows, found.next_after)
    context = {
        "campaign": campaign,
        "page": page,
        "rows": [_row(delivery) for delivery in page.rows],
        "filters": [
            ("status", _("Status"), _("All statuses"), status, Delivery.Status.choices),
            ("fault", _("Reason"), _("All reasons"), fault, faults),
            ("provider", _("Provider"), _("All providers"), provider, providers),
        ],
        "status": status,
        "search": search,
        "retryable": RETRYABLE,
        "can_retry": campaign.state in RETRIED,
    }
    return render(request, "campaigns/deliveries.html", context)


def _chosen(request: WorkspaceRequest, name: str, known: Iterable[str]) -> str:
    value = request.GET.get(name, "")
    return value if value in known else ""


def _row(delivery: Delivery) -> Row:
    troubled = delivery.status in selectors.TROUBLED
    return Row(
        delivery,
        selectors.provider_label(delivery.provider),
        (FAULTS if troubled else ENDINGS).get(delivery.fault, ""),
        STAGES.get(delivery.stage, "") if troubled else "",
    )


@require_http_methods(["GET", "POST"])
def retry(request: WorkspaceRequest, pk: int, contact_pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    delivery = get_object_or_404(campaign.deliveries, contact_id=contact_pk)
    if request.method == "POST":
        retry_delivery(campaign=campaign, contact_id=contact_pk)
        messages.success(
            request, _("The letter to %(email)s is queued again.") % {"email": delivery.email}
        )
        return to_page("deliveries", campaign, request)
    context = {"campaign": campaign, "delivery": delivery}
    return render(request, "campaigns/retry.html", context)
