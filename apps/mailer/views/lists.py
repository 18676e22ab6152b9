from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest
from apps.mailer import checks, selectors
from apps.mailer.forms import ListForm, PublicNameForm
from apps.mailer.models import Contact, ContactList, Verdict
from apps.mailer.services import lists as services
from core.errors import InvalidInput


@require_safe
def lists(request: WorkspaceRequest) -> HttpResponse:
    search = request.GET.get("search", "")[:100].strip()
    found = selectors.lists_with_counts(request.workspace)
    if search:
        found = found.filter(name__icontains=search)
    return render(request, "mailer/lists.html", {"lists": found, "search": search})


@require_http_methods(["GET", "POST"])
def create(request: WorkspaceRequest) -> HttpResponse:
    form = ListForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_list(workspace=request.workspace, name=form.cleaned_data["name"])
        except InvalidInput as error:
            form.add_error("name", error.message)
        else:
            return redirect("mailer:list", request.workspace.slug, made.pk)
    return render(request, "mailer/list_create.html", {"form": form})


@require_safe
def contact_list(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """A list's contacts counted by verdict and by status."""
    shown = get_object_or_404(ContactList, pk=pk, workspace=request.workspace)
    figures = checks.list_figures(shown)
    return render(
        request,
        "mailer/list.html",
        {
            "list": shown,
            "figures": figures,
            "verdicts": [
                *((code, label, figures.verdicts[code]) for code, label in Verdict.choices),
                ("none", gettext("Not verified yet"), figures.verdicts[""]),
            ],
            "statuses": [
                (code, label, figures.statuses[code]) for code, label in Contact.Status.choices
            ],
            "imports": shown.imports.order_by("-id")[:5],
        },
    )


@require_http_methods(["GET", "POST"])
def delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then deletes the list; its contacts stay."""
    shown = get_object_or_404(selectors.lists_with_counts(request.workspace), pk=pk)
    if request.method == "POST":
        services.delete_list(contact_list=shown)
        messages.success(request, gettext("The list “%(name)s” is deleted.") % {"name": shown})
        return redirect("mailer:lists", request.workspace.slug)
    members: int = shown.members  # type: ignore[attr-defined]
    return render(
        request,
        "mailer/list_delete.html",
        {"list": shown, "members": members, "at_least": min(members, selectors.COUNTED)},
    )


@require_http_methods(["GET", "POST"])
def public(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """What recipients read of the list on the page where they choose, if anything."""
    shown = get_object_or_404(ContactList, pk=pk, workspace=request.workspace)
    form = PublicNameForm(request.POST or None, initial={"public_name": shown.public_name})
    if request.method == "POST" and form.is_valid():
        services.show_to_recipients(contact_list=shown, name=form.cleaned_data["public_name"])
        messages.success(request, gettext("Saved."))
        return redirect("mailer:list", request.workspace.slug, pk)
    return render(request, "mailer/list_public.html", {"list": shown, "form": form})
