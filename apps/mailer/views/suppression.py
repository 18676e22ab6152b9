from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.http import PAGE_SIZE, KeysetPage, WorkspaceRequest
from apps.mailer import selectors
from apps.mailer.forms import SuppressionFileForm, SuppressionForm
from apps.mailer.models import BulkJob, Suppression
from apps.mailer.services import bulk, suppression_files
from apps.mailer.services import suppression as services
from core.errors import InvalidInput

WRONG_SHOWN = 5


@require_http_methods(["GET", "POST"])
def suppression(request: WorkspaceRequest) -> HttpResponse:
    """What is never mailed, and the form that adds to it."""
    form = SuppressionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            added = services.suppress_text(
                workspace=request.workspace,
                text=form.cleaned_data["email"],
                source=f"user:{request.user.pk}",
            )
        except InvalidInput as error:
            form.add_error("email", error.message)
        else:
            if _tell(request, form, added):
                return redirect("mailer:suppression", request.workspace.slug)
    search = " ".join(request.GET.get("search", "")[:254].replace("\0", "").split())
    return render(
        request,
        "mailer/suppression.html",
        {
            "form": form,
            "file_form": SuppressionFileForm(),
            "page": (page := _page(request, search)),
            "rows": [(entry, selectors.source_text(entry.source)) for entry in page.rows],
            "search": search,
        },
    )


def _tell(request: WorkspaceRequest, form: SuppressionForm, added: services.Added) -> bool:
    """Say what was added; False where something was not, which then stays in the form."""
    if added.new or not added.wrong:
        text = ngettext(
            "%(number)d new entry gets no mail from now on.",
            "%(number)d new entries get no mail from now on.",
            added.new,
        )
        messages.success(request, text % {"number": added.new})
    if not added.wrong:
        return True
    shown = ", ".join(f"“{one[:60]}”" for one in added.wrong[:WRONG_SHOWN])
    text = ngettext(
        "%(number)d is not an email address or a domain: %(shown)s.",
        "%(number)d are not email addresses or domains: %(shown)s.",
        len(added.wrong),
    )
    form.add_error("email", text % {"number": len(added.wrong), "shown": shown})
    form.data = {"email": "\n".join(added.wrong)}
    return False


def _page(request: WorkspaceRequest, search: str) -> KeysetPage:
    after = request.GET.get("after", "")[:254].replace("\0", "")
    found = selectors.suppressions(request.workspace, search=search)
    if after:
        found = found.filter(email__gt=after)
    rows = list(found[: PAGE_SIZE + 1])
    query = request.GET.copy()
    query.pop("after", None)
    first_url = f"?{query.urlencode()}" if after else ""
    next_url = ""
    if len(rows) > PAGE_SIZE:
        query["after"] = rows[PAGE_SIZE - 1].email
        next_url = f"?{query.urlencode()}"
    return KeysetPage(rows[:PAGE_SIZE], first_url, next_url)


@require_POST
def upload(request: WorkspaceRequest) -> HttpResponse:
    """Take a file of addresses and domains; its job shows how far it is."""
    form = SuppressionFileForm(request.POST, request.FILES)
    if not form.is_valid():
        raise InvalidInput(gettext("Choose a file that is not empty."))
    job = suppression_files.upload_file(
        workspace=request.workspace, by=request.user, file=form.cleaned_data["file"]
    )
    return redirect("mailer:job", request.workspace.slug, job.pk)


@require_POST
def export(request: WorkspaceRequest) -> HttpResponse:
    job = bulk.start_job(
        workspace=request.workspace,
        by=request.user,
        action=BulkJob.Action.EXPORT_SUPPRESSION,
        arguments={"format": "csv"},
    )
    return redirect("mailer:job", request.workspace.slug, job.pk)


@require_http_methods(["GET", "POST"])
def remove(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Asks, then allows mail to the address or domain again."""
    entry = get_object_or_404(Suppression, pk=pk, workspace=request.workspace)
    if request.method == "POST":
        services.remove(suppression=entry)
        text = gettext("%(email)s is no longer suppressed.")
        messages.success(request, text % {"email": entry})
        return redirect("mailer:suppression", request.workspace.slug)
    return render(request, "mailer/suppression_remove.html", {"entry": entry})
