"""The pages on what comes back: how it reaches us, and what it said."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.returns import selectors
from apps.returns.forms import MailboxForm, ReturnPathForm, WebhookForm
from apps.returns.models import Mailbox, Report
from apps.returns.services.mailboxes import delete_mailbox, save_mailbox
from apps.returns.services.notices import delete_webhook, require_owner, save_webhook
from apps.senders.models import SendingDomain
from apps.senders.services.domains import set_return_path
from core.errors import InvalidInput

SHOWN = 10


@require_GET
def overview(request: WorkspaceRequest) -> HttpResponse:
    newest = list(selectors.reports(request.workspace)[:SHOWN])
    context = {
        "can_change": request.membership.is_owner,
        "inbound_domain": settings.INBOUND_DOMAIN,
        "domains": selectors.return_paths(request.workspace),
        "mailboxes": selectors.mailboxes(request.workspace),
        "webhooks": selectors.webhooks(request.workspace),
        "reports": selectors.shown(request.workspace, newest),
    }
    return render(request, "returns/overview.html", context)


@require_GET
def reports(request: WorkspaceRequest) -> HttpResponse:
    kind = request.GET.get("kind", "")
    page = keyset_page(request, selectors.reports(request.workspace, kind))
    context = {
        "page": page,
        "reports": selectors.shown(request.workspace, page.rows),
        "kind": kind,
        "kinds": Report.Kind.choices,
    }
    return render(request, "returns/reports.html", context)


@require_http_methods(["GET", "POST"])
def mailbox_add(request: WorkspaceRequest) -> HttpResponse:
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
def mailbox_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return _edit(request, get_object_or_404(selectors.mailboxes(request.workspace), pk=pk))


def _edit(request: WorkspaceRequest, mailbox: Mailbox | None) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    pk = mailbox.pk if mailbox else None
    form = MailboxForm(request.POST or None, instance=mailbox)
    if request.method == "POST" and form.is_valid():
        try:
            save_mailbox(
                workspace=request.workspace,
                by=request.membership,
                mailbox_id=pk,
                **form.content(),
            )
        except InvalidInput as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, _("The mailbox is saved. It is being looked into now."))
            return redirect("returns:overview", request.workspace.slug)
    context = {"form": form, "mailbox_pk": pk}
    return render(request, "returns/mailbox.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def mailbox_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    if request.method == "POST":
        delete_mailbox(workspace=request.workspace, by=request.membership, mailbox_id=pk)
        messages.success(request, _("The mailbox is removed."))
        return redirect("returns:overview", request.workspace.slug)
    mailbox = get_object_or_404(selectors.mailboxes(request.workspace), pk=pk)
    return render(request, "returns/mailbox_delete.html", {"mailbox": mailbox})


@require_http_methods(["GET", "POST"])
def webhook_add(request: WorkspaceRequest) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            save_webhook(workspace=request.workspace, by=request.membership, **form.cleaned_data)
        except InvalidInput as error:
            form.add_error("secret", error.message)
        else:
            messages.success(request, _("Copy the address and enter it at the provider."))
            return redirect("returns:overview", request.workspace.slug)
    status = 422 if form.errors else 200
    return render(request, "returns/webhook.html", {"form": form}, status=status)


@require_http_methods(["GET", "POST"])
def webhook_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    require_owner(request.workspace, request.membership)
    if request.method == "POST":
        delete_webhook(workspace=request.workspace, by=request.membership, webhook_id=pk)
        messages.success(request, _("The webhook is removed."))
        return redirect("returns:overview", request.workspace.slug)
    found = [one for one, _address in selectors.webhooks(request.workspace) if one.pk == pk]
    if not found:
        return redirect("returns:overview", request.workspace.slug)
    return render(request, "returns/webhook_delete.html", {"webhook": found[0]})


@require_POST
def return_path(request: WorkspaceRequest, pk: int) -> HttpResponse:
    domain = get_object_or_404(SendingDomain, workspace=request.workspace, pk=pk)
    form = ReturnPathForm(request.POST)
    if not form.is_valid():
        raise InvalidInput(_("Enter a domain name."))
    set_return_path(
        workspace=request.workspace,
        by=request.membership,
        domain_id=domain.pk,
        name=form.cleaned_data["return_path"],
    )
    messages.success(request, _("Saved. New letters have the new return path."))
    return redirect("returns:overview", request.workspace.slug)
