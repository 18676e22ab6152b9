"""Compact signed tokens that name one recipient of one campaign, for links in letters.

A token is `ids.mac`, of a link `ids.number.mac`: an octet with the lengths of both ids and the
ids, in base64 for URLs; 96 bits of a keyed SHAKE128. All tokens of a letter share one digest, of
which each takes its own piece, so that the token of an open pixel is none of an unsubscribe link.
"""

from __future__ import annotations

import hmac
from binascii import Error, a2b_base64, b2a_base64
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b, shake_128
from struct import Struct

from django.conf import settings

MOST_LINKS = 1000
_MAC_OCTETS, _MAC_LENGTH = 12, 16  # as octets, and in base64
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


class Kind(IntEnum):
    """The piece of the digest that a token takes; the pieces of links follow."""

    MESSAGE_ID = 0
    UNSUBSCRIBE = 1
    OPEN = 2
    CLICK = 3


class LetterTokens:
    """The tokens of one letter with `links` numbered links.

    `ids` opens each; `macs` are those of the kinds, in order, and of the links.
    """

    __slots__ = ("_packed", "ids", "macs")

    def __init__(self, campaign_id: int, contact_id: int, links: int = 0) -> None:
        ids = _pack(campaign_id, contact_id)
        macs = shake_128(_key(settings.SECRET_KEY) + ids).digest(_MAC_OCTETS * (3 + links))
        self._packed = ids
        self.ids = _encode(ids).rstrip(b"=")
        self.macs = _cutter(3 + links).unpack(_encode(macs))

    def of(self, kind: Kind) -> str:
        """About 24 URL-safe characters."""
        return f"{self.ids.decode()}.{self.mac(kind)}"

    @property
    def view_mac(self) -> bytes:
        """Of the letter's page in a browser: few letters have one, so it has its own digest."""
        key = _key(f"view:{settings.SECRET_KEY}")
        return _encode(shake_128(key + self._packed).digest(_MAC_OCTETS))

    def link(self, number: int) -> str:
        """Of a link, counted from 1."""
        return f"{self.ids.decode()}.{number}.{self.macs[Kind.CLICK + number - 1].decode()}"

    def mac(self, kind: Kind) -> str:
        return str(self.macs[kind], "ascii")


@lru_cache(maxsize=64)
def _cutter(macs: int) -> Struct:
    return Struct(f"{_MAC_LENGTH}s" * macs)


def sign(kind: Kind, campaign_id: int, contact_id: int, link: int = 0) -> str:
    """One token; `link` is the number of a link, counted from 1, for CLICK alone."""
    tokens = LetterTokens(campaign_id, contact_id, link)
    return tokens.link(link) if kind == Kind.CLICK else tokens.of(kind)


def read(kind: Kind, token: str) -> tuple[int, int, int] | None:
    """(campaign id, contact id, link or 0), or None for what we did not sign."""
    ids, *number = token.split(".")[:-1] or [""]
    if not (20 <= len(token) <= 60 and token.isascii() and len(number) == (kind == Kind.CLICK)):
        return None
    link = int(number[0]) if number and number[0].isdecimal() else 0
    numbers = _unpack(ids)
    if numbers is None or not (kind != Kind.CLICK or 1 <= link <= MOST_LINKS):
        return None
    # The whole token is compared, so that nothing in it can be written in another way.
    return (*numbers, link) if hmac.compare_digest(token, sign(kind, *numbers, link)) else None


def sign_view(campaign_id: int, contact_id: int) -> str:
    """Of the page that shows the letter of one recipient."""
    signed = LetterTokens(campaign_id, contact_id)
    return f"{signed.ids.decode()}.{signed.view_mac.decode()}"


def read_view(token: str) -> tuple[int, int] | None:
    """(campaign id, contact id), or None for what we did not sign."""
    if not (20 <= len(token) <= 60 and token.isascii() and token.count(".") == 1):
        return None
    numbers = _unpack(token.partition(".")[0])
    if numbers is None:
        return None
    return numbers if hmac.compare_digest(token, sign_view(*numbers)) else None


def _pack(campaign_id: int, contact_id: int) -> bytes:
    first = (campaign_id.bit_length() + 7) >> 3
    second = (contact_id.bit_length() + 7) >> 3
    return b"%c%b%b" % (
        first << 4 | second,
        campaign_id.to_bytes(first, "big"),
        contact_id.to_bytes(second, "big"),
    )


def _unpack(ids: str) -> tuple[int, int] | None:
    try:
        packed = a2b_base64(ids.encode().translate(_FROM_URL) + b"=" * (-len(ids) % 4))
    except Error:
        return None
    if not packed or len(packed) != 1 + (packed[0] >> 4) + (packed[0] & 15):
        return None
    first = 1 + (packed[0] >> 4)
    numbers = int.from_bytes(packed[1:first], "big"), int.from_bytes(packed[first:], "big")
    return numbers if max(numbers) < 1 << 63 else None


def _encode(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_TO_URL)


@lru_cache(maxsize=2)
def _key(secret: str) -> bytes:
    """As long as a block of the hash, so that it fills the first one."""
    return blake2b(f"recipient token:{secret}".encode(), digest_size=64).digest()
