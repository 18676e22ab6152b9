"""What services raise when a request cannot be done, and the one place that answers for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from django.contrib import messages
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

_LARGEST_DRAINED = 64 << 20


class AppError(Exception):
    """Something a person can understand and mend: `code` for programs, `message` for people."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Conflict(AppError):
    """The object is no longer in the state that the action needs (another tab, another person)."""

    code = "conflict"


class InvalidInput(AppError):
    """What was given cannot be used."""

    code = "invalid_input"


class NotAllowed(AppError):
    """The person's role in the workspace does not include this action."""

    code = "not_allowed"


STATUS = {"conflict": 409, "invalid_input": 422, "not_allowed": 403}


class AppErrorMiddleware:
    """Turns a view's AppError into JSON, an htmx fragment, or a message on the page before."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, AppError):
            return None
        status = STATUS.get(error.code, 400)
        if request.headers.get("Accept", "").startswith("application/json"):
            body = {"error": {"code": error.code, "message": error.message}}
            return JsonResponse(body, status=status)
        if getattr(request, "htmx", False):
            response = render(request, "_error.html", {"error": error}, status=status)
            response["HX-Retarget"] = "#messages"
            response["HX-Reswap"] = "innerHTML"
            return response
        messages.error(request, error.message)
        return HttpResponseRedirect(_page_before(request))


def _page_before(request: HttpRequest) -> str:
    """The referring page of this site, so that the message appears where the action was tried."""
    referrer = request.headers.get("Referer", "")
    origin = f"{request.scheme}://{request.get_host()}/"
    return referrer if referrer.startswith(origin) else "/"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler400`: a form with too much text gets an answer that says what to do."""
    if isinstance(exception, RequestDataTooBig):
        # A server that answers before it has read everything is to the browser one that broke off.
        read = 0
        while read < _LARGEST_DRAINED and (data := request.read(1 << 16)):
            read += len(data)
        error = InvalidInput(
            _("More than 5 MB of text: put it into a file and upload that. Nothing is kept.")
        )
    else:
        error = InvalidInput(_("The request is not well-formed: go back, reload and try again."))
    page = "_error.html" if getattr(request, "htmx", False) else "400.html"
    response = render(request, page, {"error": error}, status=400)
    response["HX-Retarget"] = "#messages"
    response["HX-Reswap"] = "innerHTML"
    return response
