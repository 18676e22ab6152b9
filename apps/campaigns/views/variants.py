"""The variants of a draft, their test, and the choice of a winner."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import experiments, variants
from apps.campaigns.forms import TestSendForm, version
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import experiments as running
from apps.campaigns.services import variants as drafts
from apps.campaigns.services.testing import preview as render_preview
from apps.campaigns.services.testing import send_test
from apps.campaigns.variant_forms import TestForm, VariantForm
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from apps.content.selectors import merge_fields
from apps.content.views.preview import letter_document
from core.errors import AppError, Conflict, InvalidInput

# Seconds after which the figures of a test ask again.
MOVING_EVERY = 5


def _draft_or_404(request: WorkspaceRequest, pk: int) -> Campaign:
    """Raises Conflict for a campaign that was launched."""
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        raise Conflict(_("This campaign was launched: its content cannot change any more."))
    return campaign


def _variant_page(campaign: Campaign, request: WorkspaceRequest, number: int) -> HttpResponse:
    return redirect("campaigns:variant", request.workspace.slug, campaign.pk, number)


@require_http_methods(["GET", "POST"])
def test(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """All variants of a draft, and how they are tested."""
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        return to_page("detail", campaign, request)
    form = TestForm(request.POST or None, initial=TestForm.saved(campaign))
    if form.is_valid():
        drafts.update_test(campaign=campaign, **form.cleaned_data)
        messages.success(request, _("The test is saved."))
        return to_page("variants", campaign, request)
    context = {"form": form, **summary(campaign)}
    return render(request, "campaigns/variants.html", context, status=422 if form.errors else 200)


def summary(campaign: Campaign) -> dict[str, object]:
    """The variants of a draft in words, and how large a test has to be."""
    shown = [(one, experiments.differences(one)) for one in variants.of(campaign)]
    rate, hints = experiments.hints(campaign)
    return {
        "campaign": campaign,
        "variants": shown,
        "can_add": len(shown) < Variant.MOST,
        "by": experiments.by_of(campaign),
        "usual_rate": rate,
        "hints": hints,
    }


@require_GET
def section(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The editor's part on the test, loaded by it."""
    campaign = campaign_or_404(request, pk)
    return render(request, "campaigns/_variants_summary.html", summary(campaign))


@require_POST
def add(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = _draft_or_404(request, pk)
    variant = drafts.add_variant(campaign=campaign)
    return _variant_page(campaign, request, variant.number)


@require_http_methods(["GET", "POST"])
def edit(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    campaign = _draft_or_404(request, pk)
    variant = get_object_or_404(campaign.variants, number=number)
    if number == 1:  # the campaign's own letter
        return to_page("edit", campaign, request)
    form = VariantForm(request.POST or None, initial=VariantForm.saved(campaign, variant))
    if form.is_valid():
        if request.POST.get("version") != version(campaign):
            raise Conflict(
                _("This campaign was changed in another window: reload the page to see it.")
            )
        try:
            drafts.update_variant(campaign=campaign, number=number, **form.own())
        except InvalidInput as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, _("Variant %(name)s is saved.") % {"name": variant.name})
            return _variant_page(campaign, request, number)
    context = {
        "campaign": campaign,
        "variant": variant,
        "form": form,
        "version": version(campaign),
        "test_form": TestSendForm(initial={"to": request.user.email}),
        "merge_fields": merge_fields(request.workspace),
    }
    return render(request, "campaigns/variant.html", context, status=422 if form.errors else 200)


@require_GET
@xframe_options_sameorigin
def preview(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    """A variant's letter as a document for a frame."""
    campaign = campaign_or_404(request, pk)
    get_object_or_404(campaign.variants, number=number)
    try:
        letter = render_preview(campaign=campaign, variant=number)
        html = letter.html or format_html("<pre>{}</pre>", letter.text)
    except AppError as error:
        html = format_html("<p>{}</p>", error.message)
    return letter_document(html)


@require_POST
def test_send(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    get_object_or_404(campaign.variants, number=number)
    form = TestSendForm(request.POST)
    if not form.is_valid():
        raise InvalidInput(" ".join(map(str, form.errors["to"])))
    send_test(campaign=campaign, to=form.cleaned_data["to"], by=request.user, variant=number)
    return to_page("test_send", campaign, request)


@require_http_methods(["GET", "POST"])
def remove(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    campaign = _draft_or_404(request, pk)
    variant = get_object_or_404(campaign.variants.exclude(number=1), number=number)
    if request.method == "POST":
        drafts.remove_variant(campaign=campaign, number=number)
        messages.success(request, _("Variant %(name)s is removed.") % {"name": variant.name})
        return to_page("variants", campaign, request)
    context = {
        "campaign": campaign,
        "variant": variant,
        "last": campaign.variants.count() == 2,
    }
    return render(request, "campaigns/variant_remove.html", context)


@require_GET
def report(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The figures of the variants, which ask for themselves again while they move."""
    campaign = campaign_or_404(request, pk)
    found = experiments.report(campaign)
    moving = campaign.in_motion or campaign.state == Campaign.State.PAUSED
    context = {
        "campaign": campaign,
        "report": found,
        "every": MOVING_EVERY if moving else 0,
    }
    return render(request, "campaigns/_variants_figures.html", context)


@require_http_methods(["GET", "POST"])
def choose(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    """Choose the winner, once the person has read how sure that is."""
    campaign = campaign_or_404(request, pk)
    variant = get_object_or_404(campaign.variants, number=number)
    if request.method == "POST":
        running.decide(campaign=campaign, number=number, by=request.user)
        messages.success(
            request, _("Variant %(name)s goes to all others.") % {"name": variant.name}
        )
        return to_page("detail", campaign, request)
    found = experiments.report(campaign)
    if found is None:
        raise Http404
    if not found.can_decide:
        return to_page("detail", campaign, request)
    context = {"campaign": campaign, "variant": variant, "report": found}
    return render(request, "campaigns/variant_choose.html", context)
