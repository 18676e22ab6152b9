"""Pages for the people who run the installation."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import redis
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from apps.campaigns.services.sending.connections import close_idle_everywhere
from apps.ops.selectors import smtp_processes, waiting_events

View = Callable[[HttpRequest], HttpResponse]


def for_staff(view: View) -> View:
    """To anyone else the page does not exist."""

    @login_required
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.user.is_staff:
            raise Http404
        return view(request)

    return guarded


@for_staff
@require_GET
def connections(request: HttpRequest) -> HttpResponse:
    """The SMTP connections of all workers; asked by htmx, the part that moves."""
    try:
        processes, events, away = smtp_processes(), waiting_events(), False
    except redis.RedisError:
        processes, events, away = [], 0, True
    context = {
        "processes": [process for process in processes if process.relays],
        "without": sum(not process.relays for process in processes),
        "open": sum(process.open for process in processes),
        "events": events,
        "away": away,
    }
    moving = getattr(request, "htmx", False)
    return render(request, "ops/_connections.html" if moving else "ops/connections.html", context)


@for_staff
@require_POST
def close_idle(request: HttpRequest) -> HttpResponse:
    try:
        number = close_idle_everywhere()
    except redis.RedisError:
        messages.error(request, _("Redis cannot be reached, so the workers were not asked."))
    else:
        text = ngettext(
            "The workers close what is idle of %(number)d open connection within seconds.",
            "The workers close what is idle of %(number)d open connections within seconds.",
            number,
        )
        messages.success(request, text % {"number": number})
    return redirect("ops:connections")
