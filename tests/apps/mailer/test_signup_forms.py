"""A workspace's sign-up forms, what it shows of its lists, and why people leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import ContactField, ContactList, LeavingReason, Signup, SignupForm
from tests.support.factories import make_contact, make_list, make_workspace

ClientOf = Callable[[User], Client]
FORMS = "/w/shop/audience/forms/"


@pytest.fixture
def news(workspace: Workspace) -> ContactList:
    return make_list(workspace, "News")


@pytest.fixture
def form(workspace: Workspace, news: ContactList) -> SignupForm:
    made = SignupForm.objects.create(
        workspace=workspace, name="Footer", title="News", consent="Yes", from_email="a@shop.test"
    )
    made.lists.add(news)
    return made


def written(news: ContactList, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Footer",
        "title": "News of the shop",
        "consent": "I agree.",
        "lists": [news.pk],
        "fields_asked": ["first_name"],
        "from_email": "News@Shop.test",
        "language": "ru",
    } | changes


def test_members_see_the_pages_and_outsiders_do_not(
    form: SignupForm,
    news: ContactList,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    paths = [
        *(FORMS, FORMS + "new/", FORMS + "leaving/"),
        *(f"{FORMS}{form.pk}/", f"{FORMS}{form.pk}/delete/"),
        f"/w/shop/audience/lists/{news.pk}/public/",
    ]
    for path in paths:
        assert client_of(owner).get(path).status_code == 200, path
        assert client_of(teammate).get(path).status_code == 200, path
        assert client_of(outsider).get(path).status_code == 404, path
        assert client_of(outsider).post(path).status_code in {404, 405}, path
        assert Client().get(path).status_code == 302, path
    for path in (f"forms/{form.pk}/", f"forms/{form.pk}/delete/", f"lists/{news.pk}/public/"):
        there = f"/w/elsewhere/audience/{path}"
        assert client_of(outsider).get(there).status_code == 404
        assert client_of(outsider).post(there).status_code == 404
    assert SignupForm.objects.count() == 1


def test_an_empty_page_says_what_to_do(
    workspace: Workspace, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(FORMS).content.decode()
    assert "make a list first" in page
    make_list(workspace)
    page = client_of(owner).get(FORMS).content.decode()
    assert f"{FORMS}new/" in page
    assert "No form matches" not in page
    assert "Nobody has said why yet" in client_of(owner).get(FORMS + "leaving/").content.decode()


def test_making_changing_and_deleting_a_form(
    workspace: Workspace, news: ContactList, owner: User, client_of: ClientOf
) -> None:
    client = client_of(owner)
    response = client.post(FORMS + "new/", written(news))
    made = SignupForm.objects.get()
    path = f"{FORMS}{made.pk}/"
    assert response["Location"] == path
    assert (made.from_email, made.language, made.fields) == ("news@shop.test", "ru", ["first_name"])
    page = client.get(path).content.decode()
    assert f"/f/{made.key}" in page
    assert "&lt;form action=" in page
    version = re.search(r'name="version" value="([^"]+)"', page)
    assert version
    changed = written(news, name="Header", version=version[1])
    assert client.post(path, changed).status_code == 302
    # Another tab, opened before.
    late = client.post(path, written(news, name="Late", version=version[1]))
    assert "Somebody else has changed this form" in late.content.decode()
    made.refresh_from_db()
    assert made.name == "Header"
    Signup.objects.create(
        workspace=workspace, form=made, form_name="Header", email="a@x.test", consent="I agree."
    )
    assert "cannot be brought back" not in client.get(path + "delete/").content.decode()
    assert client.post(path + "delete/").status_code == 302
    assert not SignupForm.objects.exists()
    assert Signup.objects.get().form is None
    assert client.post(path + "delete/").status_code == 404


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("name", ""), ("title", ""), ("consent", ""), ("lists", []), ("lists", ["x"])),
        *(("from_email", "x"), ("from_email", "a@b\r\nBcc: e@x.test"), ("language", "xx")),
        *(("from_name", "a\r\nBcc: e@x.test"), ("fields_asked", ["secret"]), ("name", "x" * 101)),
    ],
)
def test_what_cannot_be_is_refused(
    news: ContactList, owner: User, client_of: ClientOf, field: str, bad: Any
) -> None:
    response = client_of(owner).post(FORMS + "new/", written(news, **{field: bad}))
    assert response.status_code == 200
    assert "invalid-feedback" in response.content.decode()
    assert not SignupForm.objects.exists()


def test_a_list_of_another_workspace_is_refused(
    news: ContactList, owner: User, client_of: ClientOf
) -> None:
    theirs = make_list(make_workspace())
    client_of(owner).post(FORMS + "new/", written(news, lists=[theirs.pk]))
    assert not SignupForm.objects.exists()


def test_the_html_for_a_site_is_escaped_and_needs_no_script(
    form: SignupForm, owner: User, client_of: ClientOf
) -> None:
    ContactField.objects.create(
        workspace=form.workspace, key="size", label='<b>"', kind="choice", choices=["<i>", "M"]
    )
    SignupForm.objects.update(
        consent='"><script>alert(1)</script>', fields=["first_name", "size", "gone"]
    )
    snippet = client_of(owner).get(f"{FORMS}{form.pk}/").context["snippet"]
    assert snippet.startswith('<form action="http')
    assert f'/f/{form.key}" method="post"' in snippet
    for hostile in ("<script", "<b>", "<i>", "gone"):
        assert hostile not in snippet
    assert 'name="field_first_name"' in snippet
    assert '<select name="field_size">' in snippet


def test_counts_are_of_this_form(form: SignupForm, owner: User, client_of: ClientOf) -> None:
    now = timezone.now()
    for number, confirmed in enumerate((now, now, None)):
        Signup.objects.create(
            workspace=form.workspace, form=form, form_name="Footer", consent="Yes",
            email=f"a{number}@x.test", confirmed_at=confirmed,
        )  # fmt: skip
    (shown,) = client_of(owner).get(FORMS + "?search=foot").context["forms"]
    assert (shown.confirmed, shown.unconfirmed) == (2, 1)
    assert "No form matches" in client_of(owner).get(FORMS + "?search=zz").content.decode()


def test_a_consent_is_shown_on_the_contacts_page(
    form: SignupForm, owner: User, client_of: ClientOf
) -> None:
    contact = make_contact(form.workspace, "anna@x.test", every_days=7)
    Signup.objects.create(
        workspace=form.workspace, form=form, form_name="Footer", email="anna@x.test",
        consent="I <i>agree</i>.", address="203.0.113.9", confirmed_at=timezone.now(),
    )  # fmt: skip
    LeavingReason.objects.create(
        workspace=form.workspace, contact=contact, campaign_id=1, reason="other", comment="Bye"
    )
    page = client_of(owner).get(f"/w/shop/audience/{contact.pk}/").content.decode()
    assert "I &lt;i&gt;agree&lt;/i&gt;." in page
    assert "203.0.113.9" in page
    assert "Confirmed a sign-up by “Footer”" in page
    assert "at most one letter in 7 days" in page
    assert "Why no more letters" in page


def test_a_list_is_shown_to_recipients_under_another_name(
    news: ContactList, owner: User, client_of: ClientOf
) -> None:
    path = f"/w/shop/audience/lists/{news.pk}/public/"
    client_of(owner).post(path, {"public_name": "  Weekly\tnews "})
    news.refresh_from_db()
    assert (news.name, news.public_name) == ("News", "Weekly news")
    assert client_of(owner).post(path, {"public_name": "x" * 101}).status_code == 200
    client_of(owner).post(path, {"public_name": ""})
    news.refresh_from_db()
    assert news.public_name == ""


def test_why_people_leave(workspace: Workspace, owner: User, client_of: ClientOf) -> None:
    for number, reason in enumerate(("too_many", "too_many", "other")):
        LeavingReason.objects.create(
            workspace=workspace,
            contact=make_contact(workspace),
            campaign_id=number,
            reason=reason,
            comment=f"<u>{reason}</u>",
        )
    elsewhere = make_workspace()
    LeavingReason.objects.create(
        workspace=elsewhere, contact=make_contact(elsewhere), campaign_id=1, reason="never_asked"
    )
    response = client_of(owner).get(FORMS + "leaving/")
    found = {code: number for code, _, number in response.context["reasons"]}
    assert found == {"too_many": 2, "not_relevant": 0, "never_asked": 0, "other": 1}
    assert "&lt;u&gt;" in response.content.decode()
    rows = client_of(owner).get(FORMS + "leaving/?reason=other").context["page"].rows
    assert [row.reason for row in rows] == ["other"]
    assert client_of(owner).get(FORMS + "leaving/?reason=%00").status_code == 200
