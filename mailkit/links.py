"""Links of a letter that go through a counter: found in the HTML of its template."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

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

    def replace(found: re.Match[str]) -> str:
        if found[2] is None or len(targets) == most:
            return found[0]
        target = unescape(found[2][1:-1]).strip()
        if not _HTTP.match(target) or "{{" in target or "{%" in target:
            return found[0]
        targets.append(target)
        return f'{found[1]}"{href_of(len(targets))}"'

    return _ANCHOR.sub(replace, html), targets
