from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.core import mail
from django.test import Client, RequestFactory
from django.urls import reverse
from django.views.defaults import page_not_found, permission_denied, server_error

from apps.accounts.models import User, Workspace
from tests.support import factories

ClientOf = Callable[[User], Client]


@pytest.fixture
def person(owner: User) -> User:
    """The owner, with a password to sign in by."""
    owner.set_password("correct horse battery")
    owner.save()
    return owner


def test_home_leads_to_the_first_workspace(
    client_of: ClientOf, owner: User, workspace: Workspace
) -> None:
    factories.make_workspace(owner, name="Zoo", slug="zoo")
    response = client_of(owner).get("/")
    assert response.status_code == 302
    assert response["Location"] == "/w/shop/"


def test_home_of_a_person_without_a_workspace(client_of: ClientOf, owner: User) -> None:
    response = client_of(owner).get("/")
    assert response.status_code == 200
    assert "You are not in a workspace yet" in response.text
    assert "owner@example.com" in response.text


@pytest.mark.parametrize("path", ["/", "/profile/", "/accounts/password/change/"])
def test_the_anonymous_are_sent_to_sign_in(client: Client, db: None, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=")


def test_profile_is_saved(client_of: ClientOf, owner: User, workspace: Workspace) -> None:
    response = client_of(owner).post(
        "/profile/",
        {"name": "Ольга", "language": "ru", "time_zone": "Asia/Yekaterinburg"},
        follow=True,
    )
    owner.refresh_from_db()
    assert (owner.name, owner.language) == ("Ольга", "ru")
    assert owner.time_zone == "Asia/Yekaterinburg"
    assert '<html lang="ru"' in response.text


@pytest.mark.parametrize(
    ("field", "value"), [("time_zone", "Mars/Olympus"), ("time_zone", ""), ("language", "xx")]
)
def test_profile_refuses_what_does_not_exist(
    client_of: ClientOf, owner: User, field: str, value: str
) -> None:
    data = {"name": "Changed", "language": "en", "time_zone": "UTC"} | {field: value}
    response = client_of(owner).post("/profile/", data)
    assert response.status_code == 200
    assert 'aria-invalid="true"' in response.text
    owner.refresh_from_db()
    assert owner.name == "Olga Owner"


def test_profile_keeps_a_time_zone_that_the_list_does_not_offer(
    client_of: ClientOf, owner: User
) -> None:
    User.objects.filter(pk=owner.pk).update(time_zone="Etc/GMT+5")
    data = {"name": "Olga", "language": "", "time_zone": "Etc/GMT+5"}
    assert client_of(owner).post("/profile/", data).status_code == 302


def test_language_switch_is_remembered_by_the_profile(client_of: ClientOf, owner: User) -> None:
    client = client_of(owner)
    response = client.post("/language/", {"language": "ru", "next": "/profile/"})
    assert response["Location"] == "/profile/"
    owner.refresh_from_db()
    assert owner.language == "ru"
    assert '<html lang="ru"' in client.get("/profile/").text


def test_language_switch_of_the_anonymous(client: Client, db: None) -> None:
    client.post("/language/", {"language": "ru", "next": "/accounts/login/"})
    assert '<html lang="ru"' in client.get("/accounts/login/").text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/"])
def test_language_switch_leads_nowhere_else(client: Client, db: None, target: str) -> None:
    response = client.post("/language/", {"language": "ru", "next": target})
    assert "evil" not in response["Location"]


def test_language_switch_ignores_unknown_languages(client_of: ClientOf, owner: User) -> None:
    client_of(owner).post("/language/", {"language": "xx"})
    owner.refresh_from_db()
    assert owner.language == ""


def test_signing_in_and_out(client: Client, person: User, workspace: Workspace) -> None:
    page = client.get("/accounts/login/")
    assert "Sign up" not in page.text
    response = client.post(
        "/accounts/login/", {"login": "OWNER@example.com", "password": "correct horse battery"}
    )
    assert response.status_code == 302
    assert client.get("/profile/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/profile/").status_code == 302


def test_a_wrong_password_is_said_beside_the_form(client: Client, person: User) -> None:
    response = client.post("/accounts/login/", {"login": "owner@example.com", "password": "wrong"})
    assert response.status_code == 200
    assert 'role="alert"' in response.text
    assert "_auth_user_id" not in client.session


def test_signing_out_asks_first(client_of: ClientOf, owner: User) -> None:
    client = client_of(owner)
    assert "Sign out?" in client.get("/accounts/logout/").text
    assert "_auth_user_id" in client.session


def test_sign_up_is_closed_unless_opened(client: Client, db: None, settings: LazySettings) -> None:
    assert "Sign-up is closed" in client.get("/accounts/signup/").text
    data = {
        "email": "new@example.com",
        "password1": "a long password 1",
        "password2": "a long password 1",
    }
    client.post("/accounts/signup/", data)
    assert not User.objects.filter(email="new@example.com").exists()
    settings.SIGNUP_OPEN = True
    assert "Create an account" in client.get("/accounts/signup/").text
    assert "Sign up" in client.get("/accounts/login/").text
    client.post("/accounts/signup/", data)
    assert User.objects.filter(email="new@example.com").exists()


def test_password_reset_by_mail(client: Client, person: User) -> None:
    response = client.post("/accounts/password/reset/", {"email": person.email}, follow=True)
    assert "Check your mail" in response.text
    (letter,) = mail.outbox
    assert letter.to == [person.email]
    assert "Choose a new VashSender password" in letter.subject
    (link,) = re.findall(r"https?://testserver(/\S+)", str(letter.body))
    page = client.get(link, follow=True)
    assert "Choose a new password" in page.text
    passwords = {"password1": "another long one 2", "password2": "another long one 2"}
    done = client.post(page.redirect_chain[-1][0], passwords, follow=True)
    assert "Your password is changed" in done.text
    person.refresh_from_db()
    assert person.check_password("another long one 2")
    assert "This link no longer works" in client.get(link, follow=True).text


def test_password_reset_of_an_unknown_address_tells_only_the_mailbox(
    client: Client, db: None
) -> None:
    response = client.post(
        "/accounts/password/reset/", {"email": "nobody@example.com"}, follow=True
    )
    assert "Check your mail" in response.text
    (letter,) = mail.outbox
    assert letter.to == ["nobody@example.com"]
    assert "no account with this address" in str(letter.body)


def test_changing_the_password(client_of: ClientOf, person: User) -> None:
    client = client_of(person)
    assert "Change password" in client.get("/accounts/password/change/").text
    data = {"password1": "another long one 2", "password2": "another long one 2"}
    wrong = client.post("/accounts/password/change/", {"oldpassword": "wrong", **data})
    assert 'aria-invalid="true"' in wrong.text
    client.post("/accounts/password/change/", {"oldpassword": "correct horse battery", **data})
    person.refresh_from_db()
    assert person.check_password("another long one 2")


@pytest.mark.parametrize(
    "name", ["account_login", "account_reset_password", "account_reset_password_done",
             "account_inactive", "account_reset_password_from_key_done"]
)  # fmt: skip
def test_pages_outside_the_application_use_its_look(client: Client, db: None, name: str) -> None:
    response = client.get(reverse(name))
    assert response.status_code == 200
    assert "css/app.css" in response.text
    assert "VashSender</title>" in response.text


@pytest.mark.parametrize("name", ["account_email", "account_reauthenticate"])
def test_pages_of_allauth_without_a_template_of_ours_still_open(
    client_of: ClientOf, person: User, name: str
) -> None:
    response = client_of(person).get(reverse(name))
    assert response.status_code == 200
    assert "css/app.css" in response.text


def test_error_pages(client: Client, db: None, rf: RequestFactory) -> None:
    missing = client.get("/no/such/page/")
    assert missing.status_code == 404
    assert "Page not found" in missing.text
    request = rf.get("/")
    assert permission_denied(request, Exception()).status_code == 403
    assert page_not_found(request, Exception()).status_code == 404
    broken = server_error(request)
    assert broken.status_code == 500
    assert "Something broke on our side" in broken.text


def test_a_form_without_its_token_is_refused_politely(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    response = client.post("/profile/", {"name": "Mallory"})
    assert response.status_code == 403
    assert "This form is too old" in response.text


def test_pages_hold_nothing_that_the_content_policy_forbids(
    client_of: ClientOf, owner: User, workspace: Workspace
) -> None:
    response = client_of(owner).get("/profile/")
    policy = response["Content-Security-Policy"]
    (nonce,) = re.findall(r"script-src [^;]*'nonce-([^']+)'", policy)
    for tag in re.findall(r"<script[^>]*>", response.text):
        assert " src=" in tag or f'nonce="{nonce}"' in tag
    assert not re.search(r"<[^>]+\s(style|on\w+)=", response.text)


def test_the_sidebar_marks_the_current_page(
    client_of: ClientOf, owner: User, workspace: Workspace
) -> None:
    text = client_of(owner).get("/w/shop/audience/").text
    (current,) = re.findall(r'href="([^"]+)" aria-current="page"', text)
    assert current == "/w/shop/audience/"


def test_the_workspace_switcher_offers_ones_own_only(
    client_of: ClientOf, owner: User, outsider: User, workspace: Workspace
) -> None:
    text = client_of(owner).get("/w/shop/audience/").text
    assert "/w/shop/" in text
    assert "elsewhere" not in text
