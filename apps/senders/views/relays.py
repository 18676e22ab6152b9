"""The pages on which an owner says where the workspace's mail leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.senders.faults import explain
from apps.senders.forms import RelayForm
from apps.senders.models import Relay
from apps.senders.selectors import relays_of
from apps.senders.services.relays import (
    ask_for_check,
    delete_relay,
    require_owner,
    save_relay,
    switch_relay,
)
from core.errors import InvalidInput

SLOW = timedelta(seconds=20)  # most servers answer a test in less


@require_GET
def relays(request: WorkspaceRequest) -> HttpResponse:
    """All relays; asked by htmx, the part that moves."""
    template = "senders/_relays.html" if request.htmx else "senders/relays.html"
    return render(request, template, _overview(request))


@require_http_methods(["GET", "POST"])
def relay_add(request: WorkspaceRequest) -> HttpResponse:
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
def relay_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return _edit(request, _relay_or_404(request, pk))


@require_POST
def relay_check(request: WorkspaceRequest, pk: int) -> HttpResponse:
    _relay_or_404(request, pk)
    ask_for_check(workspace=request.workspace, by=request.membership, relay_id=pk)
    return _moved(request)


@require_POST
def relay_switch(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Says what it shall be, so that a second click does not undo the first."""
    _relay_or_404(request, pk)
    on = request.POST.get("on") == "1"
    switch_relay(workspace=request.workspace, by=request.membership, relay_id=pk, on=on)
    return _moved(request)


@require_http_methods(["GET", "POST"])
def relay_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    if request.method == "POST":
        delete_relay(workspace=request.workspace, by=request.membership, relay_id=pk)
        messages.success(request, _("The relay is removed."))
        return redirect("senders:relays", request.workspace.slug)
    others = [relay for relay in relays_of(request.workspace) if relay.pk != pk]
    context = {
        "relay": _relay_or_404(request, pk),
        "last": not others,
        "none_in_use": not any(other.enabled for other in others),
    }
    return render(request, "senders/relay_delete.html", context)


def _edit(request: WorkspaceRequest, relay: Relay | None) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    if request.method == "POST":
        title = str(relay) if relay else ""  # validation writes the form's values into the relay
        form = RelayForm(request.POST, instance=relay)
        if form.is_valid():
            try:
                save_relay(
                    workspace=request.workspace,
                    by=request.membership,
                    relay_id=relay.pk if relay else None,
                    **form.content(),
                )
            except InvalidInput as error:
                form.add_error(None, error.message)
            else:
                messages.success(request, _("The relay is saved. Test whether it can be reached."))
                return redirect("senders:relays", request.workspace.slug)
    else:
        title = str(relay) if relay else ""
        form = RelayForm(instance=relay)
    context = {"form": form, "relay": relay, "title": title}
    return render(request, "senders/relay.html", context, status=422 if form.errors else 200)


def _overview(request: WorkspaceRequest) -> dict[str, Any]:
    now = timezone.now()
    relays = relays_of(request.workspace)
    in_use = [relay for relay in relays if relay.enabled]
    healthy = [relay for relay in in_use if not relay.failing_since]
    return {
        "relays": [(relay, explain(relay.last_error)) for relay in relays],
        "weights": sum(relay.weight for relay in healthy) if len(in_use) > 1 else 0,
        "all_off": not in_use,
        "all_failing": bool(in_use) and not healthy,
        "now": now,
        "slow_since": now - SLOW,
        "moving": len(healthy) < len(in_use) or any(relay.being_checked for relay in relays),
        "can_change": request.membership.is_owner,
    }


def _moved(request: WorkspaceRequest) -> HttpResponse:
    if request.htmx:
        return render(request, "senders/_relays.html", _overview(request))
    return redirect("senders:relays", request.workspace.slug)


def _relay_or_404(request: WorkspaceRequest, pk: int) -> Relay:
    return get_object_or_404(Relay, workspace=request.workspace, pk=pk)
