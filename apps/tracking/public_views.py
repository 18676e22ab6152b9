"""What recipients reach. The token in an address is all the authority that it needs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from apps.campaigns import links
from apps.tracking import beacons
from apps.tracking.services import recipients


# One-click unsubscription (RFC 8058, 3.1) is a POST by the recipient's mail provider, without
# cookies and so without a CSRF token. Nobody gains by forging it: the token is the secret.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET only asks: mail scanners follow every link. POST acts, and answers 200 without a
    redirect (RFC 8058, 3.1); a resubscription has to be asked for by name."""
    recipient = recipients.read_token(token)
    if recipient is None:
        return render(request, "tracking/unsubscribe_unknown.html", status=404)
    state = "ask"
    if request.method == "POST" and request.POST.get("action") == "resubscribe":
        recipients.resubscribe(recipient=recipient)
        state = "resubscribed"
    elif request.method == "POST":
        recipients.unsubscribe(recipient=recipient)
        state = "unsubscribed"
    context = {"recipient": recipient, "state": state}
    response = render(request, "tracking/unsubscribe.html", context)
    # The address must not travel on in a Referer.
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


@require_safe
def click(request: HttpRequest, token: str) -> HttpResponse:
    """What `beacons.Beacons` leaves over: links that Valkey has forgotten, and those of nobody."""
    answer = beacons.click(request.META, token, links.find)
    if answer:
        return _response(answer)
    response = render(request, "tracking/link_unknown.html", status=404)
    add_never_cache_headers(response)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


@require_safe
def opened(request: HttpRequest, token: str) -> HttpResponse:
    return _response(beacons.pixel(request.META, token))


def _response(answer: beacons.Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
