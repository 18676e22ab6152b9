"""The settings of a workspace; its owners change them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.accounts.forms import WorkspaceForm
from apps.accounts.http import WorkspaceRequest
from apps.accounts.services import change_workspace


@require_http_methods(["GET", "POST"])
def settings(request: WorkspaceRequest) -> HttpResponse:
    workspace = request.workspace
    shown = {"name": workspace.name, "postal_address": workspace.postal_address}
    form = WorkspaceForm(request.POST or None, initial=shown)
    if request.method == "POST" and form.is_valid():
        change_workspace(workspace=workspace, by=request.membership, **form.cleaned_data)
        messages.success(request, _("The settings are saved."))
        return redirect("workspace:settings", workspace.slug)
    status = 422 if form.errors else 200
    return render(request, "accounts/workspace.html", {"form": form}, status=status)
