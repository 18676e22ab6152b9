"""The sandbox's inbox: what the workspace would have sent, for the workspace's eyes alone."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import ngettext
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.sandbox import letters, selectors, services
from apps.sandbox.models import Message
from apps.sandbox.world import BEHAVIOURS, ROOT

SHOWN_SOURCE = 200_000  # octets

# The letter comes from outside: it may run nothing, fetch nothing but our own pictures, and post
# nowhere. Its links open in tabs of their own.
LETTER_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    f"img-src data: {settings.BASE_URL}/m/; "
    "style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'self'"
)


@require_GET
def inbox(request: WorkspaceRequest) -> HttpResponse:
    return render(request, "sandbox/inbox.html", _inbox_context(request))


@require_GET
def fresh(request: WorkspaceRequest, newest: int) -> HttpResponse:
    """The list again where the newest message is another by now; else nothing to swap."""
    if selectors.newest_id(request.workspace) == newest:
        return HttpResponse(status=204)
    return render(request, "sandbox/_messages.html", _inbox_context(request))


def _inbox_context(request: WorkspaceRequest) -> dict[str, Any]:
    search = request.GET.get("search", "").strip()
    # Read before the rows: what comes in between is then swapped in once more, not missed.
    newest = selectors.newest_id(request.workspace)
    page = keyset_page(request, selectors.messages(request.workspace, search=search))
    return {"page": page, "search": search, "newest": newest, "live": not page.first_url}


def _message_or_404(request: WorkspaceRequest, pk: int) -> Message:
    return get_object_or_404(Message, pk=pk, inbox=str(request.workspace.pk))


@require_GET
def message(request: WorkspaceRequest, pk: int) -> HttpResponse:
    found = _message_or_404(request, pk)
    data = bytes(found.data)
    letter = letters.read(data)
    context = {
        "message": found,
        "letter": letter,
        "from_header": letter.header("from"),
        "source": letters.source(data[:SHOWN_SOURCE]),
        "cut": len(data) > SHOWN_SOURCE,
        "size": len(data),
    }
    return render(request, "sandbox/message.html", context)


@require_GET
@xframe_options_sameorigin
def html(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The HTML part as a document of its own, for the message page's frame."""
    letter = letters.read(bytes(_message_or_404(request, pk).data))
    if letter.html is None:
        raise Http404
    response = HttpResponse(letters.shown(letter.html, f"{settings.BASE_URL}/o/"))
    response["Content-Security-Policy"] = LETTER_POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["X-DNS-Prefetch-Control"] = "off"
    return response


@require_GET
def source(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """The message as it came, to keep or to open in a mail program."""
    found = _message_or_404(request, pk)
    response = HttpResponse(bytes(found.data), content_type="message/rfc822")
    response["Content-Disposition"] = f'attachment; filename="message-{found.pk}.eml"'
    return response


@require_http_methods(["GET", "POST"])
def clear(request: WorkspaceRequest) -> HttpResponse:
    if request.method == "POST":
        deleted = services.delete_messages(workspace=request.workspace)
        messages.success(
            request,
            ngettext("%(count)d message deleted.", "%(count)d messages deleted.", deleted)
            % {"count": deleted},
        )
        return redirect("sandbox:inbox", request.workspace.slug)
    count = selectors.messages(request.workspace).count()
    return render(request, "sandbox/clear.html", {"count": count})


@require_GET
def addresses(request: WorkspaceRequest) -> HttpResponse:
    return render(request, "sandbox/addresses.html", {"behaviours": BEHAVIOURS, "root": ROOT})
