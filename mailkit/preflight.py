"""What is wrong with a letter before anybody gets it: rules over the composed letter alone.

The rules on markup are few and each can be looked at:

- subject_caps: at least ten letters, nine of ten of them capitals
- subject_marks: three exclamation marks or currency signs in the subject
- image_only: pictures, and fewer than 100 characters of text to read
- shortener: links through a public shortener, which spammers hide behind
- active_markup: script, form, iframe, object or embed, which mail programs drop or distrust
- hidden_text: more than 200 characters that nobody sees, beside a preheader's padding
- disguised_link: a link whose text is the address of another domain than it leads to
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from lxml import etree

CLIPPED_AT = 102 * 1024  # octets of HTML; Gmail hides what is behind
MAX_PICTURES = 1_000_000  # octets of pictures within the letter
SHORTENERS = frozenset(
    (
        *("bit.ly", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "buff.ly", "cutt.ly"),
        *("rebrand.ly", "shorturl.at", "t.ly", "clck.ru", "vk.cc", "u.to", "goo.su"),
    )
)
_ACTIVE = frozenset(("script", "form", "iframe", "object", "embed"))
_UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_FONT = re.compile(r"(?:^|;)\s*font(-size)?\s*:\s*([^;!]*)", re.IGNORECASE)
_NO_SIZE = re.compile(r"0(?:\.0*)?\s*(?:px|pt|r?em|%)?\s*", re.IGNORECASE)
_NO_CONTENT = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr")
_INVISIBLE = re.compile("[\\s\u034f\u200b-\u200f\u2060\ufeff\u00ad]+")
_LOOKS_LIKE_ADDRESS = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,24})(?:[/?#:]\S*)?", re.I)
_OUTPUT = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)\s*(\|[^{}]*)?-?\}\}")
_DEEPEST = 500

Level = Literal["blocking", "advisory"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a letter breaks: its code, and what it is about (numbers, words, addresses).

    record: name and value of the TXT record that mends it, both empty where none does.
    """

    code: str
    level: Level
    number: int = 0
    words: tuple[str, ...] = ()
    record: tuple[str, str] = ("", "")


@dataclass(slots=True)
class Looks:
    """What a mail program would find in the HTML of a letter."""

    links: list[tuple[str, str]] = field(default_factory=list)  # address and text, in order
    images: list[tuple[str, str | None]] = field(default_factory=list)  # address, alt text
    active: set[str] = field(default_factory=set)
    seen: int = 0  # characters
    hidden: int = 0


def look_at(html: str) -> Looks:
    """Never raises; takes time in proportion to the HTML."""
    reader = _Reader()
    parser = etree.HTMLParser(target=reader)
    with suppress(_TooDeep, etree.XMLSyntaxError):
        parser.feed("<body>" + re.sub("[\\x00-\\x08\\x0b\\x0e-\\x1f\\ud800-\\udfff]", "", html))
        parser.close()
    return reader.looks


def check_letter(
    *, subject: str, html: str, text: str, unsubscribe_url: str, html_size: int, own: str = ""
) -> list[Finding]:
    """`html`: rendered, with its links as the author wrote them; `html_size`: as it is sent;
    `own`: what the addresses of this service begin with."""
    found: list[Finding] = []

    def find(
        code: str, level: Level = "advisory", number: int = 0, words: Iterable[str] = ()
    ) -> None:
        found.append(Finding(code, level, number, tuple(dict.fromkeys(words))[:5]))

    looks = look_at(html)
    targets = [url for url, _text in looks.links]
    if (html and unsubscribe_url not in targets) or (not html and unsubscribe_url not in text):
        find("no_unsubscribe", "blocking")
    if not text.strip():
        find("no_text")
    if html_size > CLIPPED_AT:
        find("clipped", number=-(-html_size // 1024))
    others = [url for url in targets if not (own and url.startswith(own))]
    if plain := [url for url in others if url.lower().startswith("http://")]:
        find("http_links", number=len(plain), words=plain)
    if bare := [url for url, alt in looks.images if alt is None]:
        find("no_alt", number=len(bare), words=[url[:80] for url in bare])
    inside = sum(len(url) for url, _alt in looks.images if url.lower().startswith("data:"))
    if inside * 3 // 4 > MAX_PICTURES:
        find("heavy_images", number=inside * 3 // 4 // 1024)
    found += _spam(subject, looks)
    return found


def bare_fields(*sources: str) -> set[str]:
    """Fields that a letter shows without a default: an empty value leaves a gap."""
    return {
        one[1] for source in sources for one in _OUTPUT.finditer(source)
        if "default" not in (one[2] or "")
    }  # fmt: skip


def _spam(subject: str, looks: Looks) -> list[Finding]:
    found = []
    letters = [character for character in subject if character.isalpha()]
    if len(letters) >= 10 and sum(map(str.isupper, letters)) >= 0.9 * len(letters):
        found.append(Finding("subject_caps", "advisory"))
    if re.search(r"!\s*!\s*!|[$€₽£]{3}", subject):
        found.append(Finding("subject_marks", "advisory"))
    pictures = [url for url, _alt in looks.images]
    if pictures and looks.seen < 100:
        found.append(Finding("image_only", "advisory", looks.seen))
    short = {host for url, _text in looks.links if (host := host_of(url)) in SHORTENERS}
    if short:
        found.append(Finding("shortener", "advisory", len(short), tuple(sorted(short))))
    if looks.active:
        found.append(Finding("active_markup", "advisory", 0, tuple(sorted(looks.active))))
    if looks.hidden > 200:
        found.append(Finding("hidden_text", "advisory", looks.hidden))
    disguised = [text.strip()[:80] for url, text in looks.links if _disguised(url, text)]
    if disguised:
        found.append(Finding("disguised_link", "advisory", len(disguised), tuple(disguised[:5])))
    return found


def host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _disguised(url: str, text: str) -> bool:
    shown = _LOOKS_LIKE_ADDRESS.fullmatch(text.strip())
    host = host_of(url)
    if not shown or not host:
        return False
    claimed = shown[1].lower().removeprefix("www.")
    return claimed != host and not host.endswith(f".{claimed}") and not claimed.endswith(f".{host}")


class _TooDeep(Exception):
    """Ends the parsing."""


class _Reader:
    """What the parser tells of the elements (lxml's "target")."""

    def __init__(self) -> None:
        self.looks = Looks()
        self._hidden_at = 0  # the depth of the element that is not shown
        self._silent_at = 0  # likewise of a style sheet or a script
        # Depths of elements with a font size, and whether that is none. What is in them may have
        # one again: MJML closes the gaps between columns like that.
        self._fonts: list[tuple[int, bool]] = []
        self._depth = 0
        self._link: str | None = None
        self._label: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _TooDeep
        if tag in _ACTIVE:
            self.looks.active.add(tag)
        if tag in ("style", "script", "title", "head", "template"):
            self._silent_at = self._silent_at or self._depth
        style = attributes.get("style", "")
        if sizes := _FONT.findall(style):
            is_size, value = sizes[-1]
            self._fonts.append((self._depth, bool(is_size and _NO_SIZE.fullmatch(value))))
        hidden = "hidden" in attributes or _UNSEEN.search(style)
        if hidden and not _NO_CONTENT.fullmatch(tag):
            self._hidden_at = self._hidden_at or self._depth
        if tag == "a":
            self._end_link()
            self._link = attributes.get("href", "").strip()
        elif tag == "img":
            self.looks.images.append((attributes.get("src", ""), attributes.get("alt")))

    def end(self, tag: str) -> None:
        if self._hidden_at == self._depth:
            self._hidden_at = 0
        if self._silent_at == self._depth:
            self._silent_at = 0
        if self._fonts and self._fonts[-1][0] == self._depth:
            self._fonts.pop()
        self._depth -= 1
        if tag == "a":
            self._end_link()

    def data(self, data: str) -> None:
        if self._silent_at:
            return
        number = len(_INVISIBLE.sub("", data))
        if self._hidden_at or (self._fonts and self._fonts[-1][1]):
            self.looks.hidden += number
        else:
            self.looks.seen += number
        if self._link is not None:
            self._label.append(data)

    def close(self) -> None:
        """The parser says that it is over."""
        self._end_link()

    def _end_link(self) -> None:
        if self._link:
            self.looks.links.append((self._link, "".join(self._label)))
        self._link, self._label = None, []
