"""Reports of campaigns: for members, as files, and for whoever has a link to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.campaigns import selectors as campaign_selectors
from apps.campaigns import variants
from apps.campaigns.models import Campaign
from apps.campaigns.services.retry import retry_failed
from apps.content.views.preview import LETTER_LOADS
from apps.mailer.services.export_files import book_pieces
from apps.tracking import click_map as maps
from apps.tracking.counts import clicking_people, counts_of
from apps.tracking.models import ReportShare
from apps.tracking.rates import rates_of
from apps.tracking.reports import TEMPORARY, report_of
from apps.tracking.services import report_files, shares
from core.errors import AppError

State = Campaign.State
OVER = (State.FINISHED, State.CANCELLED)
RETRIED = (State.SENDING, State.PAUSED, State.FINISHED)
EVERY = 2  # seconds between looks while letters are being sent
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# Links of the click map lead nowhere, so that its frame may not even open them.
LETTER_POLICY = f"sandbox; {LETTER_LOADS}"


def _begun_or_404(request: WorkspaceRequest, pk: int) -> Campaign:
    campaign = get_object_or_404(Campaign, pk=pk, workspace=request.workspace)
    if not campaign.has_begun:
        raise Http404
    return campaign


@require_GET
def reports(request: WorkspaceRequest) -> HttpResponse:
    """Campaigns that have begun, with their main rates."""
    search = request.GET.get("search", "").strip()
    found = campaign_selectors.campaigns(request.workspace, search=search).exclude(
        state__in=[State.DRAFT, State.SCHEDULED]
    )
    page = keyset_page(request, found)
    rates = rates_of(page.rows)
    context = {
        "page": page,
        "rows": [(campaign, rates[campaign.pk]) for campaign in page.rows],
        "search": search,
    }
    return render(request, "tracking/reports.html", context)


@require_GET
def report(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = get_object_or_404(Campaign, pk=pk, workspace=request.workspace)
    if not campaign.has_begun:
        return redirect("campaigns:detail", request.workspace.slug, campaign.pk)
    context = _context(campaign) | {"shared_until": _share_of(campaign)}
    return render(request, "tracking/report.html", context)


@require_GET
def report_live(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The part of the report that moves while letters are being sent."""
    return render(request, "tracking/_report.html", _context(_begun_or_404(request, pk)))


def _context(campaign: Campaign) -> dict[str, Any]:
    found = report_of(campaign)
    return {
        "campaign": campaign,
        "report": found,
        "rates": found.rates,
        "usual": found.usual,
        "series": report_files.series_labels(),
        "over": campaign.state in OVER,
        "every": 0 if campaign.state in OVER else EVERY,
        "can_retry": campaign.state in RETRIED,
        "zone": campaign_selectors.zone_of(campaign.workspace),
    }


def _share_of(campaign: Campaign) -> ReportShare | None:
    return ReportShare.objects.filter(campaign=campaign).first()


@require_GET
@xframe_options_sameorigin
def click_map(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return _click_map(request, _begun_or_404(request, pk))


def _click_map(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    """Of the letter, or of the variant whose number `variant` is."""
    number = request.GET.get("variant", "")
    variant = next((one for one in variants.of(campaign) if str(one.number) == number), None)
    if number and variant is None:
        raise Http404
    try:
        people = clicking_people(counts_of(campaign), variant.number if variant else 0)
        html = maps.html_of(campaign, people, variant)
    except AppError as error:
        html = format_html("<p>{}</p>", error.message)
    response = HttpResponse(html)
    response["Content-Security-Policy"] = LETTER_POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


@require_http_methods(["GET", "POST"])
def send_again(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Once more to those whose letter failed for a reason that passes."""
    campaign = _begun_or_404(request, pk)
    if request.method == "POST":
        number = retry_failed(campaign=campaign, faults=TEMPORARY)
        words = ngettext(
            "%(number)s letter is queued again.", "%(number)s letters are queued again.", number
        )
        messages.success(request, words % {"number": number})
        return redirect("tracking:report", request.workspace.slug, campaign.pk)
    number = report_of(campaign).temporary
    if not number or campaign.state not in RETRIED:
        return redirect("tracking:report", request.workspace.slug, campaign.pk)
    context = {"campaign": campaign, "number": number}
    return render(request, "tracking/send_again.html", context)


@require_http_methods(["GET", "POST"])
def share(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """A link for people without an account: made, shown, taken back."""
    campaign = _begun_or_404(request, pk)
    if request.method == "POST":
        if request.POST.get("action") == "revoke":
            if shares.revoke(campaign=campaign):
                messages.success(request, _("The link is taken back: it leads nowhere any more."))
        else:
            days = request.POST.get("days", "")
            shares.share(
                campaign=campaign,
                by=request.user,
                days=int(days) if days.isdecimal() and len(days) < 4 else 0,
            )
        return redirect("tracking:share", request.workspace.slug, campaign.pk)
    found = _share_of(campaign)
    context = {
        "campaign": campaign,
        "share": found,
        "valid": found is not None and shares.is_valid(found),
        "url": request.build_absolute_uri(shares.path_of(found)) if found else "",
        "choices": shares.LASTS_DAYS,
    }
    return render(request, "tracking/share.html", context)


@require_GET
def as_csv(request: WorkspaceRequest, pk: int, table: str) -> HttpResponse | StreamingHttpResponse:
    campaign = _begun_or_404(request, pk)
    if table == "recipients":
        header, rows = report_files.recipients_header(), report_files.recipients(campaign)
    else:
        tables = report_files.tables(campaign, report_of(campaign))
        if table not in tables:
            raise Http404
        header, listed = tables[table][1]
        rows = iter(listed)
    response = StreamingHttpResponse(
        _encoded(report_files.csv_rows(header, rows)), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{_name(campaign)}-{table}.csv"'
    return response


def _encoded(pieces: Iterator[str]) -> Iterator[bytes]:
    return (piece.encode() for piece in pieces)


@require_GET
def recipients_workbook(request: WorkspaceRequest, pk: int) -> StreamingHttpResponse:
    campaign = _begun_or_404(request, pk)
    pieces = book_pieces(report_files.recipients_header(), report_files.recipients(campaign))
    response = StreamingHttpResponse(pieces, content_type=XLSX)
    response["Content-Disposition"] = f'attachment; filename="{_name(campaign)}-recipients.xlsx"'
    return response


@require_GET
def as_workbook(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = _begun_or_404(request, pk)
    response = HttpResponse(
        report_files.workbook(campaign, report_of(campaign)),
        content_type=XLSX,
    )
    response["Content-Disposition"] = f'attachment; filename="{_name(campaign)}.xlsx"'
    return response


def _name(campaign: Campaign) -> str:
    return f"report-{campaign.pk}-{slugify(campaign.name)[:60]}".rstrip("-")


@never_cache
@require_safe
def shared_report(request: HttpRequest, token: str) -> HttpResponse:
    """Figures alone: nobody's address, and no way on into the workspace."""
    found = shares.shared(token)
    if found is None:
        response = render(request, "tracking/shared_unknown.html", status=404)
    else:
        context = _context(found.campaign) | {
            "shared": True,
            "share": found,
            "token": token,
            "every": 0,
        }
        response = render(request, "tracking/shared_report.html", context)
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@require_safe
@xframe_options_sameorigin
def shared_click_map(request: HttpRequest, token: str) -> HttpResponse:
    found = shares.shared(token)
    if found is None:
        raise Http404
    return _click_map(request, found.campaign)
