"""Secrets at rest: encrypted with keys derived from ENCRYPTION_KEYS, else from SECRET_KEY."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def encrypt(value: str) -> bytes:
    """A token that only these keys open; b"" for an empty value."""
    return _fernet().encrypt(value.encode()) if value else b""


def decrypt(token: bytes | memoryview) -> str:
    """Raises cryptography.fernet.InvalidToken for a token of other keys or a damaged one."""
    return _fernet().decrypt(bytes(token)).decode() if token else ""


def keyed_hash(purpose: str, value: str) -> str:
    """HMAC-SHA256 of the value under SECRET_KEY, as 64 hexadecimal digits."""
    key = hashlib.sha256(f"{purpose}:{settings.SECRET_KEY}".encode()).digest()
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def installation() -> str:
    """Tells this installation from another one on the same machine; no secret."""
    return keyed_hash("installation", "")[:16]


def _fernet() -> MultiFernet:
    return _fernet_of(tuple(settings.ENCRYPTION_KEYS))


@lru_cache(maxsize=4)
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    """The first key encrypts, all decrypt: a new key is put in front, the old one kept behind."""
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys]
    )
