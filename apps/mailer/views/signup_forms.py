"""Sign-up forms of a workspace, and why people leave it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.mailer.models import ContactList, LeavingReason, SignupForm
from apps.mailer.selectors import consent
from apps.mailer.services import signup_forms as services
from apps.mailer.signup_form_forms import SignupFormEditor, fields_asked
from core.errors import Conflict


@require_safe
def signup_forms(request: WorkspaceRequest) -> HttpResponse:
    search = request.GET.get("search", "")[:100].strip()
    found = consent.signup_forms(request.workspace)
    if search:
        found = found.filter(name__icontains=search)
    has_lists = ContactList.objects.filter(workspace=request.workspace).exists()
    context = {"forms": found, "search": search, "has_lists": has_lists}
    return render(request, "mailer/signup_forms.html", context)


@require_http_methods(["GET", "POST"])
def create(request: WorkspaceRequest) -> HttpResponse:
    new = SignupForm(
        workspace=request.workspace,
        title=_("Subscribe to %(name)s") % {"name": request.workspace.name},
        consent=_("I want to get letters from %(name)s and may unsubscribe at any time.")
        % {"name": request.workspace.name},
        from_name=request.workspace.name,
        language=translation.get_language() or settings.LANGUAGE_CODE,
    )
    editor = SignupFormEditor(request.POST or None, workspace=request.workspace, form=new)
    if request.method == "POST" and editor.is_valid():
        made = services.create_form(
            workspace=request.workspace, by=request.user, content=editor.content()
        )
        messages.success(request, _("The form is ready: its address and its HTML are below."))
        return redirect("mailer:signup_form", request.workspace.slug, made.pk)
    return render(request, "mailer/signup_form.html", {"form": editor, "edited": new})


@require_http_methods(["GET", "POST"])
def signup_form(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The form's address and HTML, and all that can be changed."""
    edited = get_object_or_404(consent.signup_forms(request.workspace), pk=pk)
    editor = SignupFormEditor(request.POST or None, workspace=request.workspace, form=edited)
    if request.method == "POST" and editor.is_valid():
        try:
            services.update_form(
                form=edited,
                seen=editor.cleaned_data["version"] or edited.created_at,
                content=editor.content(),
            )
        except Conflict as error:
            editor.add_error(None, error.message)
        else:
            messages.success(request, _("The form is saved."))
            return redirect("mailer:signup_form", request.workspace.slug, pk)
    url = f"{settings.BASE_URL}/f/{edited.key}"
    context = {"form": editor, "edited": edited, "url": url, "snippet": _snippet(edited, url)}
    return render(request, "mailer/signup_form.html", context)


def _snippet(form: SignupForm, url: str) -> str:
    """HTML for any page: it needs no script of ours."""
    with translation.override(form.language):
        fields = fields_asked(form)
        asked = [
            (field.label, field.widget.render(f"field_{key}", None))
            for key, field in fields.items()
        ]
        context = {"form": form, "url": url, "asked": asked}
        return render_to_string("mailer/signup_snippet.html", context).strip()


@require_http_methods(["GET", "POST"])
def delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then deletes the form; consents stay."""
    edited = get_object_or_404(SignupForm, pk=pk, workspace=request.workspace)
    if request.method == "POST":
        services.delete_form(form=edited)
        messages.success(request, _("The form “%(name)s” is deleted.") % {"name": edited})
        return redirect("mailer:signup_forms", request.workspace.slug)
    return render(request, "mailer/signup_form_delete.html", {"edited": edited})


@require_safe
def leaving(request: WorkspaceRequest) -> HttpResponse:
    """What people said when they unsubscribed."""
    reason = request.GET.get("reason", "")
    reason = reason if reason in LeavingReason.Reason else ""
    rows, total = consent.leaving_reasons(request.workspace)
    page = keyset_page(request, consent.leaving_comments(request.workspace, reason))
    context = {"reasons": rows, "total": total, "page": page, "chosen": reason}
    return render(request, "mailer/leaving.html", context)
