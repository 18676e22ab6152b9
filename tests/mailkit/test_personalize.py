from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from mailkit.personalize import MAX_SOURCE, RenderFault, Template, TemplateFault, compile_template


def render(source: str, values: dict[str, Any] | None = None, *, html: bool = False) -> Any:
    template = compile_template(source, html=html)
    assert isinstance(template, Template), template
    return template.render(values or {})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hi {{ first_name }}!", "Hi Анна!"),
        ("Hi {{first_name}}{{ missing }}!", "Hi Анна!"),
        ('{{ missing | default: "friend" }}', "friend"),
        ('{{ blank_name | default: "friend" }}', "friend"),
        ("{{ none }}|{{ yes }}|{{ count }}", "|true|3"),
        ("{{ missing.a.b[0] }}", ""),
        ("{{ company.city }}", "Пермь"),
        ("{{ day }}", "2026-01-02"),
        ("{{ ['first name'] }}", "spaced"),
        ("{{ first_name | upcase }}", "АННА"),
        ("{% if count > 2 %}many{% else %}few{% endif %}", "many"),
        ("{% for item in items %}{{ item }},{% endfor %}", "a,b,"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("no fields { at } all %}", "no fields { at } all %}"),
        ("", ""),
    ],
)
def test_rendering(source: str, expected: str) -> None:
    values = {
        "first_name": "Анна",
        "first name": "spaced",
        "blank_name": "",
        "none": None,
        "yes": True,
        "count": 3,
        "company": {"city": "Пермь"},
        "day": date(2026, 1, 2),
        "items": ["a", "b"],
    }
    assert render(source, values) == expected


def test_fields() -> None:
    template = compile_template(
        "{{ a.b }}{% if c %}{{ d | append: e }}{% endif %}"
        "{% assign own = f %}{{ own }}{% for i in g %}{{ i }}{{ forloop.index }}{% endfor %}",
        html=True,
    )
    assert isinstance(template, Template)
    assert template.fields - {"forloop"} == set("acdefg")


@given(st.text().filter(lambda value: not value.startswith("\n")), st.booleans())
def test_values_are_escaped_in_html_and_only_there(value: str, html: bool) -> None:
    out = render("<p>{{ v }}</p>{{ v | append: v }}", {"v": value}, html=html)
    shown = str(escape(value)) if html else value
    shown = shown.replace("\r\n", "\n").replace("\r", "\n")  # composing sets line ends anyway
    assert out == f"<p>{shown}</p>{shown}{shown}"


@pytest.mark.parametrize(
    "source", ["{{ v | safe }}", "{% include 'x' %}", "{% render 'x' %}", "{% extends 'x' %}"]
)
def test_no_way_out_of_the_template(source: str) -> None:
    assert isinstance(compile_template(source, html=True), TemplateFault)


@pytest.mark.parametrize(
    ("source", "line", "code"),
    [
        ("{{ a", 1, "syntax"),
        ("ok\n{{ a", 2, "syntax"),
        ("{{ }}", 1, "syntax"),
        ("a\nb {{ first name }}", 2, "syntax"),
        ("{% if a %}\nx\n", 3, "syntax"),
        ("{% endif %}", 1, "syntax"),
        ("a\n\n{% bogus %}", 3, "syntax"),
        ("a\n{{ x | nofilter }}", 2, "unknown_filter"),
        ("{% if x %}" * 40 + "{% endif %}" * 40, 1, "too_deep"),
        ("{{ " + "a[" * 3000 + "1" + "]" * 3000 + " }}", 1, "syntax"),
        ("x" * (MAX_SOURCE + 1), 1, "too_large"),
    ],
)
def test_template_faults(source: str, line: int, code: str) -> None:
    fault = compile_template(source, html=True)
    assert isinstance(fault, TemplateFault)
    assert (fault.line, fault.message_code) == (line, code)
    assert fault.detail


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..2000) %}x{% endfor %}",
        "{% for i in (1..900) %}{% for j in (1..900) %}x{% endfor %}{% endfor %}",
        "{% tablerow i in (1..100000000) %}x{% endtablerow %}",
        "{{ (1..1000000000) | join: 'x' | size }}",
        "{{ (1..100000000000000000000000) | size }}",
        "{{ s | replace: 'x', s | replace: 'x', s }}",
        "{{ s | replace: '', s | replace: '', s }}",
        "{{ s | split: '' | join: s }}",
        "{{ l | concat: (1..1000000000) }}",
        "{% for i in (1..900) %}{% assign s = s | append: s %}{% endfor %}",
        "{% assign n = 9999999 %}{% for i in (1..900) %}{% assign n = n | times: n %}{% endfor %}",
        "{% for i in (1..900) %}{{ huge }}{% endfor %}",
        "{% capture c %}{% for i in (1..900) %}{{ huge }}{% endfor %}{% endcapture %}",
    ],
)
def test_limits(source: str) -> None:
    fault = render(source, {"s": "x" * 5000, "l": ["a"], "huge": "h" * 200_000})
    assert isinstance(fault, RenderFault)
    assert fault.message_code == "limit"


@pytest.mark.parametrize(
    "source", ["\n{{ 1 | divided_by: 0 }}", "\n{{ l | where: 'x' }}", "\n{{ 'a' | slice: 'b' }}"]
)
def test_render_faults_name_their_line(source: str) -> None:
    fault = render(source, {"l": [1]})
    assert isinstance(fault, RenderFault)
    assert (fault.line, fault.message_code) == (2, "failed")


PIECES = st.one_of(
    st.sampled_from(
        ["{{", "}}", "{%", "%}", "'", '"', "[", "]", "(", ")", "..", "1", "\n", "-", ":"]
    ),
    st.sampled_from(
        [" a ", "| upcase", "| join: b", "| date: '%Y'", "if ", "endif", "assign x = "]
    ),
    st.sampled_from(["for i in (1..9)", "endfor", "case a", "when 1", "endcase", "raw", "liquid"]),
    st.sampled_from(["capture q", "endcapture", "comment"]),
)


@given(st.lists(PIECES, max_size=14).map("".join), st.booleans())
def test_any_source_is_a_template_or_a_fault(source: str, html: bool) -> None:
    template = compile_template(source, html=html)
    if isinstance(template, TemplateFault):
        assert 1 <= template.line <= source.count("\n") + 1
        return
    assert isinstance(template.render({"a": "<x>", "b": [1, None]}), str | RenderFault)


# Languages


@pytest.mark.parametrize(
    ("source", "english", "russian"),
    [
        ("{{ day | date: '%-d %B %Y' }}", "2 January 2026", "2 января 2026"),
        ("{{ day | date: '%B %Y' }}", "January 2026", "январь 2026"),
        ("{{ day | date: '%A, %a' }}", "Friday, Fri", "пятница, пт"),
        ("{{ day | date: 'long' }}", "January 2, 2026", "2 января 2026\xa0г."),
        ("{{ day | date: '%d.%m.%y %H:%M %%' }}", "02.01.26 00:00 %", "02.01.26 00:00 %"),
        ("{{ text_day | date: '%-d %b' }}", "2 Jan", "2 янв."),
        ("{{ nothing | date: '%d' }}", "", ""),
        ("{{ word | date: '%d' }}", "soon", "soon"),
        ("{{ 0 | date: '%Y' }}", "1970", "1970"),
        ("{{ total | number }}", "1,234.5", "1\xa0234,5"),
        ("{{ total | number: 2 }}", "1,234.50", "1\xa0234,50"),
        ("{{ 'many' | number }}", "many", "many"),
        ("{% assign language = 'en' %}{{ day | date: '%B' }}", "January", "January"),
    ],
)
def test_dates_and_numbers_are_in_the_recipients_language(
    source: str, english: str, russian: str
) -> None:
    values = {
        "day": date(2026, 1, 2),
        "text_day": "2026-01-02",
        "word": "soon",
        "total": "1234.5",
    }
    assert render(source, values) == english
    assert render(source, values | {"language": "ru-RU"}) == russian
    assert render(source, values | {"language": "xx"}) == english
    in_russian = compile_template(source, html=False, language="ru")
    assert isinstance(in_russian, Template)
    assert in_russian.render(values) == russian
    assert in_russian.render(values | {"language": "EN"}) == english


@given(st.text(max_size=120), st.text(max_size=40), st.sampled_from(["en", "ru", ""]))
def test_no_date_or_number_raises(value: str, pattern: str, language: str) -> None:
    values = {"v": value, "p": pattern, "language": language}
    for source in ("{{ v | date: p }}", "{{ v | number }}", "{{ v | number: p }}"):
        assert isinstance(render(source, values), str)


@given(st.integers() | st.floats() | st.datetimes() | st.booleans() | st.lists(st.integers()))
def test_neither_does_any_other_value(value: object) -> None:
    for source in ("{{ v | date: '%-d %B %c %x' }}", "{{ v | number: 2 }}"):
        assert isinstance(render(source, {"v": value}, html=True), str | RenderFault)


# Faults


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("a\n{{ price | divided_by: 0 }} {{ b }}", "{{ price | divided_by: 0 }}"),
        ("{% if a %}{{ price | modulo: 0 }}{% endif %}", "{{ price | modulo: 0 }}"),
    ],
)
def test_faults_of_values_name_the_field(source: str, near: str) -> None:
    fault = render(source, {"price": 3, "a": 1})
    assert isinstance(fault, RenderFault)
    assert fault.near == near


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("Hello {{ first name }}!", "{{ first name }}"),
        ("{{ city | nosuch }}", "{{ city | nosuch }}"),
        ("a {% bogus x %} b", "{% bogus x %}"),
    ],
)
def test_faults_of_templates_name_the_field(source: str, near: str) -> None:
    fault = compile_template(source, html=True)
    assert isinstance(fault, TemplateFault)
    assert fault.near == near


def test_unknown_fields_are_named_with_what_was_meant() -> None:
    template = compile_template(
        "{{ first_name }}\n{{ frist_name }}\n{% if citty %}{{ zzz }}{% endif %}"
        "{% for i in (1..2) %}{{ i }}{{ forloop.index }}{% endfor %}{{ 'now' | date }}",
        html=False,
    )
    assert isinstance(template, Template)
    assert [
        (one.name, one.line, one.meant) for one in template.unknown(["first_name", "city"])
    ] == [
        ("frist_name", 2, "first_name"),
        ("citty", 3, "city"),
        ("zzz", 3, ""),
    ]


def test_a_rendering_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each loop within its limits, and millions of nodes all the same.
    body = "{% if a %}{% endif %}" * 3000
    source = "{% for i in (1..900) %}" + body + "{% endfor %}"
    template = compile_template(source, html=False)
    assert isinstance(template, Template)
    monkeypatch.setattr("mailkit.personalize.MAX_SECONDS", 0.05)
    fault = template.render({})
    assert isinstance(fault, RenderFault)
    assert fault.message_code == "limit"


@pytest.mark.parametrize("source", ["{{ s | strip_html }}", "{{ s | split: '' | uniq }}"])
def test_filters_that_take_the_square_of_their_input_are_limited(source: str) -> None:
    fault = render(source, {"s": "<" * 200_000})
    assert isinstance(fault, RenderFault)
    assert fault.message_code == "limit"
