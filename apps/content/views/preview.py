"""Letters as documents for frames: they may load pictures, and run nothing."""

from __future__ import annotations

import re

from django.http import HttpResponse

# What a letter may load; in front of it stands what its frame may do.
LETTER_LOADS = (
    "default-src 'none'; img-src data: https: http:; style-src 'unsafe-inline'; "
    "font-src https: data:; form-action 'none'; frame-ancestors 'self'"
)
LETTER_POLICY = f"sandbox allow-popups allow-popups-to-escape-sandbox; {LETTER_LOADS}"
DOCTYPE = re.compile(r"\A(?:\s*<!doctype[^>]*>)?", re.IGNORECASE)


# A frame cannot be told to prefer dark colours, so their rules are made to hold always.
DARK = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)", re.IGNORECASE)


def letter_document(html: str, *, dark: bool = False) -> HttpResponse:
    """Links open in tabs of their own. Before the doctype the tag would mean quirks mode."""
    if dark:
        html = DARK.sub("(min-width: 0)", html)
    response = HttpResponse(DOCTYPE.sub(r'\g<0><base target="_blank">', html, count=1))
    response["Content-Security-Policy"] = LETTER_POLICY
    response["Referrer-Policy"] = "no-referrer"
    return response
