"""The files of a campaign's letters: attach, look at, remove."""

from __future__ import annotations

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.campaigns.attachments import path_of
from apps.campaigns.models import Attachment, Campaign
from apps.campaigns.services import attachments as services
from apps.campaigns.views.campaigns import campaign_or_404, to_page
from core.errors import InvalidInput
from mailkit.attachments import LARGEST_FILES, MOST_FILES


def attached(campaign: Campaign) -> dict[str, object]:
    """What the editor's part on files shows."""
    files = list(campaign.attachments.order_by("pk"))
    size = sum(one.size for one in files)
    return {
        "campaign": campaign,
        "files": files,
        "files_size": size,
        "most_files": MOST_FILES,
        "largest_files": LARGEST_FILES,
        "room": len(files) < MOST_FILES and size < LARGEST_FILES,
    }


@require_POST
def attach(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Files under `files`."""
    campaign = campaign_or_404(request, pk)
    errors = []
    uploaded = request.FILES.getlist("files")[: MOST_FILES + 1]
    for file in uploaded:
        try:
            services.attach_file(
                campaign=campaign,
                file=file.file,  # type: ignore[arg-type]
                name=file.name or "",
            )
        except InvalidInput as fault:
            errors.append(f"{file.name}: {fault.message}")
    if not uploaded:
        errors.append(_("Choose a file first."))
    return _answer(request, campaign, errors)


@require_POST
def detach(request: WorkspaceRequest, pk: int, file_pk: int) -> HttpResponse:
    campaign = campaign_or_404(request, pk)
    services.detach_file(campaign=campaign, pk=file_pk)
    return _answer(request, campaign, [])


def _answer(request: WorkspaceRequest, campaign: Campaign, errors: list[str]) -> HttpResponse:
    """The part of the page, from the page; without scripts the page itself."""
    if not request.htmx:
        for error in errors:
            messages.error(request, error)
        return to_page("edit", campaign, request)
    context = attached(campaign) | {"errors": errors}
    response = render(
        request, "campaigns/_attachments.html", context, status=422 if errors else 200
    )
    response["HX-Retarget"] = "#attachments"
    # The preview names the files.
    response["HX-Trigger"] = "preview-changed"
    return response


@require_GET
def download(request: WorkspaceRequest, pk: int, file_pk: int) -> FileResponse:
    """The file as its recipients get it."""
    found = get_object_or_404(Attachment, pk=file_pk, campaign=campaign_or_404(request, pk))
    try:
        file = default_storage.open(path_of(found.key))
    except FileNotFoundError as error:
        raise Http404 from error
    # Never shown by the browser: it is not ours.
    response = FileResponse(
        file, as_attachment=True, filename=found.name, content_type="application/octet-stream"
    )
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    return response
