"""What recipients reach. The token in an address is all the authority that it needs."""

from __future__ import annotations

from base64 import b64decode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.encoding import iri_to_uri
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.tracking.services import recipients

# One transparent pixel (GIF89a).
PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


@never_cache
@require_safe
def click(request: HttpRequest, token: str) -> HttpResponse:
    """On to where the letter's link leads. HEAD, which people do not send, counts for nothing."""
    url = recipients.follow_link(token, count=request.method == "GET")
    if url is None:
        response = render(request, "tracking/link_unknown.html", status=404)
    else:
        # Not Django's redirect: it would write a valid address in another way.
        as_stored = url.isascii() and url.isprintable() and " " not in url
        response = HttpResponse(status=302)
        response["Location"] = url if as_stored else iri_to_uri(url)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


@never_cache
@require_safe
def opened(request: HttpRequest, token: str) -> HttpResponse:
    """The same picture for every token: whether it is ours is nobody's business."""
    if request.method == "GET":
        recipients.note_open(token)
    return HttpResponse(PIXEL, content_type="image/gif")
