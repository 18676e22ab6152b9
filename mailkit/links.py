"""Links of a letter that go through a counter: found in the HTML of its template."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from html.entities import html5

# Raw blocks are shown as they stand. What an attribute is made of is never tried in a second way
# (an atomic group), and a tag ends where the next begins: the time stays linear.
_ANCHOR = re.compile(
    r"""\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}"""
    r"""|(<a\b(?>[^<>"'{]|"[^"]*"|'[^']*'|\{\{[^{}]*\}\}|\{%[^{}]*%\}|\{)*?\shref\s*=\s*)"""
    r"""("[^"]*"|'[^']*')""",
    re.IGNORECASE | re.DOTALL,
)
_HTTP = re.compile(r"https?://[^\s/]", re.IGNORECASE)


def track_links(html: str, href_of: Callable[[int], str], *, most: int) -> tuple[str, list[str]]:
    """Replace the targets of `<a href>` and return the HTML and what they were, in order.

    `href_of` gives the new target of the link with a number, counted from 1. Left alone are
    all but http and https (mailto:, tel:, anchors), targets that hold a merge field (those lead
    each recipient elsewhere) and what comes behind the first `most`.
    """
    targets: list[str] = []

    def counted(target: str) -> str | None:
        if len(targets) == most:
            return None
        targets.append(target)
        return href_of(len(targets))

    return change_links(html, counted), targets


def change_links(html: str, change: Callable[[str], str | None]) -> str:
    """Replace the http and https targets of `<a href>` that hold no merge field.

    `change` gives the new one, ready to stand between double quotes, or None to leave it.
    """

    def replace(found: re.Match[str]) -> str:
        if found[2] is None:
            return found[0]
        target = unescaped(found[2][1:-1]).strip()
        if not _HTTP.match(target) or "{{" in target or "{%" in target:
            return found[0]
        changed = change(target)
        return found[0] if changed is None else f'{found[1]}"{changed}"'

    return _ANCHOR.sub(replace, html)


_REFERENCE = re.compile(r"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[A-Za-z][A-Za-z0-9]*;?)")


def unescaped(attribute: str) -> str:
    """What an attribute's text stands for.

    In an address `&copy=1` is a parameter: a name without its semicolon is no character where `=`
    or a letter or a digit follows (HTML Standard, 13.2.5.73), which html.unescape leaves out.
    """

    def replace(found: re.Match[str]) -> str:
        if found[1].startswith("#"):
            return unescape(found[0])
        if not found[1].endswith(";") and found.string[found.end() : found.end() + 1] == "=":
            return found[0]
        return html5.get(found[1], found[0])

    return _REFERENCE.sub(replace, attribute)
