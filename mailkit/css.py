"""The rules of a letter's style sheets, written into its elements.

Many mail programs drop style sheets. The HTML stays byte for byte as it is, Liquid included, but
for the style attributes of the elements that a rule is about: a copy of the tags alone goes
through css-inline, and what it says about each is put into the source. The style sheets stay too,
for what no attribute can say: media queries, dark mode, :hover.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape

import css_inline
from lxml import etree

MAX_HTML = 400_000  # characters; what is longer stays as it is
_MAX_STYLES = 100_000
_MAX_WORK = 20_000_000  # rules times elements
_DEEPEST = 200  # elements in one another: css-inline goes down by recursion

_NEXT = re.compile(r"<|\{[{%]")
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:-]*)")
_RAW_TEXT = frozenset(("style", "script", "title", "textarea", "xmp", "noscript"))
# A tag ends where the next begins: the time stays linear (as in mailkit.links).
_REST_OF_TAG = re.compile(r"""(?>[^<>"'{]|"[^"]*"|'[^']*'|\{\{[^{}]*\}\}|\{%[^{}]*%\}|\{)*>""")
_ATTRIBUTE = re.compile(
    r"""\s+([^\s=>"'/{}]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?|\{%[^{}]*%\}|\{\{[^{}]*\}\}"""
)
_LIQUID = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}")
_RAW_LIQUID = re.compile(r"\{%-?\s*raw\s*-?%\}")
_END_RAW_LIQUID = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_STAND_IN = re.compile(r"lq(\d+)x")
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr", re.IGNORECASE)
_IMPORT = re.compile(r"@import\b[^;{}]*;?", re.IGNORECASE)
_NUMBER = "data-lq"


@dataclass(frozen=True, slots=True)
class Tag:
    """A start or end tag where it stands in the source: from `begin` to `end`."""

    name: str
    begin: int
    end: int
    closing: bool


def tags(source: str) -> Iterator[Tag | str]:
    """The tags of a template in order, and the contents of its style sheets as text.

    Not those in comments, scripts, or Liquid.
    """
    position, nowhere = 0, set[str]()

    def after(mark: str, start: int) -> int:
        """Behind the next mark; its absence is looked for once."""
        at = -1 if mark in nowhere else source.find(mark, start)
        if at < 0:
            nowhere.add(mark)
            return -1
        return at + len(mark)

    while found := _NEXT.search(source, position):
        begin = found.start()
        if found[0] != "<":
            if _RAW_LIQUID.match(source, begin):
                ending = _END_RAW_LIQUID.search(source, begin)
                position = ending.end() if ending else len(source)
            else:
                position = max(after("}}" if found[0] == "{{" else "%}", begin), begin + 2)
            continue
        if source.startswith("<!--", begin):
            position = after("-->", begin + 4)
            if position < 0:
                return
            continue
        name = _TAG_NAME.match(source, begin)
        rest = _REST_OF_TAG.match(source, name.end()) if name else None
        if name is None or rest is None:
            position = begin + 1
            continue
        position, closing = rest.end(), source[begin + 1] == "/"
        word = name[1].lower()
        yield Tag(word, begin, position, closing)
        if word in _RAW_TEXT and not closing:
            ending = re.compile(f"</{word}", re.IGNORECASE).search(source, position)
            if ending is None:
                return
            if word == "style":
                yield source[position : ending.start()]
            position = ending.start()


def inline_css(source: str) -> str:
    """The template with the rules of its style sheets in its style attributes too.

    As it is where there is none, where it is very large, or where the rules cannot be read.
    Nothing is fetched. Elements whose class, id or style depends on a Liquid tag are left alone.
    """
    if "<style" not in source.lower() or len(source) > MAX_HTML:
        return source
    found = [*tags(source)]
    sheets = [_IMPORT.sub("", one) for one in found if isinstance(one, str)]
    styles = "".join(sheets)
    elements = [one for one in found if isinstance(one, Tag)]
    if not styles.strip() or len(styles) > _MAX_STYLES or "{%" in styles or "</" in styles:
        return source
    if (styles.count("{") + 1) * len(elements) > _MAX_WORK or _depth(elements) > _DEEPEST:
        return source
    known: list[str] = []
    skeleton = "".join(_skeleton(source, number, tag, known) for number, tag in enumerate(elements))
    document = "".join(f"<style>{_hidden(one, known)}</style>" for one in sheets) + skeleton
    try:
        inlined = css_inline.CSSInliner(
            load_remote_stylesheets=False, keep_style_tags=False, keep_at_rules=False
        ).inline(document)
    except css_inline.InlineError:
        return source
    return _with_styles(source, elements, _styles_of(inlined), known)


def _depth(elements: list[Tag]) -> int:
    depth = deepest = 0
    for tag in elements:
        if not _VOID.fullmatch(tag.name):
            depth += -1 if tag.closing else 1
            deepest = max(deepest, depth)
    return deepest


def _skeleton(source: str, number: int, tag: Tag, known: list[str]) -> str:
    """The tag for css-inline, numbered, with stand-ins for Liquid."""
    text = source[tag.begin : tag.end]
    if tag.name in _RAW_TEXT or tag.name == "link":
        return ""
    if tag.closing:
        return text
    name_end = 1 + len(tag.name)
    return f'{text[:name_end]} {_NUMBER}="{number}"{_hidden(text[name_end:], known)}'


def _hidden(text: str, known: list[str]) -> str:
    def stand_in(found: re.Match[str]) -> str:
        known.append(found[0])
        return f"lq{len(known) - 1}x"

    return _LIQUID.sub(stand_in, text)


class _Styles:
    """The style of each numbered element (lxml's "target")."""

    def __init__(self) -> None:
        self.found: dict[int, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        number = attributes.get(_NUMBER, "")
        if number.isdecimal() and "style" in attributes:
            self.found[int(number)] = attributes["style"]

    def close(self) -> None:
        """The parser says that it is over."""


def _styles_of(html: str) -> dict[int, str]:
    styles = _Styles()
    parser = etree.HTMLParser(target=styles)
    with suppress(etree.XMLSyntaxError):
        parser.feed(html)
        parser.close()
    return styles.found


def _with_styles(source: str, elements: list[Tag], styles: dict[int, str], known: list[str]) -> str:
    pieces, position = [], 0
    for number, style in sorted(styles.items()):
        tag = elements[number]
        text = _styled(source[tag.begin : tag.end], len(tag.name) + 1, style, known)
        pieces += [source[position : tag.begin], text]
        position = tag.end
    return "".join([*pieces, source[position:]])


def _styled(tag: str, name_end: int, style: str, known: list[str]) -> str:
    """A start tag with another style; as it is where Liquid decides about its attributes."""
    old: re.Match[str] | None = None
    for found in _ATTRIBUTE.finditer(tag, name_end):
        if found[0].startswith("{%"):
            return tag
        if found[1] and found[1].lower() == "style" and old is None:
            old = found
    quoted = style.strip().replace("&", "&amp;").replace('"', "&quot;")
    quoted = _STAND_IN.sub(lambda one: known[int(one[1])], quoted)
    if '"' in quoted.replace("&quot;", "") or "{%" in quoted:
        return tag
    if old is None:
        return f'{tag[:name_end]} style="{quoted}"{tag[name_end:]}'
    value = (old[2] or "").strip("\"'")
    if unescape(value) == unescape(quoted):
        return tag
    return f'{tag[: old.start()]} style="{quoted}"{tag[old.end() :]}'
