"""What recipients reach. The token in an address is all the authority that it needs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.campaigns import links
from apps.tracking import beacons


@never_cache
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
