"""The benches' audience and letter: what they measure must be what they say."""

from __future__ import annotations

import pytest

from apps.campaigns.services import launch
from apps.mailer.models import Contact
from apps.senders.models import DkimKey
from benchmarks import pipeline
from mailkit.personalize import Template, compile_template
from mailkit.text import html_to_text

pytestmark = pytest.mark.django_db


def test_a_list_is_made_of_valid_contacts_with_ten_different_fields() -> None:
    target = pipeline.make_list(pipeline.make_workspace("shop", sink=None), 2000)
    contacts = list(Contact.objects.filter(lists=target))
    assert len(contacts) == 2000 == len({contact.email for contact in contacts})
    assert Contact.objects.count() == 2000
    assert len({(contact.first_name, contact.last_name) for contact in contacts}) > 500
    assert any(not contact.first_name.isascii() for contact in contacts)
    assert {contact.verdict for contact in contacts} == {"valid"}
    assert all(contact.fields.keys() == pipeline.FIELDS.keys() for contact in contacts)
    assert len(pipeline.FIELDS) == 10
    assert all(value for contact in contacts for value in contact.fields.values())


def test_its_campaign_can_be_launched() -> None:
    target = pipeline.make_list(pipeline.make_workspace("shop", sink=None), 3)
    assert launch.problems(pipeline.make_campaign(target)) == []


def test_the_letter_uses_every_field_in_both_parts() -> None:
    for source, html in ((pipeline.LETTER, True), (html_to_text(pipeline.LETTER), False)):
        template = compile_template(source, html=html)
        assert isinstance(template, Template)
        assert pipeline.FIELDS.keys() <= template.fields
    assert pipeline.LETTER.count("https://books.example/") == pipeline.TRACKED_LINKS


def test_one_rsa_key_signs_for_the_signed_sender_alone() -> None:
    workspace = pipeline.make_workspace("shop", sink=None)
    pipeline.sign_with_rsa(workspace)
    [key] = DkimKey.objects.filter(domain__workspace=workspace, active=True)
    assert key.algorithm == DkimKey.Algorithm.RSA
    assert f"news@{key.domain.name}" == pipeline.SIGNED_SENDER != pipeline.SENDER


PLAIN = b"Message-ID: <1@x>\r\nContent-Type: text/html\r\n\r\n"


def test_a_letter_without_links_pixel_and_headers_is_found_out() -> None:
    bare = PLAIN + b'<a href="https://books.example/x">{{ city }}</a>'
    assert pipeline._missing(bare, signed=True) == [
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "tracked links",
        "open pixel",
        "all fields merged",
        "DKIM-Signature",
    ]


def test_a_whole_letter_passes() -> None:
    head = (
        b"List-Unsubscribe: <https://x/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        b"DKIM-Signature: v=1; a=rsa-sha256; b=x\r\n"
    )
    body = b'<a href="/c/1">a</a>' * 6 + b'<img src="/o/1">'
    assert pipeline._missing(head + PLAIN + body, signed=True) == []
