"""Letters made fast: what all recipients share is encoded once, their values are put in.

A template that is plain merge fields, `{{ name }}` or `{{ name | default: 'you' }}`, is cut at its
fields. In quoted-printable each piece stands on lines of its own, parted by soft line breaks, so
that the text between the fields is encoded once and a letter is put together from pieces. A part
whose text is not Latin is base64 and encoded whole. The result is byte for byte what
`mime.compose` makes of the text that Liquid renders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from markupsafe import escape

from mailkit.dkim import Signer, body_hash, relaxed_header, relaxed_lines
from mailkit.mime import (
    CUT,
    Encoding,
    Letter,
    base64_lines,
    boundary_of,
    compose,
    header,
    one_line,
    part_headers,
    quoted_piece,
    quoted_pieces,
    rfc5322_date,
)
from mailkit.personalize import RenderFault, Template, compile_template
from mailkit.smtp.message import WireMessage, prepare, stuff

_SIGNED = (
    b"from",
    b"to",
    b"subject",
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
)

_FIELD = re.compile(
    r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*"
    r"(?:\|\s*default\s*:\s*(?:'([^'\\{}]*)'|\"([^\"\\{}]*)\")\s*)?\}\}"
)
# What has to be escaped in HTML.
_MARKUP = re.compile("[&<>\"']")
_KEPT, _KEPT_LENGTH = 16_384, 40
# What compose writes into the headers as it stands.
_PLAIN_ADDRESS = re.compile(r"[!-;=?-~]{1,66}@[!-;=?-~]{1,190}")
_PLAIN_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
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


@dataclass(frozen=True, slots=True)
class Recipient:
    """What differs between two letters beside the values: addresses of links in headers too."""

    to: str
    message_id: str
    unsubscribe_url: str
    values: Mapping[str, object]


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


class Plain(str):
    """A value that stands for itself in HTML and in quoted-printable: the address of a link."""

    __slots__ = ()


class _Filler:
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


@dataclass(frozen=True, slots=True)
class _Body:
    """A part's body with `dots` doubled at the start of lines, and its canonical form for DKIM."""

    content: bytes
    canonical: bytes
    dots: int = 0


class _Whole:
    """A part in base64: filled and encoded for each letter."""

    def __init__(self, pieces: Sequence[str | Slot], *, html: bool) -> None:
        self._filler = _Filler(pieces, html=html)

    def encode(self, values: Mapping[str, object], *, signed: bool) -> _Body | None:
        """None where it takes Liquid."""
        filled = self._filler.fill(values)
        # A value has line ends of its own: a CR at its end is no half of one with the text.
        if filled is None or "\0" in filled or "\r" in filled:
            return None
        body = base64_lines(filled.encode().replace(b"\n", b"\r\n"))
        return _Body(body, body)


class _Pieces:
    """A part in quoted-printable: pieces encoded once, and between each two a value."""

    def __init__(self, pieces: Sequence[str | Slot], *, html: bool) -> None:
        texts = [piece for piece in pieces if isinstance(piece, str)]
        order = [piece for piece in pieces if isinstance(piece, Slot)]
        slots = list(dict.fromkeys(order))
        self._slots = [(slot.name, _quoted(slot.default or "")) for slot in slots]
        self._order = [slots.index(slot) for slot in order]
        encoded = [*map(quoted_piece, texts[:-1]), quoted_pieces(texts[-1:])]
        self._still = [stuff(piece) for piece in encoded]
        self._canonical = [relaxed_lines(piece) for piece in encoded]
        self._dots = sum(map(len, self._still)) - sum(map(len, encoded))
        self._html = html
        self._known: dict[str, _Body] = {}

    def encode(self, values: Mapping[str, object], *, signed: bool) -> _Body | None:
        """None where it takes Liquid."""
        moving: list[_Body] = []
        for name, default in self._slots:
            value = values.get(name)
            if type(value) is Plain:
                moving.append(_as_it_is(value))
                continue
            if value is None or value == "":
                quoted = default
            elif isinstance(value, str):
                quoted = self._known.get(value) or self._quoted(value)
            else:
                return None
            if quoted is None:
                return None
            moving.append(quoted)
        pieces = [b""] * (len(self._still) + len(self._order))
        pieces[::2] = self._still
        pieces[1::2] = [moving[number].content for number in self._order]
        content = b"".join(pieces)
        dots = self._dots + sum([moving[number].dots for number in self._order])
        if not signed:
            return _Body(content, b"", dots)
        pieces[::2] = self._canonical
        pieces[1::2] = [moving[number].canonical for number in self._order]
        return _Body(content, b"".join(pieces), dots)

    def _quoted(self, value: str) -> _Body | None:
        """A value as a piece. Those without markup are kept: names and towns come again."""
        if not (self._html and _MARKUP.search(value)):
            quoted = _quoted(value)
            if quoted and len(value) <= _KEPT_LENGTH:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[value] = quoted
            return quoted
        return _quoted(str(escape(value)))


def _as_it_is(value: str) -> _Body:
    piece = value.encode() + b"=\r\n"
    return _Body(piece, piece)


def _quoted(value: str) -> _Body | None:
    # What quoted-printable leaves as it is.
    if (
        0 < len(value) < 75
        and value.isascii()
        and value.isprintable()
        and "=" not in value
        and value[0] != "."
        and value[-1] != " "
    ):
        return _as_it_is(value)
    if "\0" in value:  # with the marks around it, it could make another one
        return None
    piece = quoted_piece(value)
    stuffed = stuff(piece)
    return _Body(stuffed, relaxed_lines(piece), len(stuffed) - len(piece))


def choose_encoding(source: str) -> Encoding:
    """How to encode a part whose template is `source`: the same for all recipients."""
    foreign = sum(not character.isascii() for character in source)
    return "base64" if foreign * 6 > len(source) else "quoted-printable"


def _marked(template: Template, *, html: bool) -> Template:
    """A template of plain fields that marks where a value begins and ends."""
    pieces = plain_slots(template.source)
    if pieces is None or len(pieces) == 1:
        return template
    source = "".join(
        f"{CUT}{piece.source}{CUT}" if isinstance(piece, Slot) else piece for piece in pieces
    )
    marked = compile_template(source, html=html)
    return marked if isinstance(marked, Template) else template  # the marks made it too large


def _part(pieces: Sequence[str | Slot], encoding: Encoding, *, html: bool) -> _Pieces | _Whole:
    return (_Whole if encoding == "base64" else _Pieces)(pieces, html=html)


class CompiledLetter:
    """A letter to many. `make` gives one recipient's message or says why there is none.

    `headers` are the same in all letters; `list_unsubscribe` adds the two headers of RFC 8058.
    """

    def __init__(
        self,
        *,
        from_mailbox: str,
        subject: Template,
        html: Template | None,
        text: Template,
        headers: tuple[tuple[str, str], ...] = (),
        list_unsubscribe: bool = True,
        signer_of: Callable[[Sequence[bytes]], Signer | None] = lambda names: None,
    ) -> None:
        """`signer_of` gives the signer for the names of the header fields to sign."""
        self._from_mailbox, self._headers = from_mailbox, headers
        self._subject, self._html, self._text = subject, html, text
        self._list_unsubscribe = list_unsubscribe
        self._marked = (
            _marked(text, html=False),
            _marked(html, html=True) if html else None,
        )
        self._encodings: tuple[Encoding, Encoding] = (
            choose_encoding(text.source),
            choose_encoding(html.source) if html else "",
        )
        self._signed_headers = [name.lower().encode() for name, _ in headers]
        if list_unsubscribe:
            self._signed_headers += [b"list-unsubscribe", b"list-unsubscribe-post"]
        self._signer = signer_of([*_SIGNED, *self._signed_headers])
        self._plain = self._compile()

    @property
    def is_plain(self) -> bool:
        """Whether letters are spliced and not rendered by Liquid."""
        return self._plain is not None

    def make(self, recipient: Recipient, at: datetime) -> WireMessage | RenderFault:
        """Raises ValueError for a value that no letter can hold."""
        spliced = self._plain.splice(recipient, at) if self._plain else None
        return spliced or self._general(recipient, at)

    def general(self, recipient: Recipient, at: datetime) -> bytes | RenderFault:
        """The message by way of Liquid and `compose`, unsigned."""
        rendered = []
        for template in (self._subject, *self._marked):
            part = template.render(recipient.values) if template else ""
            if isinstance(part, RenderFault):
                return part
            rendered.append(part)
        subject, text, html = rendered
        return compose(
            Letter(
                from_mailbox=self._from_mailbox,
                to=recipient.to,
                subject=one_line(subject),
                text=text,
                html=html,
                message_id=recipient.message_id,
                date=at,
                headers=(*self._headers, *self._unsubscribe_headers(recipient)),
                text_encoding=self._encodings[0],
                html_encoding=self._encodings[1],
            )
        )

    def _general(self, recipient: Recipient, at: datetime) -> WireMessage | RenderFault:
        message = self.general(recipient, at)
        if isinstance(message, RenderFault):
            return message
        if self._signer is None:
            return prepare(message)
        return prepare(self._sign(message, at) + message)

    def _sign(self, message: bytes, at: datetime) -> bytes:
        assert self._signer is not None
        head, _, body = message.partition(b"\r\n\r\n")
        fields = {}
        for raw in re.split(rb"\r\n(?![ \t])", head):
            canonical = relaxed_header(raw)
            fields[canonical.partition(b":")[0]] = canonical
        canonical = b"".join(fields[name] for name in (*_SIGNED, *self._signed_headers))
        return self._signer.sign(canonical, body_hash(relaxed_lines(body)), int(at.timestamp()))

    def _unsubscribe_headers(self, recipient: Recipient) -> tuple[tuple[str, str], ...]:
        if not self._list_unsubscribe:
            return ()
        return (
            ("List-Unsubscribe", f"<{recipient.unsubscribe_url}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        )

    def _compile(self) -> _Plain | None:
        from_header = header("From", self._from_mailbox).encode()
        headers = [header(name, value).encode() for name, value in self._headers]
        if not all(field.isascii() for field in (from_header, *headers)):  # takes SMTPUTF8
            return None
        slots = []
        for template in (self._subject, self._text, self._html):
            pieces = plain_slots(template.source) if template else []
            if pieces is None:
                return None
            slots.append(pieces)
        return _Plain(
            from_header=from_header,
            subject=_Filler(slots[0], html=False),
            text=_part(slots[1], self._encodings[0], html=False),
            html=_part(slots[2], self._encodings[1], html=True) if self._html else None,
            encodings=self._encodings,
            headers=headers,
            list_unsubscribe=self._list_unsubscribe,
            signer=self._signer,
        )


class _Plain:
    """The compiled form of a letter of plain merge fields."""

    def __init__(
        self,
        *,
        from_header: bytes,
        subject: _Filler,
        text: _Pieces | _Whole,
        html: _Pieces | _Whole | None,
        encodings: tuple[Encoding, Encoding],
        headers: list[bytes],
        list_unsubscribe: bool,
        signer: Signer | None,
    ) -> None:
        self._subject = subject
        self._parts = [text, html] if html else [text]
        self._heads = [
            part_headers(subtype, encoding)
            for subtype, encoding in zip(("plain", "html"), encodings, strict=True)
        ]
        self._signer, self._list_unsubscribe = signer, list_unsubscribe
        self._from = from_header
        self._more = b"".join(field + b"\r\n" for field in headers)
        self._signed_from = relaxed_header(from_header)
        self._signed_more = b"".join(relaxed_header(field) for field in headers)

    def splice(self, recipient: Recipient, at: datetime) -> WireMessage | None:
        """None where it takes the general way."""
        values, signed = recipient.values, self._signer is not None
        subject_text = self._subject.fill(values)
        bodies = [part.encode(values, signed=signed) for part in self._parts]
        if subject_text is None or not _plain_headers(recipient):
            return None
        parts = [body for body in bodies if body is not None and body.content]
        if len(parts) < len(bodies):
            return None
        to, message_id = recipient.to.encode(), recipient.message_id.encode()
        subject, seconds_date = _subject_header(subject_text), _date(at)
        content_type, body = self._body(recipient.message_id, [part.content for part in parts])
        head = b"%b\r\nTo: %b\r\n%b\r\nDate: %b\r\nMessage-ID: %b\r\n%b" % (
            self._from, to, subject, seconds_date, message_id, self._more,
        )  # fmt: skip
        if self._list_unsubscribe:
            head += (
                b"List-Unsubscribe: <%b>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
                % recipient.unsubscribe_url.encode()
            )
        head += b"MIME-Version: 1.0\r\n%b" % content_type
        if self._signer is not None:
            fields = b"%bto:%b\r\n%bdate:%b\r\nmessage-id:%b\r\nmime-version:1.0\r\n%b%b" % (
                self._signed_from, to, _signed_header(subject), seconds_date, message_id,
                _signed_header(content_type.partition(b"\r\n")[0]), self._signed_more,
            )  # fmt: skip
            if self._list_unsubscribe:
                fields += (
                    b"list-unsubscribe:<%b>\r\nlist-unsubscribe-post:List-Unsubscribe=One-Click\r\n"
                    % recipient.unsubscribe_url.encode()
                )
            _, canonical = self._body(recipient.message_id, [part.canonical for part in parts])
            head = self._signer.sign(fields, body_hash(canonical), int(at.timestamp())) + head
        message = head + b"\r\n" + body
        return WireMessage(message, len(message) - sum([part.dots for part in parts]))

    def _body(self, message_id: str, parts: list[bytes]) -> tuple[bytes, bytes]:
        """The headers of the content, and all behind the empty line."""
        if len(parts) == 1:
            (part,) = parts
            return self._heads[0].removesuffix(b"\r\n"), (
                part if part.endswith(b"\r\n") else part + b"\r\n"
            )
        boundary = boundary_of(message_id)
        text, html = parts
        return (
            b'Content-Type: multipart/alternative; boundary="%b"\r\n' % boundary,
            b"--%b\r\n%b%b\r\n--%b\r\n%b%b\r\n--%b--\r\n"
            % (boundary, self._heads[0], text, boundary, self._heads[1], html, boundary),
        )


def _plain_headers(recipient: Recipient) -> bool:
    url = recipient.unsubscribe_url
    return bool(
        (url.isascii() and url.isprintable() and " " not in url and len(url) <= 900)
        and _PLAIN_ADDRESS.fullmatch(recipient.to)
        and _PLAIN_ID.fullmatch(recipient.message_id)
    )


@lru_cache(maxsize=4096)
def _subject_header(subject: str) -> bytes:
    return header("Subject", one_line(subject)).encode()


@lru_cache(maxsize=4096)
def _signed_header(field: bytes) -> bytes:
    return relaxed_header(field)


@lru_cache(maxsize=4)
def _date(at: datetime) -> bytes:
    return rfc5322_date(at).encode()
