from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone, translation
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.accounts.models import User, Workspace
from apps.campaigns import letters, tokens
from apps.campaigns.letters import LetterFault
from apps.campaigns.models import Campaign
from apps.mailer.models import Contact
from core.errors import InvalidInput
from tests.support.factories import make_campaign, make_contact

IDS = st.integers(0, 2**64 - 1)


def parsed(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=policy.default)


def part(letter: EmailMessage, kind: str) -> str:
    body = letter.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def campaign_of(**fields: Any) -> Campaign:
    return Campaign(
        **{
            "pk": 7,
            "subject": "Hello",
            "from_email": "news@shop.test",
            "html": "<html><body><p>Hi</p></body></html>",
            "text": "",
        }
        | fields
    )


def letter_of(campaign: Campaign, **contact: Any) -> EmailMessage:
    person = Contact(pk=5, **{"email": "anna@x.test"} | contact)
    return parsed(letters.compiled(campaign).letter(person, date=timezone.now()))


# Tokens


@given(IDS, IDS)
def test_tokens_read_back(campaign_id: int, contact_id: int) -> None:
    token = tokens.sign(campaign_id, contact_id)
    assert len(token) == 43
    assert tokens.read(token) == (campaign_id, contact_id)


@given(st.binary(min_size=32, max_size=32))
def test_other_bytes_are_no_token(raw: bytes) -> None:
    assert tokens.read(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


@given(st.text())
def test_other_text_is_no_token(text: str) -> None:
    assert tokens.read(text) is None


@given(st.integers(0, 255), st.integers(0, 31))
def test_a_changed_token_is_none_of_ours(byte: int, position: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(tokens.sign(3, 4) + "="))
    changed = raw[position] != byte
    raw[position] = byte
    token = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert tokens.read(token) == (None if changed else (3, 4))


@pytest.mark.parametrize("length", range(43))
def test_a_truncated_token_is_none_of_ours(length: int) -> None:
    assert tokens.read(tokens.sign(3, 4)[:length]) is None


def test_tokens_are_bound_to_the_secret(settings: LazySettings) -> None:
    token = tokens.sign(3, 4)
    settings.SECRET_KEY = "another" * 10
    assert tokens.read(token) is None
    assert tokens.sign(3, 4) != token


# Letters


def test_the_same_letter_again_has_the_same_bytes() -> None:
    contact = Contact(pk=5, email="anna@x.test", first_name="Anna")
    now = timezone.now()
    compiled = letters.compiled(campaign_of())
    assert compiled.letter(contact, date=now) == compiled.letter(contact, date=now)
    assert letter_of(campaign_of())["Message-ID"] == letter_of(campaign_of())["Message-ID"]
    assert letter_of(campaign_of())["Message-ID"] != letter_of(campaign_of(pk=8))["Message-ID"]


def test_message_ids_do_not_give_away_how_to_make_others() -> None:
    ids = {letters.message_id_of(7, n, "a@shop.test") for n in range(50)}
    assert len({one.split(".")[2] for one in ids}) == 50
    assert all(one.startswith("<7.") and one.endswith("@shop.test>") for one in ids)


def test_a_letter_without_a_way_out_gets_one_in_its_authors_language() -> None:
    author = User(language="ru")
    with translation.override("en"):
        letter = letter_of(campaign_of(created_by=author))
    url = letter["List-Unsubscribe"].strip("<>")
    html = part(letter, "html")
    assert html.index("<p><a href=") < html.index("</body>")
    assert url in html
    assert part(letter, "plain").rstrip().endswith(url)
    with translation.override("ru"):
        word = translation.gettext("Unsubscribe")
    assert f">{word}</a>" in html


@pytest.mark.parametrize(
    "content",
    [
        {"html": '<a href="{{ unsubscribe_url }}">no more</a>'},
        {"html": "<p>Hi</p>", "text": "out: {{ unsubscribe_url }}"},
        {"html": "", "text": "{% if true %}{{ unsubscribe_url }}{% endif %}"},
    ],
)
def test_a_letter_with_its_own_way_out_gets_no_second(content: dict[str, str]) -> None:
    letter = letter_of(campaign_of(**content))
    url = letter["List-Unsubscribe"].strip("<>")
    bodies = [one.get_content() for one in letter.walk() if not one.is_multipart()]
    for body in bodies:
        assert body.count(url) <= 1
    assert any(url in body for body in bodies)


def test_contacts_cannot_replace_what_is_built_in() -> None:
    fields = {"email": "evil@x.test", "unsubscribe_url": "https://evil.test", "first_name": "Eve"}
    campaign = campaign_of(text="{{ email }} {{ first_name }} {{ unsubscribe_url }}")
    text = part(letter_of(campaign, fields=fields, first_name="Anna"), "plain")
    assert "anna@x.test Anna http" in text
    assert "evil" not in text


def test_html_values_are_escaped_and_text_values_are_not() -> None:
    campaign = campaign_of(html="<p>{{ first_name }}</p>", text="{{ first_name }}")
    letter = letter_of(campaign, first_name='<img src=x onerror="1">')
    assert "<img" not in part(letter, "html")
    assert '<img src=x onerror="1">' in part(letter, "plain")


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_whatever_the_values_hold_the_headers_are_ours(first: str, city: str) -> None:
    campaign = campaign_of(subject="{{ first_name }}: {{ city }}", text="{{ city }}")
    try:
        letter = letter_of(campaign, first_name=first, fields={"city": city})
    except LetterFault:
        return
    assert sorted(name.lower() for name in letter) == [
        *("content-type", "date", "from", "list-unsubscribe", "list-unsubscribe-post"),
        *("message-id", "mime-version", "subject", "to"),
    ]
    assert letter["To"] == "anna@x.test"


@pytest.mark.parametrize("control", ["\r\nBcc: e@x.test", "\n", "\r", "\0", "\x85", "\u2028"])
@pytest.mark.parametrize("field", ["from_name", "from_email", "reply_to"])
def test_no_header_takes_a_line_break(field: str, control: str) -> None:
    campaign = campaign_of()
    setattr(campaign, field, f"a{control}@x.test")
    with pytest.raises(InvalidInput):
        letters.compiled(campaign)


@pytest.mark.parametrize("control", ["\r\nBcc: e@x.test", "\n", "\0", "\u2029"])
def test_a_recipient_with_a_line_break_gets_no_letter(control: str) -> None:
    with pytest.raises(LetterFault):
        letter_of(campaign_of(), email=f"a@x.test{control}")


@pytest.mark.parametrize(
    ("field", "source", "line"),
    [("subject", "{{", 1), ("html", "<p>\n{% if %}", 2), ("text", "a\n\n{{ x | nosuch }}", 3)],
)
def test_a_mistake_is_named_with_its_line(field: str, source: str, line: int) -> None:
    with pytest.raises(InvalidInput, match=f"line {line}"):
        letters.compiled(campaign_of(**{field: source}))


def test_a_preview_shows_the_contact_or_an_invented_one(workspace: Workspace) -> None:
    campaign = make_campaign(workspace)
    contact = make_contact(workspace, first_name="Olga")
    assert letters.preview(campaign, contact).subject == "News for Olga"
    preview = letters.preview(campaign, None)
    assert preview.subject == "News for Anna"
    assert "/u/test/" in preview.html
    assert "/u/test/" in preview.text


def test_a_preview_of_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        letters.preview(campaign_of(text="{{ 1 | divided_by: 0 }}"), None)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_content_of_a_campaign_adds_a_header(subject: str) -> None:
    try:
        letter = letter_of(campaign_of(subject=subject, from_name=subject[:150]))
    except (InvalidInput, LetterFault):
        return
    assert letter.get_all("Bcc") is None
    assert len(letter.get_all("Subject") or []) == 1
    assert str(letter["From"]).endswith("news@shop.test>") or letter["From"] == "news@shop.test"
