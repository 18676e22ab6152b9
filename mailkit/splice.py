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
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import lru_cache

from mailkit.attachments import Attachments
from mailkit.dkim import Signer, body_hash, relaxed_header, relaxed_lines
from mailkit.mime import (
    CUT,
    Encoding,
    Letter,
    boundary_of,
    compose,
    header,
    mixed_header,
    one_line,
    part_headers,
    quoted_piece,
    quoted_pieces,
    rfc5322_date,
)
from mailkit.personalize import RenderFault, Template, compile_template
from mailkit.slots import SOFT_BREAK, Filler, Skeleton, Slot, Values, Whole, plain_slots
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

# What compose writes into the headers as it stands.
_PLAIN_ADDRESS = re.compile(r"[!-;=?-~]{1,66}@[!-;=?-~]{1,190}")
_WAYS_OUT_ON_A_LINE = 78 - len("List-Unsubscribe: ")
_PLAIN_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")


@dataclass(slots=True)
class Recipient:
    """What differs between two letters. `plain` are the values of the letter's plain fields.

    `unsubscribe_email` is an address that takes a no, empty for none.
    """

    to: str
    message_id: str
    unsubscribe_url: str
    values: Mapping[str, object]
    plain: Sequence[bytes] = ()
    unsubscribe_email: str = ""


def choose_encoding(source: str) -> Encoding:
    """How to encode a part whose template is `source`: the same for all recipients."""
    foreign = len(source) - len(source.encode("ascii", "ignore"))
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


class CompiledLetter:
    """A letter to many. `make` gives one recipient's message or says why there is none.

    `headers` are the same in all letters; `list_unsubscribe` adds the two headers of RFC 8058.
    The values of `plain_fields` are up to 74 octets of ASCII with nothing in them that HTML or
    quoted-printable writes in another way, such as the address of a link.
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
        plain_fields: Sequence[str] = (),
        attachments: Attachments | None = None,
        signer_of: Callable[[Sequence[bytes]], Signer | None] = lambda names: None,
    ) -> None:
        """`signer_of` gives the signer for the names of the header fields to sign."""
        self._from_mailbox, self._headers = from_mailbox, headers
        self._subject, self._html, self._text = subject, html, text
        self._list_unsubscribe = list_unsubscribe
        self._plain_fields = tuple(plain_fields)
        self._attachments = attachments
        self._mixed = attachments.boundary if attachments else b""
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

    def make(self, recipient: Recipient, at: datetime) -> WireMessage | RenderFault:
        """Raises ValueError for a value that no letter can hold."""
        tail = self._attachments.tail() if self._attachments else b""
        spliced = self._plain.splice(recipient, at, tail) if self._plain else None
        return spliced or self._general(recipient, at, tail)

    def general(self, recipient: Recipient, at: datetime) -> bytes | RenderFault:
        """The message up to its files by way of Liquid and `compose`, unsigned."""
        rendered = []
        values = _all_values(recipient, self._plain_fields)
        for template in (self._subject, *self._marked):
            part = template.render(values) if template else ""
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
                mixed=self._mixed,
            )
        )

    def _general(
        self, recipient: Recipient, at: datetime, tail: bytes
    ) -> WireMessage | RenderFault:
        message = self.general(recipient, at)
        if isinstance(message, RenderFault):
            return message
        if self._signer is None:
            return prepare(message, tail)
        return prepare(self._sign(message, at, tail) + message, tail)

    def _sign(self, message: bytes, at: datetime, tail: bytes) -> bytes:
        assert self._signer is not None
        head, _, body = message.partition(b"\r\n\r\n")
        fields = {}
        for raw in re.split(rb"\r\n(?![ \t])", head):
            canonical = relaxed_header(raw)
            fields[canonical.partition(b":")[0]] = canonical
        canonical = b"".join(fields[name] for name in (*_SIGNED, *self._signed_headers))
        hashed = body_hash(relaxed_lines(body), tail)
        return self._signer.sign(canonical, hashed, int(at.timestamp()))

    def _unsubscribe_headers(self, recipient: Recipient) -> tuple[tuple[str, str], ...]:
        if not self._list_unsubscribe:
            return ()
        return (
            ("List-Unsubscribe", _ways_out(recipient)),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        )

    def _compile(self) -> _Plain | None:
        from_header = header("From", self._from_mailbox).encode()
        headers = [header(name, value).encode() for name, value in self._headers]
        if not all(field.isascii() for field in (from_header, *headers)):  # takes SMTPUTF8
            return None
        subject = plain_slots(self._subject.source)
        parts = []
        for template, encoding in zip((self._text, self._html), self._encodings, strict=True):
            pieces = plain_slots(template.source) if template else []
            if pieces is None:
                return None
            if template:
                parts.append((pieces, encoding))
        if subject is None:
            return None
        return _Plain(
            from_header=from_header,
            subject=subject,
            parts=parts,
            headers=headers,
            list_unsubscribe=self._list_unsubscribe,
            plain_fields=self._plain_fields,
            mixed=self._mixed,
            signer=self._signer,
        )


def _all_values(recipient: Recipient, plain_fields: Sequence[str]) -> Mapping[str, object]:
    plain = (value.decode() for value in recipient.plain)
    return {**recipient.values, **dict(zip(plain_fields, plain, strict=True))}


class _Moving(IntEnum):
    """The places of what differs between letters. Behind them come the plain fields, then the
    other values for the text, then for the HTML."""

    TO = 0
    SUBJECT = 1
    DATE = 2
    MESSAGE_ID = 3
    WAYS_OUT = 4
    BOUNDARY = 5
    WHOLE_TEXT = 6
    WHOLE_HTML = 7
    SIGNED_SUBJECT = 8
    SIGNED_WAYS_OUT = 9
    SIGNATURE = 10


_Layout = list[bytes | int]


class _Plain:
    """The compiled form of a letter of plain merge fields.

    `parts`: the plain text and, where there is one, the HTML, each with its encoding.
    """

    def __init__(
        self,
        *,
        from_header: bytes,
        subject: Sequence[str | Slot],
        parts: Sequence[tuple[Sequence[str | Slot], Encoding]],
        headers: list[bytes],
        list_unsubscribe: bool,
        plain_fields: Sequence[str],
        mixed: bytes,
        signer: Signer | None,
    ) -> None:
        self._subject, self._signer = Filler(subject, html=False), signer
        self._plain_fields = plain_fields
        # A subject or a part in base64 is filled from all values.
        self._needs_all = any(
            isinstance(piece, Slot) and piece.name in plain_fields for piece in subject
        ) or any(encoding == "base64" for _, encoding in parts)
        self._values = Values()
        self._wholes: list[Whole | None] = []
        self._places: list[list[int]] = []  # among the values of each part, without plain fields
        slots_of = []
        stuffed, relaxed = [], []
        self._dots = 0
        self._bare: list[int] = []  # parts of nothing but fields: such a part can be empty
        for number, (pieces, encoding) in enumerate(parts):
            whole = encoding == "base64"
            self._wholes.append(Whole(pieces, html=number == 1) if whole else None)
            slots = [] if whole else [piece for piece in pieces if isinstance(piece, Slot)]
            slots_of.append(slots)
            self._places.append(
                [self._values.add(slot) for slot in slots if slot.name not in plain_fields]
            )
            encoded = _encoded([piece for piece in pieces if isinstance(piece, str)])
            if not (whole or any(encoded) or any(slot.name in plain_fields for slot in slots)):
                self._bare.append(number)
            stuffed.append([stuff(piece) for piece in encoded])
            relaxed.append([relaxed_lines(piece) for piece in encoded])
            self._dots += 0 if whole else sum(map(len, stuffed[-1])) - sum(map(len, encoded))
        heads = [
            part_headers(subtype, encoding)
            for subtype, (_, encoding) in zip(("plain", "html"), parts, strict=False)
        ]
        fields, signed_fields = _header_fields(
            from_header,
            headers,
            None if len(parts) == 2 else heads[0],
            list_unsubscribe,
            mixed,
        )
        body, signed_body = (
            self._body(
                heads,
                [
                    self._part(number, slots, one)
                    for number, (slots, one) in enumerate(zip(slots_of, pieces, strict=True))
                ],
            )
            for pieces in (stuffed, relaxed)
        )
        if mixed:
            opening = _mixed_opening(mixed, heads[0] if len(parts) == 1 else None)
            body, signed_body = [*opening, *body], [*opening, *signed_body]
        self._message = Skeleton([_Moving.SIGNATURE, *fields, *body])
        self._signed_fields = Skeleton(signed_fields)
        self._signed_body = Skeleton(signed_body)

    def _body(self, heads: list[bytes], parts: list[_Layout]) -> _Layout:
        """All behind the empty line."""
        if len(parts) == 1:
            (part,) = parts
            last = part[-1]
            ended = isinstance(last, bytes) and (not last or last.endswith(b"\r\n"))
            return part if ended else [*part, b"\r\n"]
        delimiter: _Layout = [b"--", _Moving.BOUNDARY]
        text, html = parts
        return [
            *delimiter, b"\r\n", heads[0], *text, b"\r\n",
            *delimiter, b"\r\n", heads[1], *html, b"\r\n",
            *delimiter, b"--\r\n",
        ]  # fmt: skip

    def _part(self, number: int, slots: list[Slot], pieces: list[bytes]) -> _Layout:
        if self._wholes[number]:
            return [_Moving.WHOLE_TEXT + number]
        first = len(_Moving) + len(self._plain_fields) + number * len(self._values)
        layout: _Layout = [pieces[0]]
        for slot, piece in zip(slots, pieces[1:], strict=True):
            if slot.name in self._plain_fields:
                place = len(_Moving) + self._plain_fields.index(slot.name)
                layout += [place, SOFT_BREAK + piece]
            else:
                layout += [first + self._values.add(slot), piece]
        return layout

    def splice(self, recipient: Recipient, at: datetime, tail: bytes) -> WireMessage | None:
        """None where it takes the general way."""
        named: Mapping[str, object] = recipient.values
        if self._needs_all:
            named = _all_values(recipient, self._plain_fields)
        subject_text = self._subject.fill(named)
        values = self._values.encode(named)
        if subject_text is None or values is None or not _plain_headers(recipient):
            return None
        wholes = [whole.encode(named) if whole else b"" for whole in self._wholes]
        if None in wholes:
            return None
        subject, message_id = _subject_header(subject_text), recipient.message_id
        ways_out = _ways_out(recipient).encode()
        moving = [
            recipient.to.encode(), subject, _date(at), message_id.encode(),
            _folded(ways_out), boundary_of(message_id),
            wholes[0] or b"", wholes[-1] or b"",
        ]  # fmt: skip
        texts, htmls, signed_texts, signed_htmls, *dots = zip(*values, strict=True)
        for number in self._bare:
            if not any((texts, htmls)[number][place] for place in self._places[number]):
                return None
        if len(recipient.plain) != len(self._plain_fields):
            raise ValueError("a plain field without a value")
        if self._signer is None:
            moving += (b"", b"", b"")
        else:
            moving += (_signed_header(subject), ways_out, b"")
            canonical = self._signed_body.fill(
                [*moving, *recipient.plain, *signed_texts, *signed_htmls]
            )
            moving[_Moving.SIGNATURE] = self._signer.sign(
                self._signed_fields.fill(moving), body_hash(canonical, tail), int(at.timestamp())
            )
        message = self._message.fill([*moving, *recipient.plain, *texts, *htmls])
        doubled = self._dots
        if any(map(any, dots)):
            for places, in_part in zip(self._places, dots, strict=False):
                doubled += sum(in_part[place] for place in places)
        return WireMessage(message, len(message) - doubled + len(tail), tail=tail)


def _encoded(texts: Sequence[str]) -> list[bytes]:
    """The text between the values, in quoted-printable."""
    return [*map(quoted_piece, texts[:-1]), quoted_pieces(texts[-1:])]


def _mixed_opening(boundary: bytes, only: bytes | None) -> _Layout:
    """What comes before the text where files follow; `only`: the headers of the text part where
    there is but one. Canonical as it stands."""
    delimiter = b"--%b\r\n" % boundary
    if only:
        return [delimiter + only]
    return [
        delimiter + b'Content-Type: multipart/alternative; boundary="', _Moving.BOUNDARY,
        b'"\r\n\r\n',
    ]  # fmt: skip


def _header_fields(
    from_header: bytes,
    headers: list[bytes],
    only: bytes | None,
    list_unsubscribe: bool,
    mixed: bytes,
) -> tuple[_Layout, _Layout]:
    """The headers up to the empty line, and the canonical form of those that are signed.

    `only`: the headers of the part where there is but one. `mixed`: what parts it from files.
    """
    unsubscribe: _Layout = []
    signed_unsubscribe: _Layout = []
    if list_unsubscribe:
        unsubscribe = [
            b"List-Unsubscribe: ", _Moving.WAYS_OUT,
            b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        ]  # fmt: skip
        signed_unsubscribe = [
            b"list-unsubscribe:", _Moving.SIGNED_WAYS_OUT,
            b"\r\nlist-unsubscribe-post:List-Unsubscribe=One-Click\r\n",
        ]  # fmt: skip
    kind = b'multipart/alternative; boundary="'
    content: _Layout = [b"Content-Type: " + kind, _Moving.BOUNDARY, b'"\r\n\r\n']
    signed_content: _Layout = [b"content-type:" + kind, _Moving.BOUNDARY, b'"\r\n']
    if mixed:
        kind = mixed_header(mixed)
        content, signed_content = [kind + b"\r\n\r\n"], [relaxed_header(kind)]
    elif only:
        content, signed_content = [only], [relaxed_header(only.partition(b"\r\n")[0])]
    fields: _Layout = [
        from_header, b"\r\nTo: ", _Moving.TO, b"\r\n", _Moving.SUBJECT, b"\r\nDate: ", _Moving.DATE,
        b"\r\nMessage-ID: ", _Moving.MESSAGE_ID, b"\r\n", *(field + b"\r\n" for field in headers),
        *unsubscribe, b"MIME-Version: 1.0\r\n", *content,
    ]  # fmt: skip
    signed_fields: _Layout = [
        relaxed_header(from_header), b"to:", _Moving.TO, b"\r\n", _Moving.SIGNED_SUBJECT,
        b"date:", _Moving.DATE, b"\r\nmessage-id:", _Moving.MESSAGE_ID,
        b"\r\nmime-version:1.0\r\n", *signed_content, *map(relaxed_header, headers),
        *signed_unsubscribe,
    ]  # fmt: skip
    return fields, signed_fields


def _ways_out(recipient: Recipient) -> str:
    """The value of List-Unsubscribe (RFC 2369 section 3.2): the best way first."""
    url, email = recipient.unsubscribe_url, recipient.unsubscribe_email
    return f"<{url}>, <mailto:{email}>" if email else f"<{url}>"


def _folded(ways_out: bytes) -> bytes:
    """As `mime.header` folds List-Unsubscribe: the one space in it is between the two ways."""
    return ways_out.replace(b", ", b",\r\n ") if len(ways_out) > _WAYS_OUT_ON_A_LINE else ways_out


def _plain_headers(recipient: Recipient) -> bool:
    url, email = recipient.unsubscribe_url, recipient.unsubscribe_email
    return bool(
        (url.isascii() and url.isprintable() and " " not in url and len(url) <= 900)
        and (not email or _PLAIN_ADDRESS.fullmatch(email))
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
