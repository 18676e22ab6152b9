"""The page on which an owner says where the workspace's mail leaves."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.accounts.http import WorkspaceRequest
from apps.senders.forms import RelayForm
from apps.senders.selectors import relay_of
from apps.senders.services import delete_relay, save_relay
from core.errors import InvalidInput, NotAllowed


@require_http_methods(["GET", "POST"])
def relay(request: WorkspaceRequest) -> HttpResponse:
    saved = relay_of(request.workspace)
    if request.method == "POST":
        _require_owner(request)
        form = RelayForm(request.POST, instance=saved)
        if form.is_valid():
            try:
                save_relay(workspace=request.workspace, by=request.membership, **form.content())
            except InvalidInput as error:
                form.add_error(None, error.message)
            else:
                messages.success(request, _("The relay is saved. New mail leaves through it."))
                return redirect("senders:relay", request.workspace.slug)
        # Validation has written the form's values into its instance: show what is saved.
        saved = relay_of(request.workspace)
    else:
        form = RelayForm(instance=saved)
    context = {"form": form, "relay": saved, "can_change": request.membership.is_owner}
    return render(request, "senders/relay.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def relay_delete(request: WorkspaceRequest) -> HttpResponse:
    _require_owner(request)
    saved = relay_of(request.workspace)
    if saved is None:
        return redirect("senders:relay", request.workspace.slug)
    if request.method == "POST":
        delete_relay(workspace=request.workspace, by=request.membership)
        messages.success(request, _("The relay is removed. Mail goes to the sandbox again."))
        return redirect("senders:relay", request.workspace.slug)
    return render(request, "senders/relay_delete.html", {"relay": saved})


def _require_owner(request: WorkspaceRequest) -> None:
    if not request.membership.is_owner:
        raise NotAllowed(_("Only an owner of the workspace can change its SMTP relay."))
