"""Pages of the domains in whose name a workspace writes, and the DNS records of their keys."""

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
from apps.senders import selectors
from apps.senders.forms import DomainForm
from apps.senders.messages import DKIM, DMARC, FINDINGS, SPF
from apps.senders.models import DkimKey, SendingDomain
from apps.senders.services import domains as services
from core.errors import InvalidInput, NotAllowed
from mailkit.authentication import Authentication, findings

# Letters on their way are still verified with a retired key: queues hold them up to five days.
_RECORD_STAYS = timedelta(days=7)


@require_GET
def domains(request: WorkspaceRequest) -> HttpResponse:
    rows = [(one, _states(one)) for one in selectors.domains(request.workspace)]
    context = {"domains": rows, "can_change": request.membership.is_owner}
    return render(request, "senders/domains.html", context)


@require_http_methods(["GET", "POST"])
def domain_add(request: WorkspaceRequest) -> HttpResponse:
    _require_owner(request)
    form = DomainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            added = services.add_domain(
                workspace=request.workspace, by=request.membership, **form.cleaned_data
            )
        except InvalidInput as error:
            form.add_error("name", error.message)
        else:
            return redirect("senders:domain", request.workspace.slug, added.pk)
    return render(
        request, "senders/domain_add.html", {"form": form}, status=422 if form.errors else 200
    )


@require_GET
def domain(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return render(request, "senders/domain.html", _records(request, pk))


@require_GET
def domain_records(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The part of the page that asks for itself while a check is under way."""
    return render(request, "senders/_records.html", _records(request, pk))


@require_POST
def domain_check(request: WorkspaceRequest, pk: int) -> HttpResponse:
    services.ask_check(domain=_domain_of(request, pk), by=request.membership)
    return redirect("senders:domain", request.workspace.slug, pk)


@require_http_methods(["GET", "POST"])
def domain_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    _require_owner(request)
    shown = _domain_of(request, pk)
    if request.method == "POST":
        services.remove_domain(domain=shown, by=request.membership)
        messages.success(
            request,
            _("%(name)s is removed. You can delete its records from your DNS.")
            % {"name": shown.name},
        )
        return redirect("senders:domains", request.workspace.slug)
    return render(request, "senders/domain_delete.html", {"domain": shown})


@require_http_methods(["GET", "POST"])
def key_rotate(request: WorkspaceRequest, pk: int, key_pk: int) -> HttpResponse:
    _require_owner(request)
    shown = _domain_of(request, pk)
    key = get_object_or_404(DkimKey, pk=key_pk, domain=shown)
    if request.method == "POST":
        services.rotate_key(key=key, by=request.membership)
        messages.success(request, _("The new key is made. Publish its record next."))
        return redirect("senders:domain", request.workspace.slug, pk)
    return render(request, "senders/key_rotate.html", {"domain": shown, "key": key})


def _records(request: WorkspaceRequest, pk: int) -> dict[str, Any]:
    shown = get_object_or_404(selectors.domains(request.workspace), pk=pk)
    keys = list(shown.keys.all())
    waiting = {key.algorithm for key in keys if not key.active and key.retired_at is None}
    now = timezone.now()
    return {
        "domain": shown,
        "rows": [
            (key, _state(key), shown.dns.get(key.selector, ""), key.algorithm not in waiting)
            for key in keys
            if key.retired_at is None
        ],
        "retired": [
            (key, key.retired_at + _RECORD_STAYS)
            for key in keys
            if key.retired_at and key.retired_at + _RECORD_STAYS > now
        ],
        "signing": any(key.active for key in keys),
        "proofs": _proofs(shown),
        "checking": shown.check_asked_at is not None,
        "can_change": request.membership.is_owner,
    }


def _proofs(shown: SendingDomain) -> dict[str, Any] | None:
    """SPF, DKIM and DMARC as the last check found them; None before the first one."""
    found = Authentication.of_json(shown.authentication)
    if found is None:
        return None
    return {
        "found": found,
        "spf": SPF[found.spf.state],
        "dkim": DKIM[found.dkim.state],
        "dmarc": DMARC[found.dmarc.state],
        # Whoever sends in bulk is asked for all of it, so nothing here is told apart.
        "advice": [
            (FINDINGS[one.code] % {"words": ", ".join(one.words), "number": one.number}, one)
            for one in findings(found, bulk=True)
        ],
    }


def _states(shown: SendingDomain) -> list[tuple[str, str]]:
    """(state, algorithm) of the keys that sign or wait."""
    return [
        (_state(key), key.get_algorithm_display())
        for key in shown.keys.all()
        if key.retired_at is None
    ]


def _state(key: DkimKey) -> str:
    return "active" if key.active else "waiting"


def _domain_of(request: WorkspaceRequest, pk: int) -> SendingDomain:
    return get_object_or_404(SendingDomain, pk=pk, workspace=request.workspace)


def _require_owner(request: WorkspaceRequest) -> None:
    if not request.membership.is_owner:
        raise NotAllowed(_("Only an owner of the workspace can change its sending domains."))
