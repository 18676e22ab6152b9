"""What is added to the HTML of a letter: the preheader, the link to the browser, UTM parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from urllib.parse import quote, unquote_plus

from mailkit.css import Tag, tags

_LIQUID = re.compile(r"(\{\{[^{}]*\}\}|\{%[^{}]*%\})")
# Behind the preheader mail programs show the beginning of the letter, unless there is nothing
# to be seen for a while: a joiner that is not shown, a non-joiner and a space.
_PADDING = "&#847;&zwnj;&nbsp;" * 60
_HIDDEN = (
    "display:none;visibility:hidden;mso-hide:all;font-size:1px;line-height:1px;"
    "max-height:0;max-width:0;opacity:0;overflow:hidden"
)


def with_preheader(html: str, preheader: str) -> str:
    """The letter with the text that mailboxes show behind the subject; it may hold Liquid."""
    if not (html and preheader.strip()):
        return html
    # What is at odd places is Liquid.
    pieces = _LIQUID.split(preheader.strip())
    text = "".join(one if number % 2 else escape(one) for number, one in enumerate(pieces))
    return at_beginning(html, f'<div style="{_HIDDEN}">{text}{_PADDING}</div>')


def with_view_link(html: str, label: str) -> str:
    """The letter with a small link at its top that opens it in a browser."""
    link = f'<a href="{{{{ view_url }}}}" style="color:inherit">{escape(label)}</a>'
    style = "margin:0;padding:8px;text-align:center;font-size:12px;color:#6c757d"
    return at_beginning(html, f'<p style="{style}">{link}</p>')


def at_beginning(html: str, piece: str) -> str:
    """Insert at the beginning of the body."""
    place = 0
    for tag in tags(html):
        if not isinstance(tag, Tag) or tag.name not in ("html", "head", "body"):
            continue
        if (tag.name == "head") == tag.closing:  # behind <html>, </head> or <body>
            place = tag.end
        if tag.name == "body":
            break
    if not place and (doctype := re.match(r"\s*<!doctype[^>]*>", html, re.IGNORECASE)):
        place = doctype.end()
    return html[:place] + piece + html[place:]


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """The address with parameters behind its own; those that it has already stay as they are.

    Its own query and its fragment survive byte for byte.
    """
    base, mark, fragment = url.partition("#")
    _, _, query = base.partition("?")
    own = {unquote_plus(part.partition("=")[0]) for part in re.split("[&;]", query)}
    added = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in parameters.items()
        if name and value and name not in own
    )
    if not added:
        return url
    ended = base.endswith(("?", "&"))
    joint = ("" if ended else "&") if "?" in base else "?"
    return f"{base}{joint}{added}{mark}{fragment}"
