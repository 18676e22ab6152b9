"""What is done to many contacts at once, and the work that goes on in the background."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.mailer import selectors
from apps.mailer.forms import BulkForm
from apps.mailer.models import BulkJob, ContactList
from apps.mailer.services import bulk as services
from apps.mailer.views.contacts import contacts_url
from core.errors import Conflict

# What cannot be taken back by doing the opposite.
FINAL = {BulkJob.Action.UNSUBSCRIBE, BulkJob.Action.DELETE}


@require_POST
def bulk(request: WorkspaceRequest) -> HttpResponse:
    """Do it at once to a few contacts; for all that match, or for good, ask first."""
    form = BulkForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        told = [str(error) for error in form.non_field_errors()]
        for text in told or [gettext("Choose what to do with the contacts.")]:
            messages.error(request, text)
        return redirect(contacts_url(request))
    data = form.cleaned_data
    all_matching = data["scope"] == BulkForm.MATCHING
    export = data["action"] == BulkJob.Action.EXPORT
    asks = data["action"] in FINAL or (all_matching and not export)
    if asks and "confirmed" not in request.POST:
        return _confirm(request, data)
    if all_matching or export:
        job = services.start_job(
            workspace=request.workspace,
            by=request.user,
            action=data["action"],
            filter=data["filter"],
            arguments=data["arguments"],
        )
        return redirect("mailer:job", request.workspace.slug, job.pk)
    changed = _apply(request, data)
    text = ngettext("%(number)d contact is changed.", "%(number)d contacts are changed.", changed)
    messages.success(request, text % {"number": changed})
    return redirect(contacts_url(request))


def _apply(request: WorkspaceRequest, data: dict[str, Any]) -> int:
    try:
        return services.apply(
            workspace=request.workspace,
            action=data["action"],
            ids=data["ids"],
            arguments=data["arguments"],
            source=f"user:{request.user.pk}",
        )
    except services.Failed as error:
        raise Conflict(gettext("The list has been deleted meanwhile.")) from error


def _confirm(request: WorkspaceRequest, data: dict[str, Any]) -> HttpResponse:
    number, exact = selectors.number_of(selectors.contacts(request.workspace, **data["filter"]))
    hidden = [
        (name, value)
        for name in ("action", "scope", "ids", "query", "list", "tag", "format")
        for value in request.POST.getlist(name)
    ]
    return render(
        request,
        "mailer/contacts_confirm.html",
        {
            "action": data["action"],
            "action_label": BulkJob.Action(data["action"]).label,
            "list": data["list"],
            "tag": data["arguments"].get("tag", ""),
            "number": number,
            "exact": exact,
            "final": data["action"] in FINAL,
            "hidden": hidden,
            "back": contacts_url(request),
        },
    )


@require_safe
def jobs(request: WorkspaceRequest) -> HttpResponse:
    found = BulkJob.objects.filter(workspace=request.workspace).select_related("created_by")
    page = keyset_page(request, found.order_by("-id"))
    return render(request, "mailer/jobs.html", {"page": page})


@require_safe
def job(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return render(request, "mailer/job.html", _shown(request, pk))


@require_safe
def progress(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The live part of a job's page."""
    return render(request, "mailer/_job_progress.html", _shown(request, pk))


def _shown(request: WorkspaceRequest, pk: int) -> dict[str, Any]:
    shown = get_object_or_404(BulkJob, pk=pk, workspace=request.workspace)
    of_list = ContactList.objects.filter(
        workspace=request.workspace, pk=shown.arguments.get("list")
    ).first()
    return {
        "job": shown,
        "list": of_list,
        "tag": shown.arguments.get("tag", ""),
        "fault": _fault(shown),
    }


def _fault(shown: BulkJob) -> str:
    if shown.state != BulkJob.State.FAILED:
        return ""
    if shown.error_code == "list_gone":
        return gettext("The list has been deleted meanwhile.")
    if shown.error_code == "not_written":
        return gettext(
            "The server could not write the file: its disk may be full. Once whoever runs the "
            "server has made room, export again."
        )
    return selectors.file_fault_text(shown.error_code, None, "")


@require_POST
def cancel(request: WorkspaceRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(BulkJob, pk=pk, workspace=request.workspace)
    services.cancel_job(job=shown)
    messages.success(request, gettext("Cancelled. What was done stays done."))
    return redirect("mailer:job", request.workspace.slug, pk)


@require_safe
def file(request: WorkspaceRequest, pk: int) -> FileResponse:
    """The file that an export made, as long as it is kept."""
    shown = get_object_or_404(BulkJob, pk=pk, workspace=request.workspace)
    if not shown.has_result:
        raise Http404
    try:
        opened = shown.file.open("rb")
    except FileNotFoundError as error:
        raise Http404 from error
    kind = shown.arguments.get("format", "csv")
    what = "contacts" if shown.action == BulkJob.Action.EXPORT else "suppression"
    name = f"{what}-{shown.created_at:%Y-%m-%d}-{shown.pk}.{kind}"
    return FileResponse(opened, as_attachment=True, filename=name)
