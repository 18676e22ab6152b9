"""What a request says about where it comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The network address of whoever asks; None where what was written down is none."""
    try:
        return str(ipaddress.ip_address(written_address(request.META)))
    except ValueError:
        return None


def written_address(meta: Mapping[str, Any]) -> str:
    """As the server wrote it down; behind our proxy, as the proxy did.

    Only the last of X-Forwarded-For is the proxy's own word: the client may have sent the others.
    """
    if settings.SECURE_PROXY_SSL_HEADER:
        last = str(meta.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
        if last:
            return last
    return str(meta.get("REMOTE_ADDR", ""))
