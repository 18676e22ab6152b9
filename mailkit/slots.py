"""A template of plain merge fields, cut at its fields, and the values that come there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from markupsafe import escape

from mailkit.dkim import relaxed_lines
from mailkit.mime import base64_lines, quoted_piece
from mailkit.smtp.message import stuff

_FIELD = re.compile(
    r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*"
    r"(?:\|\s*default\s*:\s*(?:'([^'\\{}]*)'|\"([^\"\\{}]*)\")\s*)?\}\}"
)
# What has to be escaped in HTML.
_MARKUP = re.compile("[&<>\"']")
_KEPT, _KEPT_LENGTH = 8192, 40
# Those of the language, and two that it fills in itself.
_WORDS = frozenset(
    (
        "true",
        "false",
        "nil",
        "null",
        "empty",
        "blank",
        "and",
        "or",
        "not",
        "contains",
        "in",
        "if",
        "else",
        "as",
        "with",
        "for",
        "now",
        "today",
    )
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value goes. `default` stands in for an empty one; it is not escaped."""

    name: str
    default: str | None = None
    source: str = field(default="", compare=False)


def plain_slots(source: str) -> list[str | Slot] | None:
    """A template's text and fields in turn, or None where it takes Liquid to render it."""
    if "{%" in source or "\0" in source:  # a CUT is told by its NULs
        return None
    pieces: list[str | Slot] = []
    position = 0
    for found in _FIELD.finditer(source):
        name, single, double = found.groups()
        between = source[position : found.start()]
        if name in _WORDS or "{{" in between:
            return None
        pieces += [between, Slot(name, single if single is not None else double, found[0])]
        position = found.end()
    rest = source[position:]
    return None if "{{" in rest else [*pieces, rest]


class Filler:
    """Puts values into text. `fill` gives None where a value takes Liquid to be shown."""

    def __init__(self, pieces: Sequence[str | Slot], *, html: bool) -> None:
        slots = dict.fromkeys(piece for piece in pieces if isinstance(piece, Slot))
        self._slots = [(str(number), slot) for number, slot in enumerate(slots)]
        keys = {slot: key for key, slot in self._slots}
        self._format = "".join(
            f"%({keys[piece]})s" if isinstance(piece, Slot) else piece.replace("%", "%%")
            for piece in pieces
        )
        self._html = html

    def fill(self, values: Mapping[str, object]) -> str | None:
        filled = {}
        for key, slot in self._slots:
            value = values.get(slot.name)
            if value is None or value == "":
                filled[key] = slot.default or ""
            elif not isinstance(value, str):
                return None
            elif self._html and _MARKUP.search(value):
                filled[key] = str(escape(value))
            else:
                filled[key] = value
        return self._format % filled


class Value(NamedTuple):
    """A value as it stands in each part, with `dots` doubled there, and as DKIM reads it there."""

    text: bytes
    html: bytes
    text_signed: bytes
    html_signed: bytes
    text_dots: int = 0
    html_dots: int = 0


class Whole:
    """A part in base64: filled and encoded for each letter."""

    def __init__(self, pieces: Sequence[str | Slot], *, html: bool) -> None:
        self._filler = Filler(pieces, html=html)

    def encode(self, values: Mapping[str, object]) -> bytes | None:
        """None where it takes the general way, as does a part that is empty."""
        filled = self._filler.fill(values)
        # A value has line ends of its own: a CR at its end is no half of one with the text.
        if not filled or "\0" in filled or "\r" in filled:
            return None
        return base64_lines(filled.encode().replace(b"\n", b"\r\n"))


class Values:
    """The values of a letter's fields in quoted-printable, each on lines of its own."""

    def __init__(self) -> None:
        self._slots: list[tuple[str, Value]] = []
        self._known: dict[str, Value] = {}

    def add(self, slot: Slot) -> int:
        """The place of a field among the values; the first place is for nothing."""
        default = slot.default or ""  # it is not escaped
        one = (slot.name, _twofold(default, default))
        if one not in self._slots:
            self._slots.append(one)
        return self._slots.index(one) + 1

    def encode(self, values: Mapping[str, object]) -> list[Value] | None:
        """None where it takes Liquid."""
        known, get = self._known, values.get
        encoded = [_NOTHING]
        for name, default in self._slots:
            value = get(name)
            if value is None or value == "":
                quoted = default
            elif not isinstance(value, str) or "\0" in value:  # it could make another mark
                return None
            else:
                quoted = known.get(value) or self._quoted(value)
            encoded.append(quoted)
        return encoded

    def _quoted(self, value: str) -> Value:
        """Short ones are kept, names and towns come again; not those with markup, which a
        value of another type may hold on purpose."""
        quoted = _quoted(value)
        if len(value) <= _KEPT_LENGTH and not _MARKUP.search(value):
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[value] = quoted
        return quoted

    def __len__(self) -> int:
        return len(self._slots) + 1


SOFT_BREAK = b"=\r\n"
# What quoted-printable and HTML leave as it is: printable ASCII on one line.
_AS_IT_IS = re.compile(r"(?!\.)[ !#-%(-;?-~]{0,73}[!#-%(-;?-~]")


def _quoted(value: str) -> Value:
    if _AS_IT_IS.fullmatch(value):
        piece = value.encode() + SOFT_BREAK
        return Value(piece, piece, piece, piece)
    return _twofold(value, str(escape(value)))


def _twofold(text: str, html: str) -> Value:
    quoted_text, quoted_html = quoted_piece(text), quoted_piece(html)
    stuffed_text, stuffed_html = stuff(quoted_text), stuff(quoted_html)
    return Value(
        stuffed_text,
        stuffed_html,
        relaxed_lines(quoted_text),
        relaxed_lines(quoted_html),
        len(stuffed_text) - len(quoted_text),
        len(stuffed_html) - len(quoted_html),
    )


_NOTHING = Value(b"", b"", b"", b"")


class Skeleton:
    """Octets that are the same in all letters, and the places between them.

    `pieces`: octets, and numbers that say which of the moving ones comes there.
    """

    def __init__(self, pieces: Sequence[bytes | int]) -> None:
        self._still = [b""]
        places = []
        for piece in pieces:
            if isinstance(piece, bytes):
                self._still[-1] += piece
            else:
                places.append(piece)
                self._still += [b"", b""]
        self._pick: Callable[[Sequence[bytes]], Iterable[bytes]] = (
            itemgetter(*places)
            if len(places) > 1
            else lambda moving: [moving[place] for place in places]
        )

    def fill(self, moving: Sequence[bytes]) -> bytes:
        filled = self._still.copy()
        filled[1::2] = self._pick(moving)
        return b"".join(filled)
