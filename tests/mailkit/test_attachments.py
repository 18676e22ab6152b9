from __future__ import annotations

import dataclasses
from email.message import EmailMessage
from pathlib import Path

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.mime import attachment_part, compose
from mailkit.smtp.message import WireMessage
from tests.mailkit.test_mime import PLAIN, check_wire_format, parse
from tests.mailkit.test_splice import (
    FILES,
    LINES,
    STRINGS,
    is_plain,
    letter,
    lookup,
    made,
    parsed,
    recipient,
    signer_of,
    unstuffed,
)

GOLDEN = Path(__file__).parent.parent / "golden"
ATTACHED = dataclasses.replace(
    PLAIN,
    attachments=(
        attachment_part("price list.pdf", "application/pdf", b"%PDF-1.4 no more than this"),
        attachment_part(
            "Отчёт о продажах за первый квартал, исправленный.xlsx",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            bytes(range(100)),
        ),
    ),
)


def files(message: EmailMessage) -> list[tuple[str | None, bytes]]:
    found = []
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part.get_filename(), payload))
    return found


def test_golden() -> None:
    data = compose(ATTACHED)
    assert data == (GOLDEN / "attachments.eml").read_bytes()
    check_wire_format(data)
    message = parse(data)
    assert [part.get_content_type() for part in message.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html"),
        *("application/pdf", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ]
    assert files(message)[0] == ("price list.pdf", b"%PDF-1.4 no more than this")
    assert files(message)[1] == (
        "Отчёт о продажах за первый квартал, исправленный.xlsx",
        bytes(range(100)),
    )


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=150
)


@given(NAMES, st.binary(max_size=300))
@settings(deadline=None)
def test_names_and_contents_come_back(name: str, data: bytes) -> None:
    part = attachment_part(name, "application/octet-stream", data)
    made_of_it = compose(dataclasses.replace(PLAIN, html="", attachments=(part,)))
    check_wire_format(made_of_it)
    ((found, content),) = files(parse(made_of_it))
    assert content == data
    if name == name.strip():
        assert found == name


@pytest.mark.parametrize("name", ['a"b.pdf', "a\\b.pdf", "a\r\nBcc: e@x.test.pdf", "x" * 150])
def test_odd_names_are_no_headers(name: str) -> None:
    part = attachment_part(name, "application/pdf", b"x")
    message = parse(compose(dataclasses.replace(PLAIN, attachments=(part,))))
    assert message["Bcc"] is None
    ((found, _content),) = files(message)
    assert found == name.replace("\r", "_").replace("\n", "_")


@given(LINES, LINES, STRINGS)
@settings(max_examples=60, deadline=None)
def test_the_signature_covers_attachments(text: str, html: str, city: str) -> None:
    one = letter(f"Hi {text}", html, attachments=FILES, signer_of=signer_of)
    message = made(one, recipient({"city": city}))
    if isinstance(message, WireMessage):
        assert dkim.verify(unstuffed(message), dnsfunc=lookup)
        assert len(files(parsed(message))) == 2


def test_a_plain_letter_stays_spliced() -> None:
    assert is_plain(letter("Hi {{ city }}\n", "<p>{{ city }}</p>", attachments=FILES))
