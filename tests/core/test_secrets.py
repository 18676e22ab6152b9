from __future__ import annotations

import pytest
from cryptography.fernet import InvalidToken
from django.conf import LazySettings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core import secrets


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_encrypted_is_decrypted(value: str) -> None:
    token = secrets.encrypt(value)
    assert secrets.decrypt(token) == value
    assert secrets.decrypt(memoryview(token)) == value
    assert bool(token) is bool(value)


def test_the_same_value_encrypts_differently_each_time() -> None:
    assert secrets.encrypt("a") != secrets.encrypt("a")


@pytest.mark.parametrize("damage", [lambda t: t[:-1], lambda t: b"x" + t, lambda t: b"junk"])
def test_a_damaged_token_is_an_error(damage: object) -> None:
    with pytest.raises(InvalidToken):
        secrets.decrypt(damage(secrets.encrypt("a")))  # type: ignore[operator]


def test_keys_rotate(settings: LazySettings) -> None:
    settings.ENCRYPTION_KEYS = ["one"]
    old = secrets.encrypt("value")
    settings.ENCRYPTION_KEYS = ["two", "one"]
    new = secrets.encrypt("value")
    assert secrets.decrypt(old) == secrets.decrypt(new) == "value"
    settings.ENCRYPTION_KEYS = ["one"]
    with pytest.raises(InvalidToken):
        secrets.decrypt(new)
    settings.ENCRYPTION_KEYS = ["two"]
    assert secrets.decrypt(new) == "value"


def test_hashes_depend_on_purpose_value_and_secret(settings: LazySettings) -> None:
    first = secrets.keyed_hash("a", "b")
    assert len(first) == 64
    others = [secrets.keyed_hash("a", "c"), secrets.keyed_hash("x", "b")]
    settings.SECRET_KEY = "another" * 10
    others.append(secrets.keyed_hash("a", "b"))
    assert len({first, *others}) == 4
