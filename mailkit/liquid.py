"""Liquid tags taken out of a letter's source while something that does not know them works on it.

A compiler or a sanitiser would escape, move or drop them; a word of letters and digits passes.
"""

from __future__ import annotations

import html
import re
import secrets
from dataclasses import dataclass

# As python-liquid finds them: the first closing braces end a tag, whatever is quoted in it.
TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Held:
    """A source with a word in place of each tag. `tags` are in the order of their words."""

    source: str
    tags: tuple[str, ...]
    mark: str

    def restored(self, text: str) -> str:
        """`text` with the tags back in place of their words, byte for byte."""
        return self._words().sub(lambda found: self.tags[int(found[1])], text)

    def lost(self, text: str) -> int | None:
        """The number of the first tag whose word is not in `text`."""
        kept = {int(found[1]) for found in self._words().finditer(text)}
        return next((number for number in range(len(self.tags)) if number not in kept), None)

    def line_of(self, tag: int) -> int:
        """The line of the original source, counted from 1, on which a tag begins."""
        head = self.source.partition(f"{self.mark}{tag}x")[0]
        return self.restored(head).count("\n") + 1

    def _words(self) -> re.Pattern[str]:
        return re.compile(rf"{self.mark}(\d+)x")


def hold(source: str) -> Held:
    """Take the tags out. The words cannot be guessed, so that no source holds one already."""
    mark = f"lq{secrets.token_hex(6)}n"
    tags: list[str] = []

    def word(found: re.Match[str]) -> str:
        tags.append(found[0])
        return f"{mark}{len(tags) - 1}x"

    return Held(TAG.sub(word, source), tuple(tags), mark)


def unescape_tags(source: str) -> str:
    """Tags as they were typed, in HTML that a browser wrote: there `>` in a text is `&gt;`,
    a quote in an attribute `&quot;`, and a second space U+00A0."""
    return TAG.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), source)


def escape_tags(source: str) -> str:
    """The reverse, for a source that a browser will parse: no quote in a tag ends an attribute."""
    return TAG.sub(lambda found: html.escape(found[0], quote=False).replace('"', "&quot;"), source)
