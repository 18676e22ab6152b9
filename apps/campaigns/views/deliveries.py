"""The ledger of one campaign, row by row."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.campaigns import selectors
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.retry import retry_delivery
from apps.campaigns.views.campaigns import campaign_or_404, to_page

RETRYABLE = (Delivery.Status.FAILED, Delivery.Status.UNKNOWN)
# A cancelled campaign stays as it ended.
NOT_RETRIED = (Campaign.State.CANCELLING, Campaign.State.CANCELLED)


@require_GET
def deliveries(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    status = request.GET.get("status", "")
    if status not in Delivery.Status:
        status = ""
    search = request.GET.get("search", "").strip()
    rows = selectors.deliveries(campaign, status=status, search=search)
    context = {
        "campaign": campaign,
        "page": keyset_page(request, rows, key="contact_id"),
        "status": status,
        "search": search,
        "statuses": Delivery.Status.choices,
        "retryable": RETRYABLE,
        "can_retry": campaign.state not in NOT_RETRIED,
    }
    return render(request, "campaigns/deliveries.html", context)


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
