"""What recipients reach. The token in an address is all the authority that it needs."""

from __future__ import annotations

from base64 import b64decode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.encoding import iri_to_uri
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from apps.tracking.services import recipients

# One transparent pixel (GIF89a).
PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


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
