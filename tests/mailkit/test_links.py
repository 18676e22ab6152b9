from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.links import track_links


def tracked(html: str, most: int = 1000) -> tuple[str, list[str]]:
    return track_links(html, lambda number: f"LINK{number}", most=most)


@pytest.mark.parametrize(
    ("html", "expected", "target"),
    [
        ('<a href="https://x.test">', '<a href="LINK1">', "https://x.test"),
        ("<A\nHREF = 'http://x.test/'>", '<A\nHREF = "LINK1">', "http://x.test/"),
        ('<a class=b title="1 > 2" href="https://x.test">', None, "https://x.test"),
        ("<a title='a href=\"https://no.test\"' href='https://x.test'>", None, "https://x.test"),
        ('<a data-href="https://no.test" href="https://x.test">', None, "https://x.test"),
        ('<a href="https://x.test/?a=1&amp;b=2&#38;c=%20">', None, "https://x.test/?a=1&b=2&c=%20"),
        ('<a href="\n https://x.test/ \n">', None, "https://x.test/"),
        ('<a {{ style }} href="https://x.test">', None, "https://x.test"),
        ('<a {% if a == "}" %}id="a"{% endif %} href="https://x.test">', None, "https://x.test"),
        ('<a {% if a %}id="a"{% endif %} href="https://x.test">', None, "https://x.test"),
        ('<a { href="HTTPS://x.test">', None, "HTTPS://x.test"),
        ('<a href="https://x.test" href="https://no.test">', None, "https://x.test"),
    ],
)
def test_targets(html: str, expected: str | None, target: str) -> None:
    changed, targets = tracked(html)
    assert targets == [target]
    if expected is not None:
        assert changed == expected


@pytest.mark.parametrize(
    "href",
    [
        *("", "#top", "/local", "local.html", "mailto:a@x.test", "tel:+7", "javascript:alert(1)"),
        *("ftp://x.test", "https:x.test", "https:///", "{{ url }}", "https://x.test/{{ city }}"),
        *("https://x.test/{% if a %}b{% endif %}", "https://{{ host }}/", "//x.test", "data:,x"),
        "https://x.test/&#123;{ city }}",
    ],
)
def test_left_alone(href: str) -> None:
    html = f'<p><a href="{href}">x</a></p>'
    assert tracked(html) == (html, [])


@pytest.mark.parametrize(
    "html",
    [
        '<abbr href="https://x.test">',
        '<link href="https://x.test">',
        "<a href=https://x.test>",
        '<a ahref="https://x.test">',
        '<a name="top">https://x.test</a> href="https://x.test"',
        '<a name="{{ a }}">{{ b }} href="https://x.test"',
        '{% raw %}<a href="https://x.test">{% endraw %}',
        '{%- RAW -%}\n<a href="https://x.test">\n{%-endraw%}',
    ],
)
def test_what_is_no_link(html: str) -> None:
    assert tracked(html) == (html, [])


def test_links_behind_a_raw_block_are_tracked() -> None:
    html = "{% raw %}{{ a }}{% endraw %}<a href='https://x.test'>"
    assert tracked(html)[1] == ["https://x.test"]


def test_no_more_than_asked_for() -> None:
    html = '<a href="https://x.test">' * 3
    assert tracked(html, 2) == (
        '<a href="LINK1"><a href="LINK2"><a href="https://x.test">',
        ["https://x.test"] * 2,
    )


@given(
    st.lists(
        st.sampled_from(
            (
                *("<a ", "<a", ' href="https://x.test"', " href='https://y.test'", ">", "</a>"),
                *("{{", "}}", "{%", "%}", "{", "}", '"', "'", "{{ a }}", "{% raw %}", " "),
                *("{% endraw %}", "=", "<", "text", "\n"),
            )
        )
    ).map("".join)
)
def test_nothing_but_targets_changes(html: str) -> None:
    changed, targets = tracked(html)
    assert [int(number) for number in re.findall(r"LINK(\d+)", changed)] == [
        *range(1, len(targets) + 1)
    ]
    left = iter(targets)
    again = re.sub(r'"LINK\d+"', lambda _: f'"{next(left)}"', changed)
    assert again == html.replace("'https://y.test'", '"https://y.test"') or again.replace(
        '"', "'"
    ) == html.replace('"', "'")


@pytest.mark.parametrize(
    "html",
    [
        "<a " + "{{ x }}" * 100_000,
        "<a " + "{% x %}" * 100_000 + ">",
        "<a " * 300_000,
        "<a {{" * 200_000,
        "<a {% " * 200_000,
        '<a "' * 200_000,
        "<a '" * 200_000 + '"',
        "<a " + "{" * 900_000,
        "<a href" + " " * 900_000,
        "<a" + " href" * 200_000,
        "<a" + ' x="{{ y }}"' * 80_000,
    ],
)
def test_no_html_takes_long(html: str) -> None:
    """A search that tried everything would not end within the test's time."""
    assert tracked(html) == (html, [])
