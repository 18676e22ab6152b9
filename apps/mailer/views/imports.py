from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.files.base import ContentFile
from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.mailer import selectors
from apps.mailer.import_forms import NEW_LIST, MappingForm, ReadingForm, UploadForm
from apps.mailer.models import Import, RejectedRow, Verdict, Verification
from apps.mailer.services import imports as services
from apps.mailer.services import lists as list_services
from core.errors import InvalidInput
from mailkit.imports.rows import guarded

REJECTED_SHOWN = 50
# What is read by an encoding.
TEXTS = {"csv", "txt", "json", "jsonl", "vcf"}
IN_MOTION = {Import.State.QUEUED, Import.State.RUNNING}


@require_safe
def imports(request: WorkspaceRequest) -> HttpResponse:
    found = Import.objects.filter(workspace=request.workspace).select_related("list", "created_by")
    state = request.GET.get("state", "")
    if state in Import.State.values:
        found = found.filter(state=state)
    search = request.GET.get("search", "")[:255].strip()
    if search:
        found = found.filter(name__icontains=search)
    return render(
        request,
        "mailer/imports.html",
        {
            "page": keyset_page(request, found.order_by("-id")),
            "state": state,
            "states": Import.State.choices,
            "search": search,
        },
    )


@require_http_methods(["GET", "POST"])
def upload(request: WorkspaceRequest) -> HttpResponse:
    """With htmx, which shows the upload's progress, only the form goes back and forth."""
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    if form.is_valid() and (job := _uploaded(request, form)):
        target = reverse("mailer:map", args=[request.workspace.slug, job.pk])
        list_id = request.GET.get("list", "")
        if list_id.isdecimal():
            target += f"?list={list_id}"
        return HttpResponseClientRedirect(target) if request.htmx else redirect(target)
    page = "mailer/_upload_form.html" if request.htmx else "mailer/upload.html"
    return render(request, page, {"form": form})


def _uploaded(request: WorkspaceRequest, form: UploadForm) -> Import | None:
    """The new import, or None with the reason in the form."""
    try:
        return services.upload_file(
            workspace=request.workspace,
            by=request.user,
            file=form.cleaned_data["file"] or _pasted(form.cleaned_data["text"]),
        )
    except InvalidInput as error:
        form.add_error("file", error.message)
        return None


def _pasted(text: str) -> ContentFile[bytes]:
    return ContentFile(text.encode("utf-8", "replace"), gettext("Pasted contacts") + ".txt")


@require_http_methods(["GET", "POST"])
def map_columns(request: WorkspaceRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(Import, pk=pk, workspace=request.workspace)
    if job.state != Import.State.UPLOADED:
        return redirect("mailer:import", request.workspace.slug, pk)
    list_id = request.GET.get("list", "")
    if request.method == "POST" and "encoding" in request.POST:
        reading = ReadingForm(request.POST, job=job)
        if reading.is_valid() and _read_again(job, reading):
            return redirect(request.get_full_path())
        answers = None
    else:
        reading, answers = ReadingForm(job=job), request.POST or None
    form = MappingForm(answers, job=job, list_id=int(list_id) if list_id.isdecimal() else None)
    if form.is_bound and form.is_valid() and _started(job, form):
        return redirect("mailer:import", request.workspace.slug, pk)
    return render(
        request,
        "mailer/map.html",
        {
            "job": job,
            "form": form,
            "reading": reading if job.source["kind"] in TEXTS else None,
            "columns": list(form.columns()),
            "sample": form.sample,
        },
    )


def _read_again(job: Import, form: ReadingForm) -> bool:
    data = form.cleaned_data
    try:
        services.reread(job=job, encoding=data["encoding"], delimiter=data.get("delimiter"))
    except InvalidInput as error:
        form.add_error(None, error.message)
        return False
    return True


def _started(job: Import, form: MappingForm) -> bool:
    """Whether the import is under way; if not, the form says why."""
    data = form.cleaned_data
    try:
        if data["list"] == NEW_LIST:
            contact_list = list_services.create_list(workspace=job.workspace, name=data["new_list"])
        else:
            contact_list = form.lists[data["list"]]
    except InvalidInput as error:
        form.add_error("new_list", error.message)
        return False
    try:
        services.start_import(
            job=job,
            contact_list=contact_list,
            mapping=data["mapping"],
            labels={},
            fields=data["new_fields"],
            more_lists=[form.lists[pk] for pk in data.get("more_lists", [])],
            tags=data["tags"],
            policy=data["policy"],
            level=data["level"],
        )
    except InvalidInput as error:
        form.add_error(None, error.message)
        return False
    return True


@require_safe
def detail(request: WorkspaceRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(
        Import.objects.select_related("list", "created_by"), pk=pk, workspace=request.workspace
    )
    if job.state == Import.State.UPLOADED:
        return redirect("mailer:map", request.workspace.slug, pk)
    return render(request, "mailer/import.html", _progress(job))


@require_safe
def progress(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The live part of an import's page."""
    job = get_object_or_404(
        Import.objects.select_related("list"), pk=pk, workspace=request.workspace
    )
    return render(request, "mailer/_import_progress.html", _progress(job))


def _progress(job: Import) -> dict[str, Any]:
    run = Verification.objects.filter(of_import=job).first()
    now = selectors.import_progress(job)
    verifying = run is not None and run.state == Verification.State.RUNNING
    importing = job.state in IN_MOTION
    rate, left = 0.0, None
    if run is not None and verifying:
        seconds = (timezone.now() - run.created_at).total_seconds()
        rate = now.checked / seconds if seconds > 0 else 0.0
        left = (now.to_check - now.checked) / rate if rate and not importing else None
    return {
        "job": job,
        "progress": now,
        "importing": importing,
        "verifying": verifying,
        "moving": importing or verifying,
        "check_rate": rate,
        "check_seconds_left": left,
        "verdicts": [(code, label, now.verdicts[code]) for code, label in Verdict.choices],
        "fault": selectors.file_fault_text(job.error_code, job.error_line, job.error_detail)
        if job.state == Import.State.FAILED
        else "",
        "met": [
            (label, number)
            for label, number in (
                (gettext("Unsubscribed"), job.met_unsubscribed),
                (gettext("Bounced"), job.met_bounced),
                (gettext("Complained"), job.met_complained),
                (gettext("Suppressed"), job.met_suppressed),
            )
            if number
        ],
        "unfit": selectors.unfit_cells(job),
        "more_lists": list(job.more_lists.order_by("name")),
        "rejected": [
            (row, selectors.reject_text(row.reason)) for row in _rejected(job)[:REJECTED_SHOWN]
        ],
        "rejected_shown": REJECTED_SHOWN,
        "days_kept": services.KEPT.days,
    }


def _rejected(job: Import) -> QuerySet[RejectedRow]:
    return RejectedRow.objects.filter(of_import=job).order_by("number")


@require_http_methods(["GET", "POST"])
def cancel(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then stops the import; contacts that it has brought stay."""
    job = get_object_or_404(Import, pk=pk, workspace=request.workspace)
    if request.method == "POST":
        services.cancel_import(job=job)
        messages.success(request, gettext("The import is cancelled."))
        return redirect("mailer:imports", request.workspace.slug)
    return render(request, "mailer/import_cancel.html", {"job": job})


@require_POST
def retry(request: WorkspaceRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(Import, pk=pk, workspace=request.workspace)
    services.retry_import(job=job)
    return redirect("mailer:import", request.workspace.slug, pk)


@require_safe
def rejected(request: WorkspaceRequest, pk: int) -> StreamingHttpResponse:
    """All rejected rows as CSV for a spreadsheet, in the person's language."""
    job = get_object_or_404(Import, pk=pk, workspace=request.workspace)
    response = StreamingHttpResponse(
        _rejected_csv(job, translation.get_language() or "en"), content_type="text/csv"
    )
    response["Content-Disposition"] = f'attachment; filename="rejected-{job.pk}.csv"'
    return response


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line


def _rejected_csv(job: Import, language: str) -> Iterator[str]:
    writer = csv.writer(_Echo())
    # The mark tells Excel that the text is UTF-8. The language is not that of the middleware:
    # this runs when the response is sent, after it.
    with translation.override(language):
        first = [gettext("Line"), gettext("Reason")]
    headers = [guarded(header) for header in job.source["headers"]]
    yield "\ufeff" + writer.writerow([*first, *headers])
    for row in _rejected(job).iterator(chunk_size=2000):
        with translation.override(language):
            reason = selectors.reject_text(row.reason)
        # What was rejected before cells were kept has the address alone.
        cells = row.cells or [row.email]
        yield writer.writerow([row.line, reason, *map(guarded, cells)])
