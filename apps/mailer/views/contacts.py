from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.mailer import selectors
from apps.mailer.forms import ContactFilter
from apps.mailer.models import Contact, ContactField, Suppression
from apps.mailer.services import contacts as services

# Beyond this many, counting costs more than the figure is worth.
COUNTED = 10_000


@require_safe
def contacts(request: WorkspaceRequest) -> HttpResponse:
    form = ContactFilter(request.GET, workspace=request.workspace)
    chosen = form.chosen()
    found = selectors.contacts(
        request.workspace,
        search=chosen["search"] or "",
        list_id=chosen["list"].pk if chosen["list"] else None,
        verdict=chosen["verdict"] or "",
        status=chosen["status"] or "",
    )
    if chosen["of_import"]:
        found = found.filter(importedcontact__of_import=chosen["of_import"])
    page = keyset_page(request, found)
    number = found.order_by()[: COUNTED + 1].count()
    return render(
        request,
        "mailer/contacts.html",
        {
            "form": form,
            "filtered": any(chosen.values()),
            "of_import": chosen["of_import"],
            "page": page,
            "rows": [(one, selectors.reason_text(one.reason)) for one in page.rows],
            "number": min(number, COUNTED),
            "more": number > COUNTED,
        },
    )


@require_safe
def contact(request: WorkspaceRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Contact, pk=pk, workspace=request.workspace)
    labels = dict(
        ContactField.objects.filter(workspace=request.workspace).values_list("key", "label")
    )
    return render(
        request,
        "mailer/contact.html",
        {
            "contact": shown,
            "fields": [(labels.get(key, key), key, value) for key, value in shown.fields.items()],
            "lists": shown.lists.order_by("name"),
            "reason": selectors.reason_text(shown.reason),
            "suppression": Suppression.objects.filter(
                workspace=request.workspace, email=shown.email
            ).first(),
        },
    )


@require_http_methods(["GET", "POST"])
def unsubscribe(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then takes the contact off every mailing."""
    shown = get_object_or_404(Contact, pk=pk, workspace=request.workspace)
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
        services.resubscribe(contact=shown)
        messages.success(request, gettext("%(email)s is subscribed.") % {"email": shown.email})
        return redirect("mailer:contact", request.workspace.slug, pk)
    return render(request, "mailer/contact_resubscribe.html", {"contact": shown})
