from __future__ import annotations

import re
from datetime import UTC, datetime
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
from apps.campaigns.tokens import Kind
from apps.mailer.models import Contact
from core.errors import InvalidInput
from mailkit.machines import HONEYPOT_LINK
from mailkit.smtp.message import WireMessage
from tests.support.factories import make_campaign, make_contact

pytestmark = pytest.mark.django_db  # the signing keys of the domain are looked up

AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)
UNSUBSCRIBE = "{{ unsubscribe_url }}"


def parsed(message: WireMessage) -> EmailMessage:
    data = re.sub(rb"(?m)^\.\.", b".", message.stuffed)
    assert len(data) == message.size
    return message_from_bytes(data, policy=policy.default)


def part(letter: EmailMessage, kind: str) -> str:
    body = letter.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def campaign_of(**fields: Any) -> Campaign:
    return Campaign(
        **{
            "pk": 7,
            "workspace": Workspace(pk=1),
            "subject": "Hello",
            "from_email": "news@shop.test",
            "html": "<html><body><p>Hi</p></body></html>",
            "text": "",
        }
        | fields
    )


def message_of(campaign: Campaign, **contact: Any) -> WireMessage:
    person = Contact(pk=5, **{"email": "anna@x.test"} | contact)
    values = {
        **person.fields,
        "first_name": person.first_name,
        "last_name": person.last_name,
    }
    return letters.compiled(campaign).letter(person.pk, person.email, values, date=AT)


def letter_of(campaign: Campaign, **contact: Any) -> EmailMessage:
    return parsed(message_of(campaign, **contact))


# Letters


def test_the_same_letter_again_has_the_same_bytes() -> None:
    linked = campaign_of(html='<a href="https://x.test">{{ first_name }}</a>')
    again = message_of(linked, first_name="Anna")
    assert message_of(linked, first_name="Anna") == again
    assert message_of(linked, first_name="Olga") != again
    later = letters.compiled(linked).letter(
        5, "anna@x.test", {"first_name": "Anna"}, date=timezone.now()
    )
    dates = re.compile(rb"\r\nDate: [^\r]+")
    assert dates.sub(b"", later.stuffed) == dates.sub(b"", again.stuffed)
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
    assert tokens.read(Kind.UNSUBSCRIBE, url.rpartition("/")[2]) == (7, 5, 0)
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
    campaign = campaign_of(
        html="<p>{{ first_name }}</p>", text="{{ first_name }}", track_opens=False
    )
    letter = letter_of(campaign, first_name='<img src=x onerror="1">')
    assert "<img" not in part(letter, "html")
    assert '<img src=x onerror="1">' in part(letter, "plain")


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["", "{% if city %}{% endif %}"]),
)
def test_whatever_the_values_hold_the_headers_are_ours(first: str, city: str, logic: str) -> None:
    campaign = campaign_of(subject="{{ first_name }}: {{ city }}", text=logic + "{{ city }}")
    try:
        letter = letter_of(campaign, first_name=first, fields={"city": city})
    except LetterFault:
        return
    assert sorted(name.lower() for name in letter) == [
        *("content-type", "date", "feedback-id", "from", "list-id"),
        *("list-unsubscribe", "list-unsubscribe-post", "message-id", "mime-version"),
        *("precedence", "subject", "to", "x-mailru-msgtype"),
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


def test_a_test_letter_is_not_tracked_and_has_no_one_click_header() -> None:
    html = '<body><a href="https://x.test/">x</a></body>'
    compiled = letters.compiled(campaign_of(html=html))
    letter = parsed(compiled.test_letter("anna@x.test", letters.sample_values(None), 3))
    assert letter["List-Unsubscribe"] is None
    assert str(letter["Message-ID"]).startswith("<test.3.")
    assert 'href="https://x.test/"' in part(letter, "html")
    assert "<img" not in part(letter, "html")
    assert "/u/test/" in part(letter, "html")


# Tracking

LINKS = f"""<html><body>
<a href="https://x.test/?a=1&amp;b=%C3%A9">one</a> <A class='b' HREF = 'http://y.test'>two</A>
<a href="mailto:a@x.test">m</a> <a href="tel:+7">t</a> <a href="#top">h</a> <a name="n">n</a>
<a href="https://x.test/{{{{ city }}}}">merged</a> <a href="{UNSUBSCRIBE}">out</a>
<a data-href="https://no.test" title="a > b" href=" https://z.test/#x ">three</a>
<a href="{{% if city %}}https://x.test{{% endif %}}">logic</a> <a href="/local">local</a>
<a href="javascript:alert(1)">js</a> <a href="https://">nowhere</a> <a href="">empty</a>
<link href="https://no.test/style.css"><area href="https://no.test">
{{% raw %}}<a href="https://raw.test">{{{{ shown }}}}</a>{{% endraw %}}
</body></html>"""
TARGETS = ("https://x.test/?a=1&b=%C3%A9", "http://y.test", "https://z.test/#x")


def hrefs(html: str) -> list[str]:
    return re.findall(r"""(?i)\shref\s*=\s*["'](.*?)["']""", html)


def test_links_lead_through_the_counter_in_their_order(settings: LazySettings) -> None:
    campaign = campaign_of(html=LINKS)
    assert letters.compiled(campaign).links == TARGETS
    html = part(letter_of(campaign, fields={"city": "Perm"}), "html")
    tracked = [href for href in hrefs(html) if href.startswith(f"{settings.BASE_URL}/c/")]
    read = [tokens.read(Kind.CLICK, href.rpartition("/")[2]) for href in tracked]
    assert read == [(7, 5, 1), (7, 5, 2), (7, 5, 3), (7, 5, HONEYPOT_LINK)]
    for target in TARGETS:
        assert target not in html


def test_what_is_no_link_for_all_is_left_alone(settings: LazySettings) -> None:
    html = part(letter_of(campaign_of(html=LINKS), fields={"city": "Perm"}), "html")
    assert [href for href in hrefs(html) if not href.startswith(f"{settings.BASE_URL}/c/")] == [
        *("mailto:a@x.test", "tel:+7", "#top", "https://x.test/Perm"),
        f"{settings.BASE_URL}/u/{tokens.sign(Kind.UNSUBSCRIBE, 7, 5)}",
        *("https://x.test", "/local", "javascript:alert(1)", "https://", ""),
        *("https://no.test/style.css", "https://no.test", "https://raw.test"),
    ]
    assert "{{ shown }}" in html
    assert 'data-href="https://no.test"' in html


def test_the_added_unsubscribe_line_is_not_tracked(settings: LazySettings) -> None:
    campaign = campaign_of(html='<a href="https://x.test">x</a>')
    html = part(letter_of(campaign), "html")
    assert letters.compiled(campaign).links == ("https://x.test",)
    assert hrefs(html)[1].startswith(f"{settings.BASE_URL}/u/")


def test_plain_text_is_not_tracked() -> None:
    campaign = campaign_of(html='<a href="https://x.test">x</a>', text="https://x.test")
    assert "https://x.test" in part(letter_of(campaign), "plain")


def test_the_pixel_stands_at_the_end(settings: LazySettings) -> None:
    html = part(letter_of(campaign_of()), "html")
    found = re.search(r'<img src="([^"]+)" width="1" height="1" alt=""></body></html>', html)
    assert found
    assert found[1] == f"{settings.BASE_URL}/o/{tokens.sign(Kind.OPEN, 7, 5)}.gif"
    html = part(letter_of(campaign_of(html="<p>Hi")), "html")
    assert html.rstrip().endswith('alt="">')
    assert html.count("<img") == 1


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("clicks", [True, False])
def test_each_kind_of_tracking_has_its_switch(opens: bool, clicks: bool) -> None:
    campaign = campaign_of(
        html='<a href="https://x.test">x</a>', track_opens=opens, track_clicks=clicks
    )
    letter = letter_of(campaign)
    html = part(letter, "html")
    assert ("<img" in html) is opens
    assert ("/c/" in html) is clicks
    assert ("https://x.test" in html) is not clicks
    assert letters.compiled(campaign).links == (("https://x.test",) if clicks else ())
    assert letter["List-Unsubscribe"]


def test_a_letter_of_text_alone_has_nothing_to_track() -> None:
    letter = letter_of(campaign_of(html="", text="https://x.test"))
    assert not letter.is_multipart()
    assert "https://x.test" in letter.get_content()
    assert "_open" not in letter.get_content()


def test_contacts_cannot_lead_links_elsewhere() -> None:
    fields = {"_link_1": "https://evil.test", "_open": "https://evil.test"}
    html = part(letter_of(campaign_of(html=LINKS), fields=fields), "html")
    assert "evil" not in html


def test_every_tracked_link_has_a_token_that_is_read(settings: LazySettings) -> None:
    count = tokens.MOST_LINKS + 5
    html = "".join(f'<a href="https://x.test/{n}">{n}</a>\n' for n in range(count))
    campaign = campaign_of(html=html)
    found = hrefs(part(letter_of(campaign), "html"))
    for number, href in enumerate(found[: tokens.MOST_LINKS], start=1):
        assert tokens.read(Kind.CLICK, href.rpartition("/")[2]) == (7, 5, number)
    assert found[tokens.MOST_LINKS : count] == [
        f"https://x.test/{n}" for n in range(tokens.MOST_LINKS, count)
    ]
    assert len(letters.compiled(campaign).links) == tokens.MOST_LINKS


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_numbers_and_targets_fit_whatever_the_html(text: str) -> None:
    html = f"<p>{text}<a href=\"https://x.test/\">x</a>{text}<a href='https://y.test/'>"
    try:
        campaign = campaign_of(html=html, text="Hi")
        compiled, letter = letters.compiled(campaign), letter_of(campaign)
    except (InvalidInput, LetterFault):
        return
    read = [
        tokens.read(Kind.CLICK, token)
        for token in re.findall(r"/c/([\w.-]+)", part(letter, "html"))
    ]
    assert read[:-1] == [(7, 5, number) for number in range(1, len(compiled.links) + 1)]
    assert read[-1] == (7, 5, HONEYPOT_LINK)
