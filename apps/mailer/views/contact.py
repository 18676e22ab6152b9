"""One contact: what is known, what happened, and what a person can change."""

from __future__ import annotations

import json
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest
from apps.mailer import selectors
from apps.mailer.forms import ContactForm, EraseForm
from apps.mailer.models import Contact, ContactField
from apps.mailer.selectors.consent import consents_of
from apps.mailer.services import contacts as services
from apps.mailer.services import contacts_erasure as erasure


@require_safe
def contact(request: WorkspaceRequest, pk: int) -> HttpResponse:
    shown = _contact(request, pk)
    labels = dict(
        ContactField.objects.filter(workspace=request.workspace).values_list("key", "label")
    )
    before = _moment(request.GET.get("before", ""))
    return render(
        request,
        "mailer/contact.html",
        {
            "contact": shown,
            "fields": [(labels.get(key, key), key, value) for key, value in shown.fields.items()],
            "lists": shown.lists.order_by("name"),
            "reason": selectors.reason_text(shown.reason),
            "suppression": selectors.suppression_of(shown),
            "consents": consents_of(shown),
            "timeline": selectors.timeline(shown, before=before),
            "earlier": before is not None,
        },
    )


def _contact(request: WorkspaceRequest, pk: int) -> Contact:
    found = Contact.objects.select_related("workspace")
    return get_object_or_404(found, pk=pk, workspace=request.workspace)


def _moment(raw: str) -> datetime | None:
    """None for what is no moment with its time zone."""
    try:
        found = datetime.fromisoformat(raw)
    except ValueError:
        return None
    return found if found.tzinfo else None


@require_http_methods(["GET", "POST"])
def edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    shown = _contact(request, pk)
    form = ContactForm(request.POST or None, contact=shown)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        changed = services.edit_contact(
            contact=shown,
            by=request.user,
            seen=data["version"],
            first_name=data["first_name"],
            last_name=data["last_name"],
            tags=data["tags"],
            fields=form.values(),
            lists=data["lists"],
        )
        messages.success(request, gettext("Saved.") if changed else gettext("Nothing changed."))
        return redirect("mailer:contact", request.workspace.slug, pk)
    return render(request, "mailer/contact_edit.html", {"contact": shown, "form": form})


@require_safe
def data(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Everything about one person, for that person."""
    shown = _contact(request, pk)
    text = json.dumps(erasure.personal_data(contact=shown), ensure_ascii=False, indent=2)
    response = HttpResponse(text + "\n", content_type="application/json; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="contact-{shown.pk}.json"'
    return response


@require_http_methods(["GET", "POST"])
def erase(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks for the address, then forgets the person."""
    shown = _contact(request, pk)
    form = EraseForm(request.POST or None, contact=shown)
    if request.method == "POST" and form.is_valid():
        erasure.erase(contact=shown)
        messages.success(request, gettext("The person's data are erased."))
        return redirect("mailer:contacts", request.workspace.slug)
    return render(request, "mailer/contact_erase.html", {"contact": shown, "form": form})


@require_http_methods(["GET", "POST"])
def unsubscribe(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then takes the contact off every mailing."""
    shown = _contact(request, pk)
    if request.method == "POST":
        services.unsubscribe(contact=shown, source=f"user:{request.user.pk}")
        messages.success(request, gettext("%(email)s is unsubscribed.") % {"email": shown.email})
        return redirect("mailer:contact", request.workspace.slug, pk)
    return render(request, "mailer/contact_unsubscribe.html", {"contact": shown})


@require_http_methods(["GET", "POST"])
def resubscribe(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, since only the person may want this, then undoes an unsubscription."""
    shown = get_object_or_404(
        Contact, pk=pk, workspace=request.workspace, status=Contact.Status.UNSUBSCRIBED
    )
    if request.method == "POST":
        services.resubscribe(contact=shown, by=request.user)
        messages.success(request, gettext("%(email)s is subscribed.") % {"email": shown.email})
        return redirect("mailer:contact", request.workspace.slug, pk)
    return render(request, "mailer/contact_resubscribe.html", {"contact": shown})
