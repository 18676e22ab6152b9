from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template import Context, Template
from django.utils import translation

from core.templatetags import ui

ROOT = Path(settings.BASE_DIR)


def icons_used() -> set[str]:
    """Names as in package.json of the icons that templates and views ask for."""
    names: set[str] = set()
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        names |= set(re.findall(r"""{%\s*icon\s+["']([\w/-]+)""", text))
        names |= set(re.findall(r"""icon_name=["']([\w/-]+)""", text))
        names |= set(re.findall(r"""{% nav_link "[\w:]+" \w+ "([\w/-]+)\"""", text))
    return {name if "/" in name else f"outline/{name}" for name in names}


def test_every_icon_used_is_named_in_package_json() -> None:
    named = set(json.loads((ROOT / "package.json").read_text())["icons"])
    assert icons_used() - named == set()


def test_icons_are_installed() -> None:
    missing = [name for name in icons_used() if not finders.find(f"vendor/icons/{name}.svg")]
    assert missing == []


def test_an_icon_is_decoration() -> None:
    drawing = Template('{% load ui %}{% icon "users" "me-2" %}').render(Context())
    assert 'aria-hidden="true"' in drawing
    assert 'class="icon me-2"' in drawing
    assert "<path" in drawing
    assert "style=" not in drawing


def test_an_unknown_icon_says_what_to_do() -> None:
    with pytest.raises(LookupError, match=r"package\.json"):
        ui.icon("no-such-icon")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "1 s"), (59.4, "59 s"), (60, "1 min"), (61, "2 min"), (3599, "1 h 0 min"),
     (7500, "2 h 5 min")],
)  # fmt: skip
def test_time_left(seconds: float | None, text: str) -> None:
    with translation.override("en"):
        assert ui.time_left(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(None, ""), (0, ""), (0.001, "1 / min"), (2, "120 / min"), (1250.4, "1,250 / s")],
)
def test_rate(per_second: float | None, text: str) -> None:
    with translation.override("en"):
        assert ui.rate(per_second) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, ""), (None, 10, "0%"), (0, 10, "0%"), (1, 1000, "<1%"), (999, 1000, "99%"),
     (10, 10, "100%")],
)  # fmt: skip
def test_share_is_all_or_nothing_only_when_it_is(part: int | None, whole: int, text: str) -> None:
    with translation.override("en"):
        assert ui.share(part, whole) == text


def test_a_meter_keeps_its_numbers_in_any_language() -> None:
    with translation.override("ru"):
        meter = ui.meter(1234.5, 100000, "Импорт")
    assert 'value="1234.5" max="100000"' in meter
    assert "value=" not in ui.meter(5, None, "Import")
    assert 'value="10" max="10"' in ui.meter(12, 10, "Import")


def test_labels_are_escaped() -> None:
    assert "<b>" not in ui.badge("valid", "<b>")
    assert "<b>" not in ui.meter(1, 2, "<b>")
