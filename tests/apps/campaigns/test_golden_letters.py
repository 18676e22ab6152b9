"""Letters of campaigns as they are handed over, octet by octet: tests/golden/campaign-*.eml.

Each begins with the return path, as the server that delivers a letter writes it down (RFC 5321,
section 4.4). A change of these files is a change of what mailbox providers see.
"""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from apps.accounts.models import Workspace
from apps.campaigns import letters, tokens
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services.sending.composing import return_path
from apps.mailer.models import ContactList
from tests.support.factories import make_campaign, make_workspace

GOLDEN = Path(__file__).parents[2] / "golden"
AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
RETURN_DOMAIN, INBOUND = "bounce.shop.test", "in.shop.test"
CONTACT = 905
HTML = (
    '<!doctype html><html><body><p>Hello {{ first_name | default: "friend" }},</p>'
    '<p><a href="https://shop.test/books?a=1&amp;b=2">New books</a> or '
    '<a href="mailto:help@shop.test">a letter to us</a></p>'
    '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a><br>{{ postal_address }}</p></body></html>'
)
# What a letter to many has to say of itself, and what makes an answer to it find its letter.
HEADERS = (
    *("Return-Path", "From", "To", "Subject", "Date", "Message-ID"),
    *("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id"),
    *("Precedence", "Feedback-ID", "X-Mailru-Msgtype"),
)


@pytest.fixture
def workspace(db: None, settings: LazySettings) -> Workspace:
    settings.SECRET_KEY = "a key for golden letters, and for nothing else"
    settings.BASE_URL, settings.INBOUND_DOMAIN = "https://mail.shop.test", INBOUND
    return make_workspace(pk=901, postal_address="1 Main St, Springfield")


def campaign_of(workspace: Workspace, *lists: ContactList, **fields: Any) -> Campaign:
    texts = {
        "subject": "News for {{ first_name }}",
        "from_name": "The shop",
        "from_email": "news@shop.test",
        "html": HTML,
        "text": "",
    }
    return make_campaign(workspace, *lists, pk=907, **texts | fields)


def handed_over(campaign: Campaign, first_name: str, variant: int = 0) -> bytes:
    message = letters.compiled(campaign, variant).letter(
        CONTACT, "anna@inbox.test", {"first_name": first_name, "last_name": ""}, date=AT
    )
    sender = return_path(campaign.pk, CONTACT, RETURN_DOMAIN)
    # Without what SMTP puts before a line that begins with a dot.
    data = re.sub(rb"(?m)^\.\.", b".", message.stuffed)
    return b"Return-Path: <%b>\r\n" % sender.encode() + data


def check(name: str, made: bytes) -> EmailMessage:
    """Against the file; the message read by the standard library."""
    assert made == (GOLDEN / f"campaign-{name}.eml").read_bytes()
    message = email.message_from_bytes(made, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    for header in HEADERS:
        assert len(message.get_all(header, [])) == 1, header
    local = re.fullmatch(rf"<(b\+[0-9a-f]+)@{RETURN_DOMAIN}>", message["Return-Path"])
    assert local
    assert tokens.read_local_part(local[1]) == (tokens.RETURN_PATH, 907, CONTACT)
    assert tokens.read_message_id(message["Message-ID"]) == (907, CONTACT)
    return message


def test_a_letter_to_one_list(workspace: Workspace) -> None:
    only = ContactList.objects.create(pk=903, workspace=workspace, name="Readers")
    message = check("one-list", handed_over(campaign_of(workspace, only), "Anna"))
    assert message["List-Id"] == "<list903.w901.shop.test>"
    assert message["Feedback-ID"] == "c907:campaign:w901:vashsender"


def test_a_letter_in_russian_to_many(workspace: Workspace) -> None:
    campaign = campaign_of(
        workspace,
        subject="Новости для {{ first_name }}",
        from_name="Магазин",
        html=HTML.replace("Hello", "Здравствуйте").replace("New books", "Новые книги"),
    )
    message = check("russian", handed_over(campaign, "Анна"))
    assert message["List-Id"] == "<w901.shop.test>"
    assert message["Subject"] == "Новости для Анна"


def test_the_letter_of_a_variant(workspace: Workspace) -> None:
    campaign = campaign_of(workspace, test_share=100)
    Variant.objects.create(campaign=campaign, number=1)
    Variant.objects.create(
        campaign=campaign,
        number=2,
        subject="Have you seen this, {{ first_name }}?",
        editor="html",
        html=HTML.replace("books", "films"),
    )
    message = check("variant", handed_over(campaign, "Anna", 2))
    text = message.get_body(("plain",))
    assert text
    # Its text is made from its own HTML; what is counted by has the campaign's names.
    assert "https://shop.test/films" in text.get_content()
    assert message["X-Mailru-Msgtype"] == "c907"
