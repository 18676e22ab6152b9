"""The variants of a draft, their test, and the choice of a winner."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.campaigns import experiments, variants
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import experiments as running
from apps.campaigns.services import variants as drafts
from apps.campaigns.variant_forms import TestForm
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from apps.campaigns.views.edited import Edited, draft_or_404

# Seconds after which the figures of a test ask again.
MOVING_EVERY = 5


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
    campaign = draft_or_404(request, pk).campaign
    variant = drafts.add_variant(campaign=campaign)
    return Edited(campaign, variant).to_page("edit")


@require_http_methods(["GET", "POST"])
def remove(request: WorkspaceRequest, pk: int, number: int) -> HttpResponse:
    campaign = draft_or_404(request, pk).campaign
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
