"""A message that is fit to be sent: checked once, ready for the wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WireMessage:
    """`stuffed`: the content with its opening dots doubled (RFC 5321 section 4.5.2), ending in
    CRLF, without the final dot. `tail`: ASCII behind it that many messages share, none of whose
    lines begins with a dot, ending in CRLF too. `size` is that of both in octets, before stuffing
    (RFC 1870). `utf8` says that the headers are not ASCII, `eight_bit` that something is not."""

    stuffed: bytes
    size: int
    utf8: bool = False
    eight_bit: bool = False
    tail: bytes = b""

    def blocks(self, size: int) -> list[memoryview]:
        """The whole in pieces of up to `size` octets, none of them copied."""
        return [
            memoryview(octets)[start : start + size]
            for octets in (self.stuffed, self.tail)
            for start in range(0, len(octets), size)
        ]


def prepare(message: bytes, tail: bytes = b"") -> WireMessage:
    """Check and stuff a message; `tail` is as it has to be.

    Raises ValueError for a bare CR or LF and for a NUL.
    """
    refuse_bare_line_ends(message)
    ascii_only = message.isascii()
    whole = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    return WireMessage(
        stuff(whole),
        len(whole) + len(tail),
        utf8=not ascii_only and not _headers(message).isascii(),
        eight_bit=not ascii_only,
        tail=tail,
    )


def refuse_bare_line_ends(data: bytes) -> None:
    """Raises ValueError where a server could see the end of a line that we do not."""
    line_ends = data.count(b"\r\n")
    if data.count(b"\n") != line_ends or data.count(b"\r") != line_ends:
        raise ValueError("a bare CR or LF in the message")
    if b"\0" in data:
        raise ValueError("a NUL in the message")


def stuff(message: bytes) -> bytes:
    """Double the dots that open a line."""
    stuffed = message.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _headers(message: bytes) -> bytes:
    return (b"\r\n" + message).partition(b"\r\n\r\n")[0]
