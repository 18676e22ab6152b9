"""The limits page: how long to try again, when to stop, how fast, and warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import WorkspaceRequest
from apps.senders import selectors
from apps.senders.models import ProviderLimit, SendingDomain, WarmUp
from apps.senders.policy_forms import (
    DomainLimitForm,
    PolicyForm,
    ProviderLimitForm,
    WarmUpForm,
)
from apps.senders.services import policy as services
from apps.senders.templatetags.senders import provider_label
from core.errors import InvalidInput
from mailkit.providers import PROVIDERS, Limits, Provider
from mailkit.warmup import warm_up_cap


@dataclass(frozen=True, slots=True)
class ProviderRow:
    provider: Provider
    limits: ProviderLimit | Limits
    own: bool


@dataclass(frozen=True, slots=True)
class WarmUpRow:
    """`cap` and `sent` are today's; `sent` is None for a plan of each provider."""

    plan: WarmUp
    cap: int
    sent: int | None


@require_GET
def limits(request: WorkspaceRequest) -> HttpResponse:
    workspace = request.workspace
    own = {row.provider: row for row in ProviderLimit.objects.filter(workspace=workspace)}
    today = timezone.now().date()
    context = {
        "policy": selectors.policy_of(workspace),
        "providers": [
            ProviderRow(one, own.get(one.key) or _defaults(one), one.key in own)
            for one in PROVIDERS.values()
        ],
        "domains": selectors.domains(workspace),
        "warm_ups": [
            WarmUpRow(
                row,
                warm_up_cap(selectors.plan_of_row(row), today),
                selectors.sent_on(row.domain, today).get(row.provider, 0) if row.provider else None,
            )
            for row in selectors.warm_ups(workspace)
        ],
        "can_change": request.membership.is_owner,
    }
    return render(request, "senders/limits.html", context)


@require_http_methods(["GET", "POST"])
def policy_edit(request: WorkspaceRequest) -> HttpResponse:
    services.require_owner(request.workspace.pk, request.membership)
    form = PolicyForm(request.POST or None, instance=selectors.policy_of(request.workspace))
    if request.method == "POST" and form.is_valid():
        services.save_policy(
            workspace=request.workspace, by=request.membership, **form.cleaned_data
        )
        return _saved(request)
    return _form(request, form, _("Trying again and stopping"))


@require_http_methods(["GET", "POST"])
def provider_edit(request: WorkspaceRequest, provider: str) -> HttpResponse:
    services.require_owner(request.workspace.pk, request.membership)
    if provider not in PROVIDERS:
        raise Http404
    saved = ProviderLimit.objects.filter(workspace=request.workspace, provider=provider).first()
    if request.method == "POST" and "reset" in request.POST:
        services.reset_provider_limit(
            workspace=request.workspace, by=request.membership, provider=provider
        )
        return _saved(request)
    defaults = PROVIDERS[provider].limits
    initial = {name: getattr(defaults, name) for name in ("per_minute", "per_hour", "per_day")}
    form = ProviderLimitForm(request.POST or None, instance=saved, initial={} if saved else initial)
    if request.method == "POST" and form.is_valid():
        services.save_provider_limit(
            workspace=request.workspace,
            by=request.membership,
            provider=provider,
            **form.cleaned_data,
        )
        return _saved(request)
    text = _("Limits count for each relay. An empty field is no limit.")
    return _form(
        request, form, provider_label(provider), text, published=PROVIDERS[provider], reset=saved
    )


@require_http_methods(["GET", "POST"])
def domain_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    domain = get_object_or_404(SendingDomain, workspace=request.workspace, pk=pk)
    services.require_owner(request.workspace.pk, request.membership)
    form = DomainLimitForm(request.POST or None, instance=domain)
    if request.method == "POST" and form.is_valid():
        services.save_domain_limits(domain=domain, by=request.membership, **form.cleaned_data)
        return _saved(request)
    text = _("For all mail in the name of this domain. An empty field is no limit.")
    return _form(request, form, domain.name, text)


@require_http_methods(["GET", "POST"])
def warm_up_add(request: WorkspaceRequest) -> HttpResponse:
    services.require_owner(request.workspace.pk, request.membership)
    if not selectors.domains(request.workspace).exists():
        return redirect("senders:domains", request.workspace.slug)
    return _warm_up_form(request, None)


@require_http_methods(["GET", "POST"])
def warm_up_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    saved = get_object_or_404(selectors.warm_ups(request.workspace), pk=pk)
    services.require_owner(request.workspace.pk, request.membership)
    return _warm_up_form(request, saved)


@require_http_methods(["GET", "POST"])
def warm_up_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    saved = get_object_or_404(selectors.warm_ups(request.workspace), pk=pk)
    services.require_owner(request.workspace.pk, request.membership)
    if request.method == "POST":
        services.delete_warm_up(warm_up=saved, by=request.membership)
        return _saved(request)
    return render(request, "senders/warm_up_delete.html", {"plan": saved})


def _warm_up_form(request: WorkspaceRequest, saved: WarmUp | None) -> HttpResponse:
    form = WarmUpForm(
        request.POST or None,
        instance=saved,
        domains=SendingDomain.objects.filter(workspace=request.workspace).order_by("name"),
        initial={} if saved else {"started_on": timezone.now().date()},
    )
    if request.method == "POST" and form.is_valid():
        try:
            services.save_warm_up(by=request.membership, warm_up=saved, **form.cleaned_data)
        except InvalidInput as error:
            form.add_error(None, error.message)
        else:
            return _saved(request)
    text = _(
        "A domain that nobody knows yet has to begin with little mail. A plan for one provider "
        "takes the place of the plan for each provider."
    )
    return _form(request, form, _("Change the plan") if saved else _("New warm-up plan"), text)


def _defaults(provider: Provider) -> Limits:
    """What holds without a row: the rates. Connections are the relay's own business."""
    known = provider.limits
    return Limits(per_minute=known.per_minute, per_hour=known.per_hour, per_day=known.per_day)


def _form(
    request: WorkspaceRequest, form: forms.BaseForm, title: str, text: str = "", **more: Any
) -> HttpResponse:
    context = {"form": form, "title": title, "text": text, **more}
    context["back"] = reverse("senders:limits", args=[request.workspace.slug])
    return render(request, "senders/limit_form.html", context, status=422 if form.errors else 200)


def _saved(request: WorkspaceRequest) -> HttpResponse:
    messages.success(request, _("Saved. It holds within a few seconds."))
    return redirect("senders:limits", request.workspace.slug)
