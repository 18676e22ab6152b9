from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from core import environment


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("X", raising=False)
    return monkeypatch


def test_text_takes_blank_for_missing(variable: pytest.MonkeyPatch) -> None:
    assert environment.text("X", "default") == "default"
    for value in ("", "  "):
        variable.setenv("X", value)
        assert environment.text("X", "default") == "default"
    variable.setenv("X", " a b ")
    assert environment.text("X", "default") == "a b"


@pytest.mark.parametrize("default", [True, False])
def test_flags(variable: pytest.MonkeyPatch, default: bool) -> None:
    assert environment.flag("X", default) is default
    for value in ("1", "TRUE", "yes", "On"):
        variable.setenv("X", value)
        assert environment.flag("X", default) is True
    for value in ("0", "False", "no", "off"):
        variable.setenv("X", value)
        assert environment.flag("X", default) is False
    for value in ("2", "y", "maybe"):
        variable.setenv("X", value)
        with pytest.raises(ImproperlyConfigured, match="X must be"):
            environment.flag("X", default)


def test_numbers(variable: pytest.MonkeyPatch) -> None:
    assert environment.number("X", 7, least=1) == 7
    variable.setenv("X", "12")
    assert environment.number("X", 7, least=1) == 12
    for value in ("0", "-1", "1.5", "1e3", "many"):
        variable.setenv("X", value)
        with pytest.raises(ImproperlyConfigured, match="X must be"):
            environment.number("X", 7, least=1)


def test_words(variable: pytest.MonkeyPatch) -> None:
    assert environment.words("X") == []
    assert environment.words("X", "a,b") == ["a", "b"]
    variable.setenv("X", " one ,, two,")
    assert environment.words("X") == ["one", "two"]


def test_databases() -> None:
    found = environment.database(
        "postgresql://user%40x:p%2Fw%3A@[::1]:5433/my%20db?sslmode=require"
    )
    assert found == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "my db",
        "USER": "user@x",
        "PASSWORD": "p/w:",
        "HOST": "::1",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require"},
    }
    assert environment.database("postgres:///name")["HOST"] == ""


@pytest.mark.parametrize("url", ["", "mysql://a/b", "postgresql://host", "postgresql://host/"])
def test_what_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        environment.database(url)
