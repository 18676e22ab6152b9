"""How a draft's letter is made: the builder, the way of making it, templates."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.campaigns.services import campaigns as drafts
from apps.campaigns.services import designs
from apps.campaigns.services.variants import copy_letter, drop_letter
from apps.campaigns.views.campaigns import to_page
from apps.campaigns.views.edited import Edited, draft_or_404, edited_or_404
from apps.content import starters
from apps.content.models import Editor, Template
from apps.content.selectors import templates_of
from apps.content.services.templates import create_template
from apps.content.views.builder import builder_page, builder_policy
from apps.content.views.modes import modes_page
from apps.content.views.templates import PAGE_SIZE, template_or_404
from core.errors import AppError


@require_http_methods(["GET", "POST"])
@builder_policy
def builder(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    edited = draft_or_404(request, pk, number)
    if edited.letter.editor != Editor.BUILDER:
        return edited.to_page("mode" if edited.letter.editor else "edit")
    return builder_page(
        request,
        edited,
        save=lambda design: edited.save(design=design),
        back=edited.url("edit"),
        preview=edited.url("preview"),
    )


@require_http_methods(["GET", "POST"])
def mode(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    edited = draft_or_404(request, pk, number)
    campaign, variant, letter = edited.campaign, edited.variant, edited.letter
    if request.method == "POST":
        designs.change_editor(campaign=campaign, variant=variant, to=request.POST.get("editor", ""))
        return edited.to_page("edit")
    if not letter.editor:
        return edited.to_page("edit")
    back = edited.url("edit")
    return modes_page(request, edited, editor=letter.editor, back=back, empty=not letter.html)


@require_http_methods(["GET", "POST"])
def start_from(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    """Choose a template (POST `template`), one of our own letters (`starter`), or for a variant
    the campaign's letter (`campaign`): a copy of it, or for `same` that letter itself."""
    edited = draft_or_404(request, pk, number)
    if request.method == "POST":
        messages.success(request, _start_from(request, edited))
        return edited.to_page("edit")
    context = {
        "campaign": edited.campaign,
        "edited": edited,
        "back": edited.url("edit"),
        "keep_url": edited.url("save_template"),
        "page": keyset_page(request, templates_of(request.workspace), size=PAGE_SIZE),
        "starters": starters.all_starters(),
    }
    return render(request, "campaigns/start_from.html", context)


def _start_from(request: WorkspaceRequest, edited: Edited) -> str:
    """Do what was posted; what was done in words."""
    campaign, variant = edited.campaign, edited.variant
    if variant and request.POST.get("campaign") == "same":
        drop_letter(campaign=campaign, number=variant.number)
        return _("The variant has the campaign's letter again.")
    if variant and request.POST.get("campaign") == "copy":
        copy_letter(campaign=campaign, number=variant.number)
        return _("The campaign's letter is copied: change what shall differ.")
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
    designs.start_from(campaign=campaign, variant=variant, source=source)
    return _("The letter is in the draft.")


@require_http_methods(["GET", "POST"])
def save_template(request: WorkspaceRequest, pk: int, number: int = 1) -> HttpResponse:
    """Keep a letter, launched or not, as a template."""
    edited = edited_or_404(request, pk, number)
    letter = edited.as_read()
    of_draft = edited.variant and edited.campaign.is_draft
    context: dict[str, object] = {
        "edited": edited,
        "back": edited.url("edit") if of_draft else Edited(edited.campaign).url("detail"),
        "name": edited.name[:150],
    }
    if request.method == "POST":
        context["name"] = request.POST.get("name", "")
        try:
            template = create_template(
                workspace=request.workspace,
                by=request.user,
                name=request.POST.get("name", ""),
                editor=letter.editor,
                design=letter.design,
                html=letter.html,
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
