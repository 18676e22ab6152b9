from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.mailer.forms import SuppressionForm
from apps.mailer.models import Suppression
from apps.mailer.services import suppression as services
from core.errors import InvalidInput


@require_http_methods(["GET", "POST"])
def suppression(request: WorkspaceRequest) -> HttpResponse:
    """The addresses that are never mailed, and the form that adds one."""
    form = SuppressionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            entry = services.suppress(
                workspace=request.workspace,
                email=form.cleaned_data["email"],
                reason=Suppression.Reason.MANUAL,
                source=f"user:{request.user.pk}",
            )
        except InvalidInput as error:
            form.add_error("email", error.message)
        else:
            text = gettext("%(email)s gets no mail from now on.")
            messages.success(request, text % {"email": entry.email})
            return redirect("mailer:suppression", request.workspace.slug)
    search = request.GET.get("search", "")[:254].strip()
    entries = Suppression.objects.filter(workspace=request.workspace).order_by("-id")
    if search:
        entries = entries.filter(email__icontains=search)
    page = keyset_page(request, entries)
    return render(
        request, "mailer/suppression.html", {"form": form, "page": page, "search": search}
    )


@require_http_methods(["GET", "POST"])
def remove(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then allows mail to the address again."""
    entry = get_object_or_404(Suppression, pk=pk, workspace=request.workspace)
    if request.method == "POST":
        services.remove(suppression=entry)
        text = gettext("%(email)s is no longer suppressed.")
        messages.success(request, text % {"email": entry.email})
        return redirect("mailer:suppression", request.workspace.slug)
    return render(request, "mailer/suppression_remove.html", {"entry": entry})
