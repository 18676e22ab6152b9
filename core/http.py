"""What a request says about where it comes from."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The network address of whoever asks; behind our proxy, the one that the proxy wrote down.

    Only the last of X-Forwarded-For is the proxy's own word: the client may have sent the others.
    """
    written = request.META.get("REMOTE_ADDR", "")
    if settings.SECURE_PROXY_SSL_HEADER:
        written = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2] or written
    try:
        return str(ipaddress.ip_address(written.strip()))
    except ValueError:
        return None
