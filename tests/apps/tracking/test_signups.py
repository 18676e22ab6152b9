"""Sign-up forms as the public meets them: two steps, one answer for everybody, no robots."""

from __future__ import annotations

import re
import time
from concurrent.futures import Future
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.services import confirmations
from apps.mailer.models import (
    Contact,
    ContactField,
    ContactList,
    Signup,
    SignupForm,
    Suppression,
)
from apps.mailer.services import contacts_erasure as erasure
from apps.tracking.services import signups
from tests.support.concurrency import in_thread
from tests.support.factories import make_contact, make_list
from tests.support.sandbox import Sandbox

ANNA = "anna@inbox.sandbox.test"


@pytest.fixture
def news(workspace: Workspace) -> ContactList:
    return make_list(workspace, "News")


@pytest.fixture
def form(workspace: Workspace, owner: User, news: ContactList) -> SignupForm:
    made = SignupForm.objects.create(
        workspace=workspace,
        name="Footer",
        title="News of the shop",
        intro="Once a week.",
        consent="I want <b>letters</b>.",
        thanks="See you!",
        fields=["first_name", "size"],
        from_name="Shop",
        from_email="news@inbox.sandbox.test",
        created_by=owner,
    )
    made.lists.add(news)
    ContactField.objects.create(
        workspace=workspace, key="size", label="Size", kind="choice", choices=["S", "M"]
    )
    return made


def send(form: SignupForm, client: Client | None = None, **data: Any) -> str:
    """Fill the form in as a person does, who takes a moment."""
    given = {"email": ANNA, "consent": "yes", "stamp": signups.stamp(form, time.time() - 10)} | data
    response = (client or Client(enforce_csrf_checks=True)).post(f"/f/{form.key}", given)
    assert response.status_code in {200, 429}
    assert not response.cookies
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["X-Robots-Tag"] == "noindex"
    return response.content.decode()


def confirm(signup: Signup, method: str = "post") -> str:
    response = getattr(Client(enforce_csrf_checks=True), method)(f"/s/{signup.key}")
    assert response.status_code == 200
    assert not response.cookies
    return str(response.content.decode())


# The way in


def test_the_way_in(form: SignupForm, news: ContactList, sandbox: Sandbox) -> None:
    page = Client().get(f"/f/{form.key}").content.decode()
    assert "I want &lt;b&gt;letters&lt;/b&gt;." in page
    asked = send(form, email=" Anna@Inbox.sandbox.test ", field_first_name="Anna", field_size="M")
    assert "look into your mailbox" in asked
    assert not Contact.objects.exists()
    signup = Signup.objects.get()
    assert (signup.email, signup.consent, signup.form_name) == (ANNA, form.consent, "Footer")
    assert signup.address == "127.0.0.1"

    confirmations.send_confirmation(signup.pk)
    confirmations.send_confirmation(signup.pk)
    (stored,) = sandbox.to(ANNA)
    letter = message_from_bytes(stored.data, policy=policy.default)
    assert isinstance(letter, EmailMessage)
    assert letter["From"] == "Shop <news@inbox.sandbox.test>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["List-Unsubscribe"] is None
    text = letter.get_body(("plain",))
    assert text is not None
    link = re.search(r"/s/(\S+)", text.get_content())
    assert link
    assert link[1] == signup.key
    signup.refresh_from_db()
    assert signup.mail == Signup.Mail.SENT

    for method in ("get", "head", "get"):
        confirm(signup, method)
    assert not Contact.objects.exists()
    for _ in range(2):
        assert "See you!" in confirm(signup)
    contact = Contact.objects.get()
    assert (contact.email, contact.first_name, contact.fields) == (ANNA, "Anna", {"size": "M"})
    assert (contact.status, contact.verdict, contact.reason) == ("subscribed", "valid", "confirmed")
    assert list(contact.lists.all()) == [news]
    signup.refresh_from_db()
    assert signup.confirmed_at is not None
    assert signup.confirmed_address == "127.0.0.1"


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_subscribe_once(form: SignupForm) -> None:
    send(form)
    signup = signups.read_key(Signup.objects.get().key)
    assert signup is not None
    clicks: list[Future[None]] = [
        in_thread(signups.confirm, signup=signup, address=None) for _ in range(4)
    ]
    for click in clicks:
        click.result(timeout=30)
    assert Contact.objects.count() == 1


def test_a_link_too_old_or_of_a_deleted_form_says_so(form: SignupForm) -> None:
    send(form)
    signup = Signup.objects.get()
    Signup.objects.update(created_at=timezone.now() - timedelta(days=7, seconds=1))
    old = Client().post(f"/s/{signup.key}")
    Signup.objects.update(created_at=timezone.now())
    form.delete()
    gone = Client().post(f"/s/{signup.key}")
    unknown = Client().post("/s/" + "A" * 22)
    assert {one.status_code for one in (old, gone, unknown)} == {404}
    assert not Contact.objects.exists()
    assert Signup.objects.get().consent
    assert Client().get("/f/" + "A" * 22).status_code == 404


# Who is there already


def test_somebody_who_unsubscribed_comes_back_by_confirming_only(
    form: SignupForm, workspace: Workspace, news: ContactList
) -> None:
    contact = make_contact(workspace, ANNA, status="unsubscribed", first_name="Anna")
    Suppression.objects.create(workspace=workspace, email=ANNA, reason="unsubscribed")
    send(form, field_first_name="Mallory")
    contact.refresh_from_db()
    assert contact.status == "unsubscribed"
    signup = Signup.objects.get()
    confirm(signup)
    contact.refresh_from_db()
    assert (contact.status, contact.first_name) == ("subscribed", "Anna")
    assert not Suppression.objects.exists()
    assert news in contact.lists.all()
    # A later no is not undone by the old link.
    Contact.objects.update(status="unsubscribed")
    confirm(signup)
    contact.refresh_from_db()
    assert contact.status == "unsubscribed"


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_bounced_and_complained_get_no_letter_and_stay(
    form: SignupForm, workspace: Workspace, status: str
) -> None:
    make_contact(workspace, ANNA, status=status)
    assert "look into your mailbox" in send(form)
    assert not Signup.objects.exists()


def test_a_complaint_between_the_steps_stays(form: SignupForm, workspace: Workspace) -> None:
    contact = make_contact(workspace, ANNA)
    send(form)
    Contact.objects.update(status="complained")
    confirm(Signup.objects.get())
    contact.refresh_from_db()
    assert contact.status == "complained"


def test_the_answer_is_the_same_for_every_address(form: SignupForm, workspace: Workspace) -> None:
    make_contact(workspace, "subscribed@inbox.sandbox.test")
    make_contact(workspace, "left@inbox.sandbox.test", status="unsubscribed")
    make_contact(workspace, "bounced@inbox.sandbox.test", status="bounced")
    Suppression.objects.create(workspace=workspace, email="@never.test", reason="manual")
    pages = set()
    for email in ("new@x.test", "a@never.test", "bounced@inbox.sandbox.test",
                  "subscribed@inbox.sandbox.test", "left@inbox.sandbox.test"):  # fmt: skip
        for _ in range(2):
            pages.add(send(form, email=email).replace(email, ""))
    assert len(pages) == 1
    assert set(Signup.objects.values_list("email", flat=True)) == {
        *("new@x.test", "subscribed@inbox.sandbox.test", "left@inbox.sandbox.test")
    }


def test_the_erased_may_come_back_and_leave_again(form: SignupForm, workspace: Workspace) -> None:
    erasure.erase(contact=make_contact(workspace, ANNA))
    send(form)
    confirm(Signup.objects.get())
    contact = Contact.objects.get()
    assert not Suppression.objects.exists()
    data = erasure.personal_data(contact=contact)
    assert data["consents"][0]["wording"] == form.consent
    erasure.erase(contact=contact)
    assert not Signup.objects.exists()


# Robots


def test_a_letter_to_an_address_is_sent_once_in_a_while(form: SignupForm) -> None:
    for _ in range(3):
        send(form)
    assert Signup.objects.count() == 1


def test_too_many_forms_from_one_network_address(form: SignupForm, settings: LazySettings) -> None:
    for number in range(30):
        assert "mailbox" in send(form, email=f"a{number}@x.test")
    page = send(form, email="one.more@x.test")
    assert "try again in an hour" in page
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    proxied = Client(headers={"x-forwarded-for": "10.0.0.1, 203.0.113.9"})
    assert "mailbox" in send(form, proxied, email="other@x.test")
    assert Signup.objects.order_by("-id")[0].address == "203.0.113.9"
    assert Signup.objects.count() == 31


def test_the_trap_answers_and_does_nothing(form: SignupForm) -> None:
    assert "look into your mailbox" in send(form, website="https://spam.test")
    assert not Signup.objects.exists()


@pytest.mark.parametrize("age", [0, 1, 24 * 3600 + 60])
def test_a_form_sent_too_fast_or_too_late_is_shown_once_more(form: SignupForm, age: int) -> None:
    page = send(form, stamp=signups.stamp(form, time.time() - age), field_first_name="Anna")
    assert "One more step" in page
    assert ANNA in page
    assert 'value="Anna"' in page
    assert not Signup.objects.exists()


def test_a_form_on_another_site_takes_one_more_step(form: SignupForm) -> None:
    client = Client(enforce_csrf_checks=True, headers={"origin": "https://blog.test"})
    page = client.post(f"/f/{form.key}/", {"email": ANNA, "consent": "yes"}).content.decode()
    assert "One more step" in page
    assert "checked" in page
    other = SignupForm.objects.create(
        workspace=form.workspace, name="Other", title="T", consent="C", from_email="a@x.test"
    )
    for bad in ("", "x", "a:b:c", signups.stamp(other, time.time() - 10)):
        assert "One more step" in send(form, stamp=bad)
    assert not Signup.objects.exists()


@pytest.mark.parametrize(
    "email", ["", "anna", "a@b", "a@x.test\r\nBcc: e@x.test", "a@x.test,b@x.test", "x" * 300]
)
def test_what_is_no_address_is_asked_for_again(form: SignupForm, email: str) -> None:
    page = send(form, email=email)
    assert 'role="alert"' in page
    assert not Signup.objects.exists()


def test_no_consent_no_letter(form: SignupForm) -> None:
    assert "Tick the box" in send(form, consent="")
    assert 'role="alert"' in send(form, field_size="XXL")
    assert not Signup.objects.exists()


def test_hostile_values_stay_text(form: SignupForm, sandbox: Sandbox) -> None:
    SignupForm.objects.update(title="{{ 7 | times: 6 }} <script>", from_name='"Shop" <x@y>')
    form.refresh_from_db()
    send(form, field_first_name="<script>alert(1)</script>{{ email }}\r\nBcc: e@x.test")
    signup = Signup.objects.get()
    confirmations.send_confirmation(signup.pk)
    (stored,) = sandbox.to(ANNA)
    letter = message_from_bytes(stored.data, policy=policy.default)
    assert letter["Subject"] == "Please confirm: {{ 7 | times: 6 }} <script>"
    assert letter["Bcc"] is None
    assert str(letter["From"]).endswith("<news@inbox.sandbox.test>")
    assert "<script>" not in confirm(signup)
    assert "\n" not in Contact.objects.get().first_name


# What goes wrong on the way


def test_a_letter_that_nobody_sent_is_found_and_a_refused_one_said(
    form: SignupForm, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(form)
    rung: list[int] = []
    monkeypatch.setattr(confirmations, "ring", rung.append)
    confirmations.sweep()
    assert rung == []
    Signup.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    confirmations.sweep()
    assert rung == [Signup.objects.get().pk]
    Signup.objects.update(mail="sending", updated_at=timezone.now() - timedelta(hours=1))
    confirmations.sweep()
    assert Signup.objects.get().mail == "unknown"
    Signup.objects.update(created_at=timezone.now() - timedelta(days=31))
    confirmations.sweep()
    assert not Signup.objects.exists()


@pytest.mark.parametrize(
    ("to", "says", "goes_on"),
    [
        ("anna@grey.sandbox.test", "451", True),
        ("anna@disabled.sandbox.test", "550", False),
    ],
)
def test_a_server_that_greylists_gets_the_letter_later(
    form: SignupForm,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    says: str,
    goes_on: bool,
) -> None:
    send(form, email=to)
    rung: list[int] = []
    monkeypatch.setattr(confirmations, "ring", rung.append)
    signup = Signup.objects.get()
    confirmations.send_confirmation(signup.pk)
    signup.refresh_from_db()
    assert signup.reply.startswith(says)
    assert signup.mail == ("queued" if goes_on else "failed")
    # It has waited for an hour: so long it waits once more.
    now = timezone.now()
    for since, due in ((59, False), (61, True)):
        tried = now - timedelta(minutes=since)
        Signup.objects.update(created_at=tried - timedelta(hours=1), updated_at=tried)
        confirmations.sweep()
        assert rung == ([signup.pk] if due and goes_on else [])
    # After a day nobody waits for it any more.
    Signup.objects.update(mail="queued", created_at=now - timedelta(hours=25))
    confirmations.send_confirmation(signup.pk)
    signup.refresh_from_db()
    assert signup.mail in ({"failed", "sent"} if goes_on else {"failed"})


def test_a_sender_that_cannot_be_used_fails_in_words(form: SignupForm, sandbox: Sandbox) -> None:
    SignupForm.objects.update(from_email="no address")
    send(form)
    signup = Signup.objects.get()
    confirmations.send_confirmation(signup.pk)
    signup.refresh_from_db()
    assert signup.mail == "failed"
    assert signup.reply
    assert not sandbox.messages


def test_the_form_speaks_its_own_language(form: SignupForm) -> None:
    SignupForm.objects.update(language="ru")
    response = Client().get(f"/f/{form.key}", headers={"accept-language": "en"})
    assert '<html lang="ru">' in response.content.decode()
    assert response["Content-Language"] == "ru"
