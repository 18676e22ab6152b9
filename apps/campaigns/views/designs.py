"""How a draft's letter is made: the builder, the way of making it, templates."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.campaigns.models import Campaign
from apps.campaigns.services import campaigns as drafts
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from apps.content import starters
from apps.content.models import Editor, Template
from apps.content.selectors import templates_of
from apps.content.services.templates import create_template
from apps.content.views.builder import builder_page, builder_policy
from apps.content.views.modes import modes_page
from apps.content.views.templates import PAGE_SIZE, template_or_404
from core.errors import AppError, Conflict


def _draft(request: WorkspaceRequest, pk: int) -> Campaign:
    campaign = campaign_or_404(request, pk)
    if not campaign.is_draft:
        raise Conflict(_("This campaign was launched: its content cannot change any more."))
    return campaign


@require_http_methods(["GET", "POST"])
@builder_policy
def builder(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = _draft(request, pk)
    if campaign.editor != Editor.BUILDER:
        return to_page("mode", campaign, request)
    slug = request.workspace.slug
    return builder_page(
        request,
        campaign,
        save=lambda design: drafts.update_campaign(campaign=campaign, design=design),
        back=reverse("campaigns:edit", args=[slug, pk]),
        preview=reverse("campaigns:preview", args=[slug, pk]),
    )


@require_http_methods(["GET", "POST"])
def mode(request: WorkspaceRequest, pk: int) -> HttpResponse:
    campaign = _draft(request, pk)
    back = reverse("campaigns:edit", args=[request.workspace.slug, pk])
    if request.method == "POST":
        drafts.change_editor(campaign=campaign, to=request.POST.get("editor", ""))
        return redirect(back)
    return modes_page(request, campaign, editor=campaign.editor, back=back, empty=not campaign.html)


@require_http_methods(["GET", "POST"])
def start_from(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Choose a template (POST `template`) or one of our own letters (`starter`)."""
    campaign = _draft(request, pk)
    if request.method == "POST":
        source: Template | str
        if "starter" in request.POST:
            starter = starters.get(request.POST["starter"])
            if starter is None:
                raise Http404
            source = starter.source()
        else:
            chosen = request.POST.get("template", "")
            if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
                raise Http404
            source = template_or_404(request, int(chosen))
        drafts.start_from(campaign=campaign, source=source)
        messages.success(request, _("The letter is in the draft."))
        return to_page("edit", campaign, request)
    context = {
        "campaign": campaign,
        "page": keyset_page(request, templates_of(request.workspace), size=PAGE_SIZE),
        "starters": starters.all_starters(),
    }
    return render(request, "campaigns/start_from.html", context)


@require_http_methods(["GET", "POST"])
def save_template(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Keep a campaign's letter, launched or not, as a template."""
    campaign = campaign_or_404(request, pk)
    context: dict[str, object] = {"campaign": campaign, "name": campaign.name}
    if request.method == "POST":
        context["name"] = request.POST.get("name", "")
        try:
            template = create_template(
                workspace=request.workspace,
                by=request.user,
                name=request.POST.get("name", ""),
                editor=campaign.editor,
                design=campaign.design,
                html=campaign.html,
            )
        except AppError as error:
            context["error"] = error.message
        else:
            messages.success(request, _("The template is saved."))
            return redirect("content:edit", request.workspace.slug, template.pk)
    status = 422 if "error" in context else 200
    return render(request, "campaigns/save_template.html", context, status=status)


@require_POST
def from_template(request: WorkspaceRequest, template_pk: int) -> HttpResponse:
    """A new draft with a template's letter."""
    template = get_object_or_404(Template, pk=template_pk, workspace=request.workspace)
    campaign = drafts.create_campaign(
        workspace=request.workspace,
        by=request.user,
        name=template.name,
        editor=template.editor,
        design=template.design,
        html=template.html,
    )
    return to_page("edit", campaign, request)
