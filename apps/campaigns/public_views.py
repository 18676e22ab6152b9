"""A letter in a browser. The token in the address is all the authority that it needs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.campaigns.online import letter_online
from core.errors import InvalidInput

# The letter may show its pictures and lead elsewhere, and nothing else: no scripts, no forms.
POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation; "
    "default-src 'none'; img-src data: https: http:; style-src 'unsafe-inline'; "
    "font-src https: data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@never_cache
@require_safe
def view(request: HttpRequest, token: str) -> HttpResponse:
    """What the recipient got; nothing is counted and nothing changes. A page says so where the
    letter is gone, or its recipient was erased."""
    try:
        html = letter_online(token)
    except InvalidInput:
        html = None
    if html is None:
        response = render(request, "campaigns/letter_gone.html", status=404)
    else:
        response = HttpResponse(html)
        response["Content-Security-Policy"] = POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
