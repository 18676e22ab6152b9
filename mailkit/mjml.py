"""MJML to HTML, with Liquid tags untouched and faults that name their line.

Source of the language: https://documentation.mjml.io/. The compiler (mrml) passes unknown tags
through as HTML and forgives a wrong end tag, so both are looked for here first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal

from mjml import mjml2html

from mailkit.liquid import escape_tags, hold
from mailkit.mime import unix_line_ends

MAX_SOURCE = 1_000_000  # characters
MAX_DEPTH = 60  # the compiler recurses, and a stack that overflows there ends the process

MjmlFaultCode = Literal[
    "no_root", "unknown", "unclosed", "not_open", "attributes", "include", "too_deep", "too_large",
    "lost_tag", "syntax",
]  # fmt: skip

_COMPONENTS = frozenset(
    {
        *("mj-accordion", "mj-accordion-element", "mj-accordion-text", "mj-accordion-title"),
        *("mj-all", "mj-attributes", "mj-body", "mj-breakpoint", "mj-button", "mj-carousel"),
        *("mj-carousel-image", "mj-class", "mj-column", "mj-divider", "mj-font", "mj-group"),
        *("mj-head", "mj-hero", "mj-html-attribute", "mj-html-attributes", "mj-image"),
        *("mj-navbar", "mj-navbar-link", "mj-preview", "mj-raw", "mj-section", "mj-selector"),
        *("mj-social", "mj-social-element", "mj-spacer", "mj-style", "mj-table", "mj-text"),
        *("mj-title", "mj-wrapper"),
    }
)
_ATTRIBUTES = re.compile(r"<[^\s/>]+(?:\s+[^\s=<>\"'/]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*\s*/?>")
_POSITION = re.compile(r"at position (\d+):")
_EMPTY_TAG = re.compile(r"<(mj-[a-z-]+)((?:\s+[^\s=<>\"'/]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)\s*/>")
# A browser drops the rows of a table that is none, and the visual builder knows no others of these.
_NOT_IN_BUILDER = re.compile(
    r"<(mj-(?:table|accordion|carousel|html-attributes|selector)\b[a-z-]*)", re.IGNORECASE
)
# HTML elements without an end, which therefore add no depth.
_VOID = frozenset(
    {
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
        *("track", "wbr"),
    }
)


@dataclass(frozen=True, slots=True)
class MjmlFault:
    """Why a source is no letter. `line` counts from 1; `detail` is the tag, or English."""

    line: int
    message_code: MjmlFaultCode
    detail: str


def compile_mjml(source: str) -> str | MjmlFault:
    """The HTML of a letter. Files are never included; Liquid tags come out as they went in."""
    if len(source) > MAX_SOURCE:
        return MjmlFault(1, "too_large", f"{len(source)} characters, {MAX_SOURCE} allowed")
    # The compiler takes a carriage return between two tags for a text.
    held = hold(unix_line_ends(source))

    def line(offset: int) -> int:
        return held.restored(held.source[:offset]).count("\n") + 1

    checker = _Checker()
    checker.feed(held.source)
    checker.close()
    if fault := checker.result():
        offset, code, detail = fault
        return MjmlFault(line(offset), code, detail)
    try:
        html = mjml2html(held.source)
    except ValueError as error:
        found = _POSITION.search(str(error))
        # The compiler counts bytes.
        head = held.source.encode()[: int(found[1])] if found else b""
        return MjmlFault(line(len(head.decode(errors="ignore"))), "syntax", str(error))
    lost = held.lost(html)
    if lost is not None:
        return MjmlFault(held.line_of(lost), "lost_tag", held.tags[lost])
    return held.restored(html)


def for_builder(source: str) -> str:
    """The same letter for a visual builder, which reads it as a browser reads HTML."""
    return _EMPTY_TAG.sub(r"<\1\2></\1>", escape_tags(source))


def not_for_builder(source: str) -> str:
    """The first tag that a visual builder would damage, '' if there is none."""
    found = _NOT_IN_BUILDER.search(source)
    return found[1] if found else ""


class _Checker(HTMLParser):
    """Follows the tags; keeps the first thing that is wrong as (offset, code, detail)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self._open: list[tuple[str, int]] = []
        self._depth = 0
        self._fault: tuple[int, MjmlFaultCode, str] | None = None
        self._root = False
        self._lines = [0]

    def feed(self, data: str) -> None:
        self._lines += [found.end() for found in re.finditer("\n", data)]
        super().feed(data)

    def set_cdata_mode(self, elem: str, *, escapable: bool = False) -> None:
        """Nothing is exempt: the compiler looks for tags in styles and titles too."""

    def result(self) -> tuple[int, MjmlFaultCode, str] | None:
        if self._fault:
            return self._fault
        if self._open:
            name, offset = self._open[-1]
            return offset, "unclosed", name
        return None if self._root else (0, "no_root", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag)
        if tag not in _VOID:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                self._note("too_deep", tag)
        if _is_ours(tag):
            self._open.append((tag, self._offset()))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._depth = max(0, self._depth - 1)
        if not _is_ours(tag):
            return
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        elif any(name == tag for name, _offset in self._open):
            name, offset = self._open[-1]
            self._note("unclosed", name, offset)
        else:
            self._note("not_open", tag)

    def _start(self, tag: str) -> None:
        if not _is_ours(tag):
            return
        self._root = self._root or tag == "mjml"
        if tag == "mj-include":
            self._note("include", tag)
        elif tag not in _COMPONENTS and tag != "mjml":
            self._note("unknown", tag)
        elif not _ATTRIBUTES.fullmatch(self.get_starttag_text() or ""):
            self._note("attributes", tag)

    def _note(self, code: MjmlFaultCode, detail: str, offset: int | None = None) -> None:
        if self._fault is None:
            self._fault = (self._offset() if offset is None else offset, code, detail)

    def _offset(self) -> int:
        row, column = self.getpos()
        return self._lines[row - 1] + column


def _is_ours(tag: str) -> bool:
    return tag == "mjml" or tag.startswith("mj-")
