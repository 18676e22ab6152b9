from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.dmarc import (
    DmarcRecord,
    Mode,
    aligned,
    organisational_domain,
    parse_record,
    records_of,
)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("v=DMARC1; p=none", DmarcRecord("none", "none")),
        ("v=DMARC1;p=Reject;", DmarcRecord("reject", "reject")),
        (" v=DMARC1; p=none", None),
        (
            "v = DMARC1 ; p = quarantine ; sp=none; adkim=s; aspf=S; rua=mailto:a@b.example; x=1",
            DmarcRecord("quarantine", "none", "strict", "strict"),
        ),
        ("v=DMARC1; p=reject; sp=nonsense; adkim=x", DmarcRecord("reject", "reject")),
        ("v=DMARC1; p=none; p=reject", DmarcRecord("none", "none")),
        ("v=DMARC1", None),
        ("v=DMARC1; rua=mailto:a@b.example", None),
        ("v=DMARC1; p=block", None),
        ("v=DMARC1; p", None),
        ("v=DMARC2; p=none", None),
        ("v=dmarc1; p=none", None),
        ("p=none; v=DMARC1", None),
        ("", None),
    ],
)
def test_records(text: str, record: DmarcRecord | None) -> None:
    assert parse_record(text) == record


@given(st.one_of(st.text(), st.text().map("v=DMARC1;{}".format)))
def test_any_text_is_a_policy_or_none(text: str) -> None:
    found = parse_record(text)
    assert found is None or (
        found.policy in ("none", "quarantine", "reject") and records_of([text])
    )


@pytest.mark.parametrize(
    ("domain", "registered"),
    [
        ("example.com", "example.com"),
        ("A.B.Example.com.", "example.com"),
        ("mail.shop.co.uk", "shop.co.uk"),
        ("news.firma.com.br", "firma.com.br"),
        ("a.b.msk.ru", "b.msk.ru"),
        ("mail.example.ru", "example.ru"),
        ("inbox.sandbox.test", "sandbox.test"),
        ("mail.com", "mail.com"),
        ("x.co.com", "co.com"),
        ("com", "com"),
        ("", ""),
    ],
)
def test_whose_domain_it_is(domain: str, registered: str) -> None:
    assert organisational_domain(domain) == registered


@pytest.mark.parametrize(
    ("domain", "with_from", "mode", "expected"),
    [
        ("example.com", "example.com", "strict", True),
        ("Example.COM.", "example.com", "strict", True),
        ("bounces.example.com", "example.com", "relaxed", True),
        ("bounces.example.com", "example.com", "strict", False),
        ("example.com", "news.example.com", "relaxed", True),
        ("a.co.uk", "b.co.uk", "relaxed", False),
        ("notexample.com", "example.com", "relaxed", False),
        ("", "", "relaxed", False),
    ],
)
def test_alignment(domain: str, with_from: str, mode: Mode, expected: bool) -> None:
    assert aligned(domain, with_from, mode) is expected


@given(st.text(), st.text())
def test_alignment_of_anything(one: str, other: str) -> None:
    assert aligned(one, other, "relaxed") == aligned(other, one, "relaxed")
    if aligned(one, other, "strict"):
        assert aligned(one, other, "relaxed")
