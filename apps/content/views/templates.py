"""The pages of templates."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.content import starters
from apps.content.forms import NewTemplateForm, TemplateForm
from apps.content.models import Editor, Template
from apps.content.selectors import blocks_of, merge_fields, preview_html, templates_of
from apps.content.services import templates as services
from apps.content.services.letters import html_of, new_design, stored_design
from apps.content.views.builder import builder_page, builder_policy
from apps.content.views.modes import modes_page
from apps.content.views.preview import letter_document
from apps.mailer.models import Contact
from core.errors import AppError, Conflict, InvalidInput

PAGE_SIZE = 12  # each is a frame with a letter
SUGGESTED_CONTACTS = 20


def template_or_404(request: WorkspaceRequest, pk: int) -> Template:
    return get_object_or_404(Template, pk=pk, workspace=request.workspace)


@require_GET
def templates(request: WorkspaceRequest) -> HttpResponse:
    search = request.GET.get("search", "").strip()
    page = keyset_page(request, templates_of(request.workspace, search), size=PAGE_SIZE)
    return render(request, "content/templates.html", {"page": page, "search": search})


@require_http_methods(["GET", "POST"])
def template_new(request: WorkspaceRequest) -> HttpResponse:
    """From one of our own letters (`starter`), or an empty one."""
    form = NewTemplateForm(request.POST or None)
    if request.method == "POST":
        starter = starters.get(request.POST.get("starter", ""))
        if starter:
            template = services.create_template(
                workspace=request.workspace,
                by=request.user,
                name=str(starter.name),
                editor=Editor.BUILDER,
                design=starter.source(),
            )
            return _edit(request, template)
        if form.is_valid():
            template = services.create_template(
                workspace=request.workspace,
                by=request.user,
                design=new_design(form.cleaned_data["editor"]),
                **form.cleaned_data,
            )
            return _edit(request, template)
    context = {"form": form, "starters": starters.all_starters()}
    return render(request, "content/template_new.html", context)


@require_GET
@xframe_options_sameorigin
def starter_preview(request: WorkspaceRequest, slug: str) -> HttpResponse:
    starter = starters.get(slug)
    if starter is None:
        raise Http404
    html = html_of(editor=Editor.MJML, design=starter.source())
    return letter_document(preview_html(request.workspace, html, None))


@require_http_methods(["GET", "POST"])
def template_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    template = template_or_404(request, pk)
    if request.method == "GET":
        return _editor(request, template, TemplateForm.of(template))
    wants_json = request.headers.get("Accept", "").startswith("application/json")
    form = TemplateForm(request.POST)
    if not form.is_valid():
        if wants_json:
            return JsonResponse({"errors": form.errors}, status=422)
        return _editor(request, template, form, status=422)
    given = form.cleaned_data
    try:
        if given["version"] != template.updated_at.isoformat():
            raise Conflict(_("This template was changed in another window."))
        services.update_template(
            template=template,
            name=given["name"],
            design=given["design"] if "design" in request.POST else None,
            html=given["html"] if "html" in request.POST else None,
        )
    except InvalidInput as error:
        if wants_json:
            raise
        form.add_error(None, error.message)
        return _editor(request, template_or_404(request, pk), form, status=422)
    except Conflict:
        if wants_json:
            raise
        return _stale(request, template_or_404(request, pk))
    if wants_json:
        return JsonResponse({"version": template.updated_at.isoformat()})
    if (page := request.POST.get("next")) in ("builder", "mode"):
        return redirect(f"content:{page}", request.workspace.slug, template.pk)
    messages.success(request, _("The template is saved."))
    return _edit(request, template)


def _stale(request: WorkspaceRequest, template: Template) -> HttpResponse:
    """What was written, with the version of now: saving once more replaces what is saved."""
    data = request.POST.copy()
    data["version"] = template.updated_at.isoformat()
    return _editor(request, template, TemplateForm(data), status=409, stale=True)


def _editor(
    request: WorkspaceRequest,
    template: Template,
    form: TemplateForm,
    *,
    status: int = 200,
    stale: bool = False,
) -> HttpResponse:
    context = {
        "template": template,
        "form": form,
        "stale": stale,
        **editor_context(request, template.editor),
        "preview_url": reverse("content:preview", args=[request.workspace.slug, template.pk]),
    }
    return render(request, "content/template.html", context, status=status)


def editor_context(request: WorkspaceRequest, editor: str) -> dict[str, object]:
    """What content/_letter.html needs beside its form; without an editor, the page's preview."""
    kind = "html" if editor == Editor.HTML else "mjml"
    return {
        "editor": editor,
        "editor_label": Editor(editor).label if editor else "",
        "merge_fields": merge_fields(request.workspace),
        "saved_blocks": blocks_of(request.workspace, kind) if editor in ("html", "mjml") else [],
        "unsubscribe_code": '<a href="{{{{ unsubscribe_url }}}}">{}</a>'.format(_("Unsubscribe")),
        "unsubscribe_text": "{{ unsubscribe_url }}",
        "contacts": Contact.objects.filter(workspace=request.workspace).order_by("-id")[
            :SUGGESTED_CONTACTS
        ],
    }


@require_http_methods(["GET", "POST"])
@xframe_options_sameorigin
def template_preview(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """What is posted, else what is saved, as a document for a frame."""
    template = template_or_404(request, pk)
    values = request.POST if request.method == "POST" else request.GET
    try:
        html = values.get("html", template.html)
        if "design" in values and template.editor != Editor.HTML:
            design = stored_design(editor=template.editor, design=values["design"])
            html = html_of(editor=template.editor, design=design)
        email = values.get("preview_as", "").strip().lower()
        contact = (
            Contact.objects.filter(workspace=request.workspace, email=email).first()
            if email
            else None
        )
        html = preview_html(request.workspace, html, contact)
    except AppError as error:
        html = format_html("<p>{}</p>", error.message)
    return letter_document(html, dark="dark" in values)


@require_http_methods(["GET", "POST"])
@builder_policy
def template_builder(request: WorkspaceRequest, pk: int) -> HttpResponse:
    template = template_or_404(request, pk)
    if template.editor != Editor.BUILDER:
        return redirect("content:mode", request.workspace.slug, pk)
    slug = request.workspace.slug
    return builder_page(
        request,
        template,
        save=lambda design: services.update_template(template=template, design=design),
        back=reverse("content:edit", args=[slug, pk]),
        preview=reverse("content:preview", args=[slug, pk]),
    )


@require_http_methods(["GET", "POST"])
def template_mode(request: WorkspaceRequest, pk: int) -> HttpResponse:
    template = template_or_404(request, pk)
    back = reverse("content:edit", args=[request.workspace.slug, pk])
    if request.method == "POST":
        services.change_editor(template=template, to=request.POST.get("editor", ""))
        return redirect(back)
    return modes_page(request, template, editor=template.editor, back=back, empty=not template.html)


@require_POST
def template_copy(request: WorkspaceRequest, pk: int) -> HttpResponse:
    copy = services.copy_template(template=template_or_404(request, pk), by=request.user)
    messages.success(request, _("The copy is made."))
    return _edit(request, copy)


@require_http_methods(["GET", "POST"])
def template_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    template = template_or_404(request, pk)
    if request.method == "POST":
        services.delete_template(template=template)
        messages.success(request, _("The template is deleted."))
        return redirect("content:templates", request.workspace.slug)
    return render(request, "content/template_delete.html", {"template": template})


def _edit(request: WorkspaceRequest, template: Template) -> HttpResponse:
    return redirect("content:edit", request.workspace.slug, template.pk)
