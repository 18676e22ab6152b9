from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import User, Workspace
from apps.sandbox import letters
from apps.sandbox.models import Message
from apps.sandbox.world import BEHAVIOURS

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/sandbox/"
HOSTILE_HTML = (
    '<!doctype html><html><head><meta http-equiv="refresh" content="0;url=https://evil.example/">'
    "</head><body><script>alert(1)</script>"
    '<img src="https://evil.example/pixel.png"><a href="https://shop.example/">Shop</a></body></html>'
)


def receive(workspace: Workspace, data: bytes = b"", **fields: str) -> Message:
    defaults = {
        "envelope_from": "news@shop.test",
        "recipient": "anna@inbox.sandbox.test",
        "message_id": "<1@shop.test>",
        "subject": "Hello Anna",
    }
    return Message.objects.create(
        inbox=str(workspace.pk),
        data=data or b"Subject: Hello Anna\r\n\r\nHello\r\n",
        received_at=timezone.now(),
        **defaults | fields,
    )


def two_parts(html: str) -> bytes:
    return (
        "From: =?utf-8?b?0JzQsNCz0LDQt9C40L0=?= <news@shop.test>\r\n"
        "To: anna@inbox.sandbox.test\r\nSubject: Hello Anna\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello in text\r\n"
        f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--b--\r\n"
    ).encode()


def test_pages_are_for_members(
    workspace: Workspace, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    mail = receive(workspace, two_parts("<p>Hello</p>"))
    pages = ["", "newer-than/0/", "addresses/", "clear/", f"{mail.pk}/", f"{mail.pk}/html/"]
    for page in [*pages, f"{mail.pk}/source/"]:
        assert client_of(owner).get(PAGE + page).status_code == 200, page
        assert client_of(teammate).get(PAGE + page).status_code == 200, page
        assert client_of(outsider).get(PAGE + page).status_code == 404, page
        assert Client().get(PAGE + page).status_code == 302, page
    assert client_of(outsider).post(PAGE + "clear/").status_code == 404
    assert Message.objects.exists()


def test_another_workspaces_mail_is_not_there(
    workspace: Workspace, outsider: User, client_of: ClientOf
) -> None:
    mail = receive(workspace, two_parts("<p>Hello</p>"))
    receive(outsider.workspaces.get(), subject="Mine")
    elsewhere = "/w/elsewhere/sandbox/"
    client = client_of(outsider)
    page = client.get(elsewhere).content.decode()
    assert "Mine" in page
    assert "Hello Anna" not in page
    for path in (f"{mail.pk}/", f"{mail.pk}/html/", f"{mail.pk}/source/"):
        assert client.get(elsewhere + path).status_code == 404
    client.post(elsewhere + "clear/")
    assert list(Message.objects.all()) == [mail]


def test_an_empty_inbox_says_what_comes_here(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(PAGE).content.decode()
    assert "No mail yet" in page
    assert "/w/shop/campaigns/" in page


def test_search_finds_recipients_and_subjects(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    receive(workspace, subject="Spring sale", recipient="ivan@inbox.sandbox.test")
    receive(workspace, subject="Other", recipient="spring@inbox.sandbox.test")
    receive(workspace, subject="<b>Absurd</b>", recipient="anna@inbox.sandbox.test")
    found = client_of(owner).get(PAGE, {"search": "SPRING"}).content.decode()
    assert "Spring sale" in found
    assert "Other" in found
    assert "Absurd" not in found
    assert "&lt;b&gt;Absurd" in client_of(owner).get(PAGE).content.decode()
    assert "Nothing found" in client_of(owner).get(PAGE, {"search": "absent"}).content.decode()


def test_paging_shows_each_message_once(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    for number in range(60):
        receive(workspace, subject=f"Letter {number}.")
    client = client_of(owner)
    first = client.get(PAGE, {"search": "letter"})
    second = client.get(PAGE + first.context["page"].next_url)
    seen = [row.subject for answer in (first, second) for row in answer.context["page"].rows]
    assert seen == [f"Letter {number}." for number in reversed(range(60))]
    assert 'hx-trigger="every' in first.content.decode()
    assert 'hx-trigger="every' not in second.content.decode()


def test_the_list_is_sent_again_only_when_something_came(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    mail = receive(workspace)
    client = client_of(owner)
    assert client.get(f"{PAGE}newer-than/{mail.pk}/").status_code == 204
    receive(workspace, subject="Brand new")
    answer = client.get(f"{PAGE}newer-than/{mail.pk}/", {"search": "brand"})
    assert "Brand new" in answer.content.decode()
    assert "<html" not in answer.content.decode()
    Message.objects.all().delete()
    assert "No mail yet" in client.get(f"{PAGE}newer-than/{mail.pk}/").content.decode()


def test_a_message_shows_its_parts_headers_and_source(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    mail = receive(workspace, two_parts("<p>Hello in HTML</p>"))
    page = client_of(owner).get(f"{PAGE}{mail.pk}/").content.decode()
    assert "Hello in text" in page
    assert "Магазин" in page
    assert "=?utf-8?b?0JzQsNCz0LDQt9C40L0=?=" in page
    assert f'src="{PAGE}{mail.pk}/html/"' in page
    source = client_of(owner).get(f"{PAGE}{mail.pk}/source/")
    assert source.content == bytes(mail.data)
    assert source["Content-Disposition"].startswith("attachment")


def test_looking_at_a_letter_is_no_open(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    pixel = f'<img width="1" height="1" src="{settings.BASE_URL}/o/token.gif" alt="">'
    picture = f'<img src="{settings.BASE_URL}/m/1/a.png" alt="A">'
    mail = receive(workspace, two_parts(f"<!doctype html><p>Hello{picture}{pixel}</p>"))
    shown = client_of(owner).get(f"{PAGE}{mail.pk}/html/").content.decode()
    assert "/o/token.gif" not in shown
    assert f"<p>Hello{picture}</p>" in shown


def test_a_hostile_letter_may_do_nothing(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    mail = receive(workspace, two_parts(HOSTILE_HTML))
    response = client_of(owner).get(f"{PAGE}{mail.pk}/html/")
    policy = {
        name: values
        for name, _, values in (
            part.strip().partition(" ") for part in response["Content-Security-Policy"].split(";")
        )
    }
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == f"data: {settings.BASE_URL}/m/"
    assert "script-src" not in policy
    assert not {"allow-scripts", "allow-same-origin"} & set(policy["sandbox"].split())
    assert policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert response.content.decode().startswith('<!doctype html><base target="_blank">')
    page = client_of(owner).get(f"{PAGE}{mail.pk}/").content.decode()
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page
    assert "<script>alert" not in page


def test_a_message_without_html_has_no_html_page(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    mail = receive(workspace, b"Subject: x\r\n\r\nonly text\r\n")
    assert client_of(owner).get(f"{PAGE}{mail.pk}/html/").status_code == 404
    page = client_of(owner).get(f"{PAGE}{mail.pk}/").content.decode()
    assert "only text" in page
    assert "<iframe" not in page


def nested(depth: int) -> bytes:
    """A multipart in a multipart in a multipart …"""
    opening = "".join(
        f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n'
        for level in range(depth)
    )
    return b"Subject: deep\r\n" + opening.encode() + b"\r\ndeep\r\n"


HOSTILE = [
    b"",
    b"\x00\xff\xfe",
    b"Subject: =?utf-8?b?!!!?=\r\n\r\nx",
    b"Subject: =?nonsense?q?=FF?=\r\n\r\nx",
    b"Subject: =?utf-7?q?+2AA-?=\r\n\r\nx",
    b"Content-Type: text/html; charset=nonsense\r\n\r\n<p>x</p>",
    b"Content-Type: text/html; charset=hex\r\n\r\n<p>x</p>",
    b'Content-Type: text/html; charset="a\x00b"\r\n\r\n<p>x</p>',
    b"Content-Type: text/html; charset=utf-7\r\n\r\n+2AA- <p>x</p>",
    b"Content-Type: text/plain; charset*=x'y'%FF%zz\r\n\r\nx",
    b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!=a",
    b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin",
    b"Content-Type: multipart/mixed\r\n\r\n--\r\n",
    b"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nSubject: x",
    b"Content-Type: a/x; name*0*=utf-7''%2B2AA-\r\nContent-Disposition: attachment\r\n\r\n",
    b"Content-Disposition: attachment; filename==?utf-8?b?!!!?=\r\n\r\nx",
    "Subject: без кодировки\r\n\r\nтело".encode("koi8-r"),
    b"From: " + b"(" * 5000 + b"\r\n\r\nx",
    nested(40),
    nested(5000),
]


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_mail_is_shown_not_raised(
    workspace: Workspace, owner: User, client_of: ClientOf, data: bytes
) -> None:
    mail = receive(workspace, data or b" ")
    client = client_of(owner)
    assert client.get(f"{PAGE}{mail.pk}/").status_code == 200
    assert client.get(f"{PAGE}{mail.pk}/html/").status_code in {200, 404}


def test_what_is_nested_too_deeply_still_shows_its_headers() -> None:
    letter = letters.read(nested(5000))
    assert not letter.readable
    assert letter.header("subject") == "deep"


PIECES = st.sampled_from(
    [
        *(
            b"Content-Type: ",
            b"Content-Transfer-Encoding: ",
            b"Content-Disposition: ",
            b"Subject: ",
        ),
        *(b"multipart/mixed; boundary=b", b"text/html", b"text/plain", b"message/rfc822"),
        *(
            b"; charset=",
            b"; filename=",
            b"; filename*0*=",
            b"utf-8''%FF",
            b"utf-7",
            b"hex",
            b"idna",
        ),
        *(
            b"base64",
            b"quoted-printable",
            b"x-uuencode",
            b"attachment",
            b"=?",
            b"?b?",
            b"?q?",
            b"?=",
        ),
        *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"--b", b"--b--", b'"', b"\x00", b"\xff"),
    ]
)


@given(st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join))
def test_any_octets_can_be_read_and_encoded(data: bytes) -> None:
    letter = letters.read(data)
    shown = [letter.html or "", letter.text or "", letters.source(data)]
    shown += [text for header in letter.headers for text in header]
    shown += [one.name for one in letter.attachments]
    for text in shown:
        text.encode()


def test_attachments_are_named_not_rendered() -> None:
    letter = letters.read(
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n'
        b"Content-Type: text/html; name=a.html\r\n"
        b"Content-Disposition: attachment; filename=a.html\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nPGI+\r\n--b--\r\n"
    )
    assert letter.html is None
    assert letter.text == "hello"
    assert letter.attachments == (letters.Attachment("a.html", "text/html", 3),)


def test_delete_all_asks_first(workspace: Workspace, owner: User, client_of: ClientOf) -> None:
    receive(workspace)
    client = client_of(owner)
    assert "cannot be undone" in client.get(PAGE + "clear/").content.decode()
    assert Message.objects.exists()
    assert client.post(PAGE + "clear/").status_code == 302
    assert not Message.objects.exists()


def test_the_help_names_every_behaviour(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(PAGE + "addresses/").content.decode()
    for row in BEHAVIOURS:
        if row.domain:
            assert f"anna@{row.domain}.sandbox.test" in page
