from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.preflight import CLIPPED_AT, Finding, bare_fields, check_letter, look_at

OUT = "https://us.test/u/x"
WORDS = "Plenty of words to read, so that the letter is no picture alone. " * 3
GOOD = f'<p>{WORDS}</p><img src="https://x.test/a.png" alt=""><a href="{OUT}">no more</a>'


def found(html: str = GOOD, **changes: object) -> dict[str, Finding]:
    letter = {"subject": "News", "text": "News", "unsubscribe_url": OUT, "html_size": 100}
    return {one.code: one for one in check_letter(html=html, **letter | changes)}  # type: ignore[arg-type]


def test_a_good_letter_has_no_findings() -> None:
    assert not found()
    assert not found("", text=f"News\n{OUT}")


@pytest.mark.parametrize(
    ("html", "code"),
    [
        (f"<p>{WORDS}</p>", "no_unsubscribe"),
        (f"<p>{WORDS}</p><!-- <a href='{OUT}'>x</a> -->", "no_unsubscribe"),
        (GOOD + '<a href="http://x.test/">x</a>', "http_links"),
        (GOOD + '<img src="a.png">', "no_alt"),
        (GOOD + f'<img alt="" src="data:image/png;base64,{"A" * 1_400_000}">', "heavy_images"),
        (f'<img src="a" alt="Sale"><a href="{OUT}">no more</a>', "image_only"),
        (GOOD + '<a href="https://www.bit.ly/x">x</a>', "shortener"),
        (GOOD + "<form><input></form>", "active_markup"),
        (GOOD + f"<div style='display: none'>{WORDS * 2}</div>", "hidden_text"),
        (GOOD + f"<div style='font-size:0'><p>{WORDS * 2}</p></div>", "hidden_text"),
        (GOOD + f"<p style='font: 9px a; font-size: 0px'>{WORDS * 2}</p>", "hidden_text"),
        (GOOD + '<a href="https://evil.test/">www.bank.com</a>', "disguised_link"),
        (GOOD + '<a href="https://evil.test/">https://bank.com/login</a>', "disguised_link"),
    ],
)
def test_each_rule(html: str, code: str) -> None:
    assert [*found(html)] == [code]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://shop.bank.com/">bank.com</a>',
        '<a href="https://bank.com/">WWW.bank.com</a>',
        '<a href="https://evil.test/">read more</a>',
        '<a href="mailto:a@bank.com">bank.com</a>',
        "<div style='display:none'>Preheader" + "&#847;&zwnj;&nbsp;" * 200 + "</div>",
        # As MJML lays out columns.
        f"<div style='font-size:0px'><p style='font-size:16px'><b>{WORDS * 2}</b></p></div>",
        f"<div style='font-size:0px'><p style='font:16px Arial'>{WORDS * 2}</p></div>",
        "<img src='a.png' alt>",
        "<style>" + WORDS * 9 + "</style>",
    ],
)
def test_what_is_no_fault(html: str) -> None:
    assert not found(GOOD + html)


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("GREAT SALE TODAY", "subject_caps"),
        ("РАСПРОДАЖА СЕГОДНЯ", "subject_caps"),
        ("Sale! !!", "subject_marks"),
        ("Save $$$", "subject_marks"),
    ],
)
def test_subjects(subject: str, code: str) -> None:
    assert [*found(subject=subject)] == [code]


def test_sizes_and_texts() -> None:
    assert [*found(html_size=CLIPPED_AT + 1)] == ["clipped"]
    assert found(html_size=CLIPPED_AT + 1)["clipped"].number == 103
    assert not found(html_size=CLIPPED_AT)
    assert [*found(text=" \n")] == ["no_text"]


def test_fields_without_a_default() -> None:
    source = (
        "{{ a }}{{b}} {{- c | upcase -}} {{ d | default: 'x' }} {% if e %}{{ f.g }}{% endif %}"
        "{{ h | upcase | default: 'x' }}"
    )
    assert bare_fields(source, "{{ i }}") == set("abci")


PIECES = st.sampled_from(
    ("<p>", "<a href=x>", "</a>", "<img>", "<img alt=x src=data:>", "<style>", "</style>", "<div "
     "style=display:none>", "</div>", "x", "&#0;", "<", "\x00", "\ud800", "https://[", "<a "
     "href='http://[x'>bank.com</a>")
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_html_raises(html: str) -> None:
    found(html, subject=html[:50])


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td>" * 70_000,
        "<a href=x>" * 100_000,
        "<div hidden>" + "<b>" * 300_000,
        "<" * 1_000_000,
    ],
)
@pytest.mark.timeout(120)
def test_a_megabyte_made_to_be_slow(html: str) -> None:
    look_at(html)
