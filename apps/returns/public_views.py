"""Where providers of relays tell what became of letters."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from apps.returns.models import Webhook
from apps.returns.services import notices


# The provider has no cookie of ours; what it sends is checked in services.notices.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def notice(request: HttpRequest, provider: str, key: str) -> HttpResponse:
    """200 once it is stored. GET is how some providers look whether the address exists."""
    webhook = get_object_or_404(
        Webhook.objects.select_related("workspace"), provider=provider, key=key
    )
    if request.method != "POST":
        return HttpResponse("ok", content_type="text/plain")
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not notices.accept(webhook, request.body, headers):
        return HttpResponse("not signed", status=403, content_type="text/plain")
    return HttpResponse("ok", content_type="text/plain")
