"""Compact signed tokens that name one recipient of one campaign, for links in letters.

A token is `ids.mac`, of a link `ids.number.mac`: an octet with the lengths of both ids and the
ids, in base64 for URLs; 96 bits of a keyed SHAKE128. All tokens of a letter share one digest, of
which each takes its own piece, so that the token of an open pixel is none of an unsubscribe link.

The local part of an address of ours is `b+` or `unsubscribe+` and such a token in hexadecimal,
without a dot: some servers write local parts in small letters. It has a digest of its own.
"""

from __future__ import annotations

import hmac
import re
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
        """Of a link, counted from 1; 0 is the one that no person sees, with the pixel's piece."""
        return f"{self.ids.decode()}.{number}.{self.macs[Kind.CLICK + number - 1].decode()}"

    def mac(self, kind: Kind) -> str:
        return str(self.macs[kind], "ascii")


# What the mailboxes are for whose addresses carry a token, by the word before it.
RETURN_PATH, UNSUBSCRIBE_BY_MAIL = "b", "unsubscribe"
_MAILBOXES = (RETURN_PATH, UNSUBSCRIBE_BY_MAIL)
_MAC_DIGITS = 2 * _MAC_OCTETS


def local_part(mailbox: str, campaign_id: int, contact_id: int) -> str:
    """Of an address that names one letter: `b+…`, up to 60 octets in small letters."""
    ids = _pack(campaign_id, contact_id)
    return f"{mailbox}+{ids.hex()}{_mailbox_mac(mailbox, ids)}"


def read_local_part(text: str) -> tuple[str, int, int] | None:
    """(mailbox, campaign id, contact id), in any case; None for what we did not make."""
    mailbox, plus, token = text.lower().partition("+")
    if not (plus and mailbox in _MAILBOXES and token.isascii() and len(token) <= 2 * 17 + 24):
        return None
    try:
        ids = bytes.fromhex(token[:-_MAC_DIGITS])
    except ValueError:
        return None
    numbers = _numbers(ids)
    if numbers is None:
        return None
    ours = local_part(mailbox, *numbers)
    return (mailbox, *numbers) if hmac.compare_digest(f"{mailbox}+{token}", ours) else None


_MESSAGE_ID = re.compile(r"<?(\d{1,19})\.(\d{1,19})\.([A-Za-z0-9_-]{16})@")


def read_message_id(text: str) -> tuple[int, int] | None:
    """(campaign id, contact id) of a Message-ID that we gave; None for any other."""
    found = _MESSAGE_ID.match(text)
    if found is None:
        return None
    numbers = int(found[1]), int(found[2])
    if max(numbers) >= 1 << 63:
        return None
    ours = LetterTokens(*numbers).mac(Kind.MESSAGE_ID)
    return numbers if hmac.compare_digest(found[3], ours) else None


def _mailbox_mac(mailbox: str, ids: bytes) -> str:
    hashed = _mailbox_hash(settings.SECRET_KEY, mailbox).copy()
    hashed.update(ids)
    return hashed.hexdigest()


@lru_cache(maxsize=4)
def _mailbox_hash(secret: str, mailbox: str) -> blake2b:
    return blake2b(key=_key(secret), digest_size=_MAC_OCTETS, person=mailbox.encode())


@lru_cache(maxsize=64)
def _cutter(macs: int) -> Struct:
    return Struct(f"{_MAC_LENGTH}s" * macs)


def sign(kind: Kind, campaign_id: int, contact_id: int, link: int = 0) -> str:
    """One token; `link` is the number of a link, for CLICK alone."""
    tokens = LetterTokens(campaign_id, contact_id, link)
    return tokens.link(link) if kind == Kind.CLICK else tokens.of(kind)


def read(kind: Kind, token: str) -> tuple[int, int, int] | None:
    """(campaign id, contact id, link or 0), or None for what we did not sign."""
    ids, *number = token.split(".")[:-1] or [""]
    if not (20 <= len(token) <= 60 and token.isascii() and len(number) == (kind == Kind.CLICK)):
        return None
    link = int(number[0]) if number and number[0].isdecimal() else 0
    numbers = _unpack(ids)
    if numbers is None or link > MOST_LINKS:
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
    return _numbers(packed)


def _numbers(packed: bytes) -> tuple[int, int] | None:
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
