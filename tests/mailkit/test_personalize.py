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
