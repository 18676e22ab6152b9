"""Our own letters to begin with: MJML files beside this one, in English and Russian.

A file holds a preheader and sections; `frame.mjml` goes around them. What is read stands in
[[double brackets]], in English; `ru.json` has the Russian for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

_FOLDER = Path(__file__).parent
_TEXT = re.compile(r"\[\[(.+?)\]\]", re.DOTALL)
_PREHEADER = re.compile(r"<mj-preview>.*?</mj-preview>\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Starter:
    slug: str
    name: Promise
    about: Promise

    def source(self, language: str = "") -> str:
        """The letter in a language, by default that of the page."""
        return _source(self.slug, language or (get_language() or "en")[:2])


_ALL = {
    one.slug: one
    for one in (
        Starter("welcome", _("Welcome"), _("The first letter after somebody subscribed")),
        Starter("newsletter", _("Newsletter"), _("Several pieces of news, one of them large")),
        Starter("announcement", _("Product announcement"), _("Something new and what it does")),
        Starter("sale", _("Sale"), _("A discount with its code and its last day")),
        Starter("event", _("Event invitation"), _("When, where and what will happen")),
        Starter("reminder", _("Reminder"), _("What was begun and not finished, as a basket")),
        Starter("digest", _("Digest"), _("Short links to what was new")),
        Starter("survey", _("Survey"), _("One question with answers to click")),
        Starter("thanks", _("Thank you"), _("After an order, with its details")),
        Starter("personal", _("Personal letter"), _("Plain words from one person to another")),
    )
}


def all_starters() -> list[Starter]:
    return list(_ALL.values())


def get(slug: str) -> Starter | None:
    return _ALL.get(slug)


@cache
def _source(slug: str, language: str) -> str:
    letter = (_FOLDER / f"{slug}.mjml").read_text()
    frame = (_FOLDER / "frame.mjml").read_text()
    found = _PREHEADER.match(letter)
    assert found is not None, slug
    source = frame.replace("<!-- preheader -->\n", found[0]).replace(
        "<!-- sections -->\n", letter[found.end() :]
    )
    words = texts(language)
    return _TEXT.sub(lambda text: words.get(text[1], text[1]), source)


@cache
def texts(language: str) -> dict[str, str]:
    """English to another language; empty for English itself."""
    path = _FOLDER / f"{language}.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found
