"""Our own letters: complete in both languages, and what every letter needs."""

from __future__ import annotations

import re

import pytest

from apps.content import starters
from apps.content.services.letters import html_of
from apps.content.starters import _FOLDER, _TEXT, Starter
from mailkit.css import inline_css
from mailkit.mjml import not_for_builder
from mailkit.personalize import Template, compile_template
from mailkit.preflight import look_at


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("starter", starters.all_starters(), ids=lambda one: one.slug)
def test_every_letter(starter: Starter, language: str) -> None:
    source = starter.source(language)
    html = html_of(editor="mjml", design=source)
    assert not_for_builder(source) == ""
    assert "[[" not in html
    assert re.search(r"<mj-preview>[^<]{10,90}</mj-preview>", source)
    assert "{{ unsubscribe_url }}" in html
    assert "{{ postal_address }}" in html
    assert 'content="light dark"' in html
    assert "prefers-color-scheme" in html
    assert f'lang="{language}"' in html
    assert len(html.encode()) < 60_000  # Gmail cuts letters at 102 KB
    # Nothing is fetched from anywhere when it is opened.
    assert not re.search(r"<img|<link|@import|url\(", html)
    # Nor does preflight take its layout for a trick.
    looks = look_at(inline_css(html))
    assert looks.hidden < 100 < looks.seen
    template = compile_template(html, html=True)
    assert isinstance(template, Template)


def test_texts_are_complete_in_russian() -> None:
    used = {text for file in _FOLDER.glob("*.mjml") for text in _TEXT.findall(file.read_text())}
    assert used == set(starters.texts("ru"))


def test_every_file_is_offered() -> None:
    files = {file.stem for file in _FOLDER.glob("*.mjml")} - {"frame"}
    assert files == {one.slug for one in starters.all_starters()}
    assert len(files) == 10
