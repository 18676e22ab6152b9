from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.css import inline_css
from mailkit.extras import at_beginning, with_parameters, with_preheader

STYLE = (
    "<style>p { color: red } .big { font-size: 30px } "
    "@media (max-width:9px) { p { top: 0 } }</style>"
)


@pytest.mark.parametrize(
    ("html", "inlined"),
    [
        ("<p>x</p>", '<p style="color: red;">x</p>'),
        ('<P class="big">x', '<P style="color: red;font-size: 30px;" class="big">x'),
        ("<p style='top:1px'>x</p>", '<p style="color: red;top:1px">x</p>'),
        ("<b style='top:1px'>x</b>", "<b style='top:1px'>x</b>"),
        ('<p>{{ a | default: "<p>" }}</p>', '<p style="color: red;">{{ a | default: "<p>" }}</p>'),
        (
            '<table>{% for i in l %}<tr><td class="big">{{ i }}</td></tr>{% endfor %}</table>',
            '<table>{% for i in l %}<tr><td style="font-size: 30px;" class="big">{{ i }}</td></tr>'
            "{% endfor %}</table>",
        ),
        (
            '<p style="width: {{ width }}px">x</p>',
            '<p style="color: red;width: {{ width }}px">x</p>',
        ),
        ('<p {% if a %}class="big"{% endif %}>x</p>', '<p {% if a %}class="big"{% endif %}>x</p>'),
        ("<!--[if mso]><p>x</p><![endif]-->", "<!--[if mso]><p>x</p><![endif]-->"),
        ("{% raw %}<p>{% endraw %}", "{% raw %}<p>{% endraw %}"),
        ("<i title='<p>'>&nbsp;&copy;</i><br/>\r\n", "<i title='<p>'>&nbsp;&copy;</i><br/>\r\n"),
        ("<script>'<p>'</script>", "<script>'<p>'</script>"),
    ],
)
def test_rules_are_written_into_their_elements(html: str, inlined: str) -> None:
    found = inline_css(STYLE + html)
    assert found.startswith(STYLE)
    same = re.compile(r";?\s*([\"';:])\s*")
    assert same.sub(r"\1", found[len(STYLE) :]) == same.sub(r"\1", inlined)


def test_nothing_is_fetched() -> None:
    # The tests' sockets would raise.
    html = f'<link rel="stylesheet" href="http://203.0.113.7/x.css">{STYLE}<p>x</p>'
    assert '<p style="color' in inline_css(html)
    assert '<link rel="stylesheet" href="http://203.0.113.7/x.css">' in inline_css(html)
    assert "<p style" in inline_css(f"<style>@import url(http://203.0.113.7/)</style>{STYLE}<p>x")


PIECES = st.sampled_from(
    (
        *("<p>", "</p>", "<p class=big>", "<td class='big'", ">", '"', "'", "{{ a }}", "{%", "%}"),
        *("{% if a %}", "{% endif %}", "<!--", "-->", "<style>", "</style>", "p{color:red}", "<"),
        *("lq0x", ' style="a:{{ b }}"', "<table>", "</table>", "{% raw %}", "&lt;", "\n", "é", "="),
    )
)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=400, deadline=None)
def test_all_but_styles_survives(html: str) -> None:
    """Without the style attributes that were written, the source is there again."""
    source = STYLE + html
    found = inline_css(source)
    liquid = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}")
    assert liquid.findall(found) == liquid.findall(source)
    styles = re.compile(r"""\s+style\s*=\s*("[^"]*"|'[^']*')""")
    assert styles.sub("", found) == styles.sub("", source)


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td>" * 60_000,
        '<a "' * 95_000,
        "<a '" + '<a "' * 95_000,
        "<div>" * 1_000,
        "<p>" * 130_000,
        "<!--" * 90_000,
        "<a " * 100_000,
        "{{" * 180_000,
        "<style>" * 50_000,
        "<style>" + ".a .b{}" * 9000 + "</style>" + "<p>" * 30_000,
        "<p x='" * 60_000,
        "{% raw %}" * 40_000,
    ],
)
@pytest.mark.timeout(120)
def test_what_is_made_to_be_slow_is_not(html: str) -> None:
    inline_css(STYLE + html)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x.test", "https://x.test?utm_source=a%26b"),
        ("https://x.test/?", "https://x.test/?utm_source=a%26b"),
        ("https://x.test/p?q=%7E+é#top?x", "https://x.test/p?q=%7E+é&utm_source=a%26b#top?x"),
        ("https://x.test/?a=1&", "https://x.test/?a=1&utm_source=a%26b"),
        ("https://x.test/?utm_source=own", "https://x.test/?utm_source=own"),
        ("https://x.test/?utm%5Fsource=own#x", "https://x.test/?utm%5Fsource=own#x"),
    ],
)
def test_parameters_leave_an_address_as_it_is(url: str, expected: str) -> None:
    assert with_parameters(url, {"utm_source": "a&b", "utm_term": ""}) == expected


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_parameters_are_added_once(url: str, parameters: dict[str, str]) -> None:
    once = with_parameters(url, parameters)
    assert with_parameters(once, parameters) == once
    base, mark, fragment = url.partition("#")
    assert once.startswith(base)
    assert once.endswith(mark + fragment)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>x</p>", "+<p>x</p>"),
        ("<!doctype html><p>x", "<!doctype html>+<p>x"),
        (
            "<html><head><title><body></title></head><p>x",
            "<html><head><title><body></title></head>+<p>x",
        ),
        ("<html><!-- <body> --><body class='a>b'>x", "<html><!-- <body> --><body class='a>b'>+x"),
        ("<body {% if a %}x='>'{% endif %}>y", "<body {% if a %}x='>'{% endif %}>+y"),
    ],
)
def test_the_beginning_of_a_letter(html: str, expected: str) -> None:
    assert at_beginning(html, "+") == expected


def test_a_preheader_is_escaped_but_for_its_fields() -> None:
    found = with_preheader("<p>Hi</p>", 'For {{ name | default: "you" }} <only> & more')
    assert 'For {{ name | default: "you" }} &lt;only&gt; &amp; more&#847;' in found
    assert found.endswith("</div><p>Hi</p>")
    assert with_preheader("<p>Hi</p>", " ") == "<p>Hi</p>"
