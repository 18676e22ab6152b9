"""MJML: compiled with Liquid tags untouched, faults with their lines."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.liquid import TAG, escape_tags, hold, unescape_tags
from mailkit.mjml import MAX_DEPTH, MjmlFault, compile_mjml, for_builder, not_for_builder
from mailkit.richtext import clean_rich_text, rich_letter, rich_text_of

LETTER = """<mjml>
<mj-body>
<mj-section>
<mj-column>
<mj-text>%s</mj-text>
</mj-column>
</mj-section>
</mj-body>
</mjml>"""
# What people put into a tag: quotes, comparisons, markup, other alphabets, line breaks.
inside = st.lists(
    st.sampled_from([*"ab1 .|:,_-\"'<>&;=#/\nя€", "&amp;", "<br>", "</mj-text>"]), max_size=30
).map("".join)
tags = st.one_of(
    inside.map(lambda text: "{{" + text + "}}"), inside.map(lambda text: "{%" + text + "%}")
)


def compiled(source: str) -> str:
    html = compile_mjml(source)
    assert isinstance(html, str), html
    return html


def fault(source: str) -> tuple[int, str]:
    found = compile_mjml(source)
    assert isinstance(found, MjmlFault), found
    return found.line, found.message_code


@given(st.lists(tags, min_size=1, max_size=5), st.lists(tags, max_size=3))
def test_tags_survive_byte_for_byte(texts: list[str], addresses: list[str]) -> None:
    buttons = "".join(
        f'<mj-button href="https://a.test/{tag}?x=1">b</mj-button>' for tag in addresses
    )
    text = "<b>и</b> ".join(texts)
    source = LETTER.replace("%s</mj-text>", f"{text}</mj-text>{buttons}")
    found = TAG.findall(compiled(source))
    assert found == TAG.findall(text) + TAG.findall(" ".join(addresses))


@given(st.lists(tags, min_size=1, max_size=4))
def test_tags_survive_a_sanitiser(texts: list[str]) -> None:
    source = "<p>" + "</p><p>".join(texts) + "</p>"
    shown = clean_rich_text(escape_tags(source))
    assert [re.sub("\xa0", " ", tag) for tag in TAG.findall(source)] == TAG.findall(shown)


@given(tags)
def test_tags_survive_a_browser(tag: str) -> None:
    assert unescape_tags(escape_tags(f"<p>{tag}</p>")) == f"<p>{tag}</p>"


@given(st.text(max_size=200))
def test_holding_is_undone(source: str) -> None:
    held = hold(source)
    assert held.restored(held.source) == source


@pytest.mark.parametrize(
    ("source", "line", "code"),
    [
        ("", 1, "no_root"),
        ("<p>Hello</p>", 1, "no_root"),
        (LETTER % "Hello" + "\n</mj-body>", 10, "not_open"),
        ((LETTER % "x").replace("</mj-text>", "</mj-txt>"), 5, "not_open"),
        ((LETTER % "x").replace("</mj-text>", ""), 5, "unclosed"),
        ((LETTER % "x").replace("</mj-column>\n", ""), 4, "unclosed"),
        ((LETTER % "x").replace("mj-text", "mj-txt"), 5, "unknown"),
        ((LETTER % "x").replace("<mj-text>", "<mj-text color=red>"), 5, "attributes"),
        (
            (LETTER % "x").replace("<mj-text>", '\n<mj-include path="/etc/passwd" /><mj-text>'),
            6,
            "include",
        ),
        (
            (LETTER % "{{ a\n\n }}").replace("</mj-text>", "</mj-text>\n<mj-foo></mj-foo>"),
            8,
            "unknown",
        ),
        (LETTER % ("<div>" * (MAX_DEPTH + 1)), 5, "too_deep"),
        ("x" * 1_000_001, 1, "too_large"),
    ],
)
def test_faults_name_their_line(source: str, line: int, code: str) -> None:
    assert fault(source) == (line, code)


def test_an_open_quote_is_a_fault() -> None:
    assert fault((LETTER % "x").replace("<mj-text>", '<mj-text color="red>'))[0] == 5


def test_a_file_is_never_read() -> None:
    for spelling in ("mj-include", "MJ-INCLUDE", "mj-Include"):
        for path in ("/etc/passwd", "file:///etc/passwd"):
            source = (LETTER % "x").replace(
                "<mj-section>", f'<{spelling} path="{path}"/><mj-section>'
            )
            assert fault(source)[1] in ("include", "unknown", "syntax")


@given(
    st.lists(
        st.sampled_from(
            [*"<>/mj-text\"'= {}%&\n", "<mj-text>", "</mj-text>", "<mjml>", "<mj-body>"]
        )
    )
)
def test_anything_is_a_letter_or_a_fault(pieces: list[str]) -> None:
    source = "".join(pieces)
    for text in (source, LETTER % source):
        assert isinstance(compile_mjml(text), str | MjmlFault)


def test_line_ends_of_forms() -> None:
    source = (LETTER % "x").replace(
        "<mj-body>", "<mj-head>\n<mj-raw></mj-raw>\n</mj-head>\n<mj-body>"
    )
    assert compiled(source.replace("\n", "\r\n")) == compiled(source)


def test_html_that_is_no_xml_may_stand_in_a_text() -> None:
    html = compiled(LETTER % 'a<br>b &nbsp; &copy; c & d <img src="/m/x.png">')
    assert "<br" in html
    assert "&nbsp; &copy;" in html


def test_for_the_builder_no_tag_is_empty() -> None:
    source = '<mj-image src="a.png" alt="" />\n<mj-text>{{ a | default: "b" }}</mj-text>'
    assert for_builder(source) == (
        '<mj-image src="a.png" alt=""></mj-image>\n'
        "<mj-text>{{ a | default: &quot;b&quot; }}</mj-text>"
    )
    assert not_for_builder("<mj-section><mj-table></mj-table>") == "mj-table"
    assert not_for_builder(LETTER % "x") == ""


@pytest.mark.parametrize(
    ("given_html", "kept"),
    [
        ("<p onclick='x()'>a<script>alert(1)</script></p>", "<p>a</p>"),
        ('<p style="position:fixed">a</p>', "<p>a</p>"),
        ('<a href="javascript:alert(1)">a</a>', "<a>a</a>"),
        ('<a href="{{ unsubscribe_url }}">a</a>', '<a href="{{ unsubscribe_url }}">a</a>'),
        ('<img src="data:image/svg+xml,x" alt="b">', '<img alt="b">'),
        ('<p class="ql-align-center btn">a</p>', '<p class="ql-align-center">a</p>'),
        ("<form><input name=a></form><iframe src=x></iframe>b", "b"),
    ],
)
def test_rich_text_is_what_mail_programs_show(given_html: str, kept: str) -> None:
    assert clean_rich_text(given_html) == kept


def test_a_rich_letter_and_back() -> None:
    text = "<h2>Hello {{ first_name }}</h2><ul><li>one</li></ul>"
    letter = rich_letter(text)
    assert 'name="color-scheme"' in letter
    assert "max-width:600px" in letter
    assert rich_text_of(letter) == text
    assert rich_letter("<p><br></p>") == ""
