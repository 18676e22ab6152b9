"""Letters as documents for frames: they may load pictures, and run nothing."""

from __future__ import annotations

import re

from django.http import HttpResponse

LETTER_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "img-src data: https: http:; style-src 'unsafe-inline'; font-src https: data:; "
    "form-action 'none'; frame-ancestors 'self'"
)
DOCTYPE = re.compile(r"\A(?:\s*<!doctype[^>]*>)?", re.IGNORECASE)


def letter_document(html: str) -> HttpResponse:
    """Links open in tabs of their own. Before the doctype the tag would mean quirks mode."""
    response = HttpResponse(DOCTYPE.sub(r'\g<0><base target="_blank">', html, count=1))
    response["Content-Security-Policy"] = LETTER_POLICY
    response["Referrer-Policy"] = "no-referrer"
    return response
