from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
        ("<p>a  b\n c</p>", "a b c\n"),
        ("x<b>y</b>z <i>w</i>", "xyz w\n"),
        ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
        ("<a href='https://x.y/'>Shop <b>now</b></a>!", "Shop now (https://x.y/)!\n"),
        ("<a href='https://x.y/'>https://x.y/</a>", "https://x.y/\n"),
        ("<a href='mailto:a@b.c'>a@b.c</a>", "a@b.c\n"),
        ("<a href='#top'>Up</a>", "Up\n"),
        ("<a href='https://x.y/'><img src='l.png' alt='Logo'></a>", "Logo (https://x.y/)\n"),
        ("<a href='https://x.y/'><img src='l.png'></a>", "https://x.y/\n"),
        ("<a href='{{ url }}'>{{ label }}</a>", "{{ label }} ({{ url }})\n"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul>d", "- a\n- b\n  - c\n\nd\n"),
        ("<ol><li><p>a</p></li><li>b</li></ol>", "1. a\n\n2. b\n"),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2\n3\n"),
        ("<head><title>t</title></head><style>p{}</style><script>x()</script>ok", "ok\n"),
        ("<div style='DISPLAY : none'>pre<br><div>x</div></div>shown", "shown\n"),
        ("<pre>a\n  b</pre>", "a\n  b\n"),
        ("&lt;b&gt; &amp; &copy;&nbsp;x", "<b> & © x\n"),
        ("a<hr>b", "a\n\n---\n\nb\n"),
        ("", "\n"),
        ("</p></ul></a></pre>x", "x\n"),
    ],
)
def test_html_to_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


TAGS = st.sampled_from(["p", "li", "ul", "ol", "a href=x", "br", "pre", "style", "td", "p hidden"])
HTML_PIECES = st.one_of(
    TAGS.map("<{}>".format),
    TAGS.map("</{}>".format),
    st.sampled_from(["<div style='display:none'>", "</div>", "<img alt=q>", "text ", " word"]),
    st.sampled_from(["&amp;", "&#0;", "<", "<!--", "-->", "\n", "<hr>"]),
)


@given(st.lists(HTML_PIECES, max_size=20).map("".join))
def test_any_html_becomes_tidy_text(html: str) -> None:
    text = html_to_text(html)
    assert text.endswith("\n")
    assert text == text.strip() + "\n"
    if "<pre>" not in html:
        assert "\n\n\n" not in text


DATA = """<table><thead><tr><th>Item</th><th>Price</th></tr></thead>
<tr><td>Tea</td><td>1,200.00</td></tr><tr><td>Sugar, white</td><td>80.50</td></tr></table>"""


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>News</h1><p>x</p>", "News\n====\n\nx\n"),
        (
            "<h2>Of the <b>week</b></h2>x<h3>More</h3>y",
            "Of the week\n-----------\n\nx\n\nMore\n\ny\n",
        ),
        ("<blockquote><p>One</p><p>two</p></blockquote>x", "> One\n>\n> two\n\nx\n"),
        ("a<blockquote>b<blockquote>c</blockquote></blockquote>", "a\n\n> b\n>\n> > c\n"),
        (
            DATA,
            "Item             Price\nTea           1,200.00\nSugar, white     80.50\n",
        ),
        ("a" + DATA.replace("<thead>", "<caption>List</caption><thead>"), None),
        (
            "<table><tr><td>L<table><tr><td>1<td>2</table></td><td>R</td></tr></table>",
            "L\n1 2\nR\n",
        ),
        (
            "<table><tr><th>" + "long " * 10 + "</th><th>" + "word " * 10 + "</th></tr></table>",
            ("long " * 10).strip() + " | " + ("word " * 10).strip() + "\n",
        ),
        ("<table role='presentation'><tr><td><p>a</p><td>b</table>", "a\n\nb\n"),
        ("<ol start='3'><li>a</li><li value='9'>b</li><li>c</li></ol>", "3. a\n9. b\n10. c\n"),
        (
            "<div style='display:none;max-height:0'>Preview&#847;&zwnj;&nbsp;</div><p>Hi</p>",
            "Hi\n",
        ),
        ("<div style='max-height:0px; overflow:hidden'>pre</div>Hi", "Hi\n"),
        ("<div style='max-height:0.5em'>shown</div>", "shown\n"),
        ("<td style='font-size:0px'>of MJML</td>", "of MJML\n"),
        ("<!--[if mso]><p>Outlook</p><![endif]-->all", "all\n"),
        ("<a href='x'>one <a href='y'>two</a></a>", "one (x)two (y)\n"),
        ("a\x00b\ud800", "ab\n"),
    ],
)
def test_structure(html: str, text: str | None) -> None:
    found = html_to_text(html)
    if text is None:
        assert found.startswith("a\n\nList\nItem")
    else:
        assert found == text


@given(st.text(st.characters(), max_size=200) | st.lists(HTML_PIECES, max_size=60).map("".join))
@settings(max_examples=300, deadline=None)
def test_nothing_raises(html: str) -> None:
    html_to_text(html).encode()


@pytest.mark.parametrize(
    "html",
    [
        "<a " * 300_000,
        "<!--" * 250_000,
        "<table><tr><td>" * 70_000,
        "<table><tr><td>x" * 30_000 + "</td></tr></table>" * 30_000,
        "<div hidden>" + "<b>" * 120_000 + "</i>" * 120_000,
        "<a href=x>y" * 90_000,
        "<blockquote><ul><li>" * 50_000,
        "<a b='" * 150_000,
    ],
)
@pytest.mark.timeout(120)  # what takes the square of the time takes far longer
def test_a_megabyte_made_to_be_slow(html: str) -> None:
    html_to_text(html)
