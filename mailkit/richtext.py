"""Rich text to a letter: what a mail program shows and nothing else, in a simple frame."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import nh3

from mailkit.liquid import hold, unescape_tags

_TAGS = {
    "a", "blockquote", "br", "div", "em", "h1", "h2", "h3", "hr", "i", "b", "img", "li", "ol", "p",
    "s", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_ATTRIBUTES = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "*": {"class"},
}
# What the rich text editor marks by classes; the frame has a rule for each.
_CLASSES = {"ql-align-center", "ql-align-right", "ql-align-justify"} | {
    f"ql-indent-{level}" for level in range(1, 9)
}
_INDENTS = "".join(f".ql-indent-{level}{{padding-left:{level * 24}px}}" for level in range(1, 9))
_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL | re.IGNORECASE)

# A table for Outlook, which knows no max-width; colours that a dark mode can turn round.
_FRAME = (
    """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<style>
body{margin:0;padding:0;background:#ffffff;color:#1f2933}
.letter{font-family:Arial,Helvetica,sans-serif;font-size:16px;line-height:1.5;padding:24px}
.letter p{margin:0 0 16px}
.letter h1{font-size:28px;line-height:1.25;margin:0 0 16px}
.letter h2{font-size:22px;line-height:1.3;margin:24px 0 12px}
.letter h3{font-size:18px;line-height:1.35;margin:20px 0 8px}
.letter ul,.letter ol{margin:0 0 16px;padding-left:24px}
.letter blockquote{margin:0 0 16px;padding-left:16px;border-left:4px solid #9aa5b1}
.letter img{max-width:100%;height:auto}
.letter a{color:#1a5fb4}
.ql-align-center{text-align:center}.ql-align-right{text-align:right}
.ql-align-justify{text-align:justify}"""
    + _INDENTS
    + """
@media (prefers-color-scheme:dark){body{background:#17191c;color:#e4e7eb}.letter a{color:#8ab4f8}}
</style>
</head>
<body>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td align="center">
<!--[if mso]><table role="presentation" width="600"><tr><td><![endif]-->
<div class="letter" style="max-width:600px;text-align:left">
"""
)
_FRAME_END = """
</div>
<!--[if mso]></td></tr></table><![endif]-->
</td></tr>
</table>
</body>
</html>
"""


def clean_rich_text(source: str) -> str:
    """The text without scripts, styles, forms and strange addresses; Liquid tags survive."""
    held = hold(unescape_tags(source))
    return held.restored(
        nh3.clean(
            held.source,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            attribute_filter=_known_classes,
            url_schemes={"http", "https", "mailto", "tel"},
            link_rel=None,
        )
    )


def rich_letter(source: str) -> str:
    """The HTML of a letter from the HTML of a rich text; '' for one without any content."""
    content = clean_rich_text(source)
    return f"{_FRAME}{content}{_FRAME_END}" if has_content(content) else ""


def rich_text_of(html: str) -> str:
    """What a rich text keeps of a letter: its words, links, lists and pictures."""
    found = _BODY.search(html)
    text = re.sub(r"<!--.*?-->", "", found[1] if found else html, flags=re.DOTALL)
    # Tables of a letter are its layout: without them their cells are read one after another.
    return re.sub(
        r"</?(?:table|thead|tbody|tr|td|th|div)[^>]*>", "\n", clean_rich_text(text)
    ).strip()


def has_content(html: str) -> bool:
    """Whether a reader would see anything: a letter, a figure or a picture."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.seen


class _Reader(HTMLParser):
    seen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen = self.seen or tag in {"img", "hr"}

    def handle_data(self, data: str) -> None:
        self.seen = self.seen or bool(data.strip())


def _known_classes(_tag: str, name: str, value: str) -> str | None:
    if name != "class":
        return value
    return " ".join(sorted(set(value.split()) & _CLASSES)) or None
