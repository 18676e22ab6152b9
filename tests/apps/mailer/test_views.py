from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import (
    Contact,
    ContactField,
    ContactList,
    Import,
    ImportedContact,
    Suppression,
)
from apps.mailer.services import contacts as contact_services
from tests.apps.mailer.helpers import make_import
from tests.support import factories

ClientOf = Callable[[User], Client]


@pytest.fixture
def client(client_of: ClientOf, owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


def pages(workspace: Workspace) -> list[str]:
    """Every page of the audience that can be asked for, each with an object to show."""
    contact = factories.make_contact(workspace, "a@example.com")
    gone = factories.make_contact(workspace, "g@example.com", status="unsubscribed")
    of_list = factories.make_list(workspace)
    job = make_import(workspace, list=of_list)
    uploaded = make_import(workspace, state=Import.State.UPLOADED)
    entry = Suppression.objects.create(workspace=workspace, email="s@example.com", reason="manual")
    return [
        "", f"{contact.pk}/", f"{contact.pk}/unsubscribe/", f"{gone.pk}/resubscribe/",
        "lists/", "lists/new/", f"lists/{of_list.pk}/", f"lists/{of_list.pk}/delete/",
        "imports/", "imports/new/", f"imports/{job.pk}/", f"imports/{uploaded.pk}/columns/",
        f"imports/{job.pk}/progress/", f"imports/{uploaded.pk}/cancel/",
        f"imports/{job.pk}/rejected.csv", "suppression/", f"suppression/{entry.pk}/remove/",
    ]  # fmt: skip


def test_who_may_see_the_pages(
    client_of: ClientOf, owner: User, teammate: User, outsider: User, workspace: Workspace
) -> None:
    for page in pages(workspace):
        path = f"/w/shop/audience/{page}"
        assert client_of(owner).get(path).status_code == 200, path
        assert client_of(teammate).get(path).status_code == 200, path
        assert client_of(outsider).get(path).status_code == 404, path
        anonymous = Client().get(path)
        assert anonymous.status_code == 302, path
        assert anonymous["Location"].startswith("/accounts/login/"), path


def test_objects_of_another_workspace_do_not_exist(
    client_of: ClientOf, outsider: User, workspace: Workspace
) -> None:
    client = client_of(outsider)
    for page in pages(workspace):
        if re.search(r"\d", page):
            path = f"/w/elsewhere/audience/{page}"
            assert client.get(path).status_code == 404, path
            assert client.post(path).status_code in {404, 405}, path
    job = Import.objects.get(state=Import.State.FINISHED)
    assert client.post(f"/w/elsewhere/audience/imports/{job.pk}/retry/").status_code == 404


# Contacts


def test_no_contacts_yet_offers_an_import(client: Client) -> None:
    text = client.get("/w/shop/audience/").text
    assert "No contacts yet" in text
    assert "/w/shop/audience/imports/new/" in text


def test_contacts_are_filtered(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    factories.make_contact(workspace, "ann@example.com", to=news, first_name="Анна")
    factories.make_contact(workspace, "bob@example.com", verdict="invalid", reason="no_mx")
    factories.make_contact(workspace, "cat@example.com", status="unsubscribed", verdict="")

    def shown(query: str) -> list[str]:
        text = client.get(f"/w/shop/audience/?{query}").text
        return [name for name in ("ann", "bob", "cat") if f"{name}@example.com</a>" in text]

    assert shown("") == ["ann", "bob", "cat"]
    assert shown("search=АННА") == ["ann"]
    assert shown(f"list={news.pk}") == ["ann"]
    assert shown("verdict=invalid") == ["bob"]
    assert shown("verdict=none") == ["cat"]
    assert shown("status=unsubscribed") == ["cat"]
    assert shown("status=unsubscribed&verdict=valid") == []
    assert shown("status=nonsense&list=nonsense&verdict=nonsense&after=nonsense") == [
        "ann",
        "bob",
        "cat",
    ]


def test_a_list_of_another_workspace_is_no_filter(
    client: Client, workspace: Workspace, outsider: User
) -> None:
    elsewhere = Workspace.objects.get(slug="elsewhere")
    theirs = factories.make_list(elsewhere, "Secret list")
    factories.make_contact(workspace, "ann@example.com")
    text = client.get(f"/w/shop/audience/?list={theirs.pk}").text
    assert "ann@example.com" in text
    assert "Secret list" not in text


def test_contacts_of_an_import(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace)
    met = factories.make_contact(workspace, "met@example.com")
    factories.make_contact(workspace, "other@example.com")
    ImportedContact.objects.create(of_import=job, contact=met)
    text = client.get(f"/w/shop/audience/?of_import={job.pk}&verdict=valid").text
    assert "met@example.com" in text
    assert "other@example.com" not in text
    assert "in the import “people.csv”" in text


def test_contacts_are_paged_with_their_filters(client: Client, workspace: Workspace) -> None:
    for number in range(120):
        factories.make_contact(workspace, f"p{number:03}@example.com")
    seen: list[str] = []
    path = "/w/shop/audience/?verdict=valid"
    for _page in range(3):
        text = client.get(path).text
        seen += re.findall(r"(p\d{3})@example\.com</a>", text)
        following = re.search(r'href="(\?[^"]*)" rel="next"', text)
        if following:
            path = "/w/shop/audience/" + following[1].replace("&amp;", "&")
            assert "verdict=valid" in path
    assert seen == [f"p{number:03}" for number in reversed(range(120))]
    assert following is None
    assert "First page" in text


def test_a_contact_shows_its_verdict_and_evidence(client: Client, workspace: Workspace) -> None:
    ContactField.objects.create(workspace=workspace, key="gorod", label="Город")
    contact = factories.make_contact(
        workspace,
        "ann@example.com",
        verdict="invalid",
        reason="mailbox_not_found",
        evidence={"host": "mx.example.com", "code": 550, "text": "5.1.1 <b>no such user</b>"},
        fields={"gorod": "Уфа", "old": "x<script>"},
        verified_at=timezone.now(),
    )
    text = client.get(f"/w/shop/audience/{contact.pk}/").text
    assert "there is no such mailbox" in text
    assert "mx.example.com" in text
    assert "550 5.1.1 &lt;b&gt;no such user" in text
    assert "Город" in text
    assert "x&lt;script&gt;" in text


def test_unsubscribing_asks_first(client: Client, workspace: Workspace) -> None:
    contact = factories.make_contact(workspace, "ann@example.com")
    path = f"/w/shop/audience/{contact.pk}/unsubscribe/"
    assert "Unsubscribe ann@example.com?" in client.get(path).text
    contact.refresh_from_db()
    assert contact.status == "subscribed"
    response = client.post(path, follow=True)
    assert "ann@example.com is unsubscribed." in response.text
    contact.refresh_from_db()
    assert contact.status == "unsubscribed"
    assert Suppression.objects.get(email="ann@example.com").reason == "unsubscribed"


def test_subscribing_again(client: Client, workspace: Workspace) -> None:
    contact = factories.make_contact(workspace, "ann@example.com")
    contact_services.unsubscribe(contact=contact, source="test")
    client.post(f"/w/shop/audience/{contact.pk}/resubscribe/")
    contact.refresh_from_db()
    assert contact.status == "subscribed"
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("status", ["bounced", "complained", "subscribed"])
def test_only_the_unsubscribed_are_subscribed_again(
    client: Client, workspace: Workspace, status: str
) -> None:
    contact = factories.make_contact(workspace, status=status)
    assert client.post(f"/w/shop/audience/{contact.pk}/resubscribe/").status_code == 404
    contact.refresh_from_db()
    assert contact.status == status


# Lists


def test_a_list_is_created_once(client: Client, workspace: Workspace) -> None:
    path = "/w/shop/audience/lists/new/"
    response = client.post(path, {"name": "  News  "})
    made = ContactList.objects.get()
    assert made.name == "News"
    assert response["Location"] == f"/w/shop/audience/lists/{made.pk}/"
    again = client.post(path, {"name": "News"})
    assert "already a list named “News”" in again.text
    assert client.post(path, {"name": " "}).status_code == 200
    assert ContactList.objects.count() == 1


def test_lists_count_their_members_and_link_to_them(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace, "News")
    for _number in range(3):
        factories.make_contact(workspace, to=news)
    factories.make_list(workspace, "Empty")
    text = client.get("/w/shop/audience/lists/").text
    assert f'href="/w/shop/audience/?list={news.pk}">3</a>' in text
    assert "Empty" not in client.get("/w/shop/audience/lists/?search=new").text


def test_a_list_counts_by_verdict_and_status(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    factories.make_contact(workspace, to=news, verdict="risky")
    factories.make_contact(workspace, to=news, verdict="risky", status="bounced")
    factories.make_contact(workspace, to=news, verdict="")
    factories.make_contact(workspace, verdict="risky")
    context = client.get(f"/w/shop/audience/lists/{news.pk}/").context
    assert context["figures"].members == 3
    assert {code: number for code, _label, number in context["verdicts"]} == {
        "valid": 0, "risky": 2, "invalid": 0, "unknown": 0, "none": 1,
    }  # fmt: skip
    assert {code: number for code, _label, number in context["statuses"]} == {
        "subscribed": 2, "unsubscribed": 0, "bounced": 1, "complained": 0,
    }  # fmt: skip


def test_deleting_a_list_asks_and_keeps_the_contacts(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    contact = factories.make_contact(workspace, to=news)
    path = f"/w/shop/audience/lists/{news.pk}/delete/"
    assert "1 contact is in it" in client.get(path).text
    assert ContactList.objects.exists()
    client.post(path)
    assert not ContactList.objects.exists()
    assert Contact.objects.filter(pk=contact.pk).exists()


def test_a_list_that_an_import_fills_is_not_deleted(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    make_import(workspace, list=news, state=Import.State.RUNNING)
    client.post(f"/w/shop/audience/lists/{news.pk}/delete/")
    assert ContactList.objects.exists()
    assert "An import is filling this list" in client.get("/w/shop/audience/lists/").text


# Suppression


def test_suppressing_by_hand(client: Client, workspace: Workspace, owner: User) -> None:
    path = "/w/shop/audience/suppression/"
    response = client.post(path, {"email": "Ann@Example.com"}, follow=True)
    entry = Suppression.objects.get()
    assert (entry.email.lower(), entry.reason) == ("ann@example.com", "manual")
    assert entry.source == f"user:{owner.pk}"
    assert "gets no mail from now on" in response.text
    wrong = client.post(path, {"email": "not an address"})
    assert "are not email addresses or domains" in wrong.text
    assert Suppression.objects.count() == 1


def test_removing_from_suppression_asks_first(client: Client, workspace: Workspace) -> None:
    entry = Suppression.objects.create(
        workspace=workspace, email="ann@example.com", reason="complained"
    )
    path = f"/w/shop/audience/suppression/{entry.pk}/remove/"
    assert "asked not to be mailed" in client.get(path).text
    assert Suppression.objects.exists()
    client.post(path)
    assert not Suppression.objects.exists()


def test_suppression_is_searched(client: Client, workspace: Workspace) -> None:
    for email in ("ann@example.com", "bob@example.com"):
        Suppression.objects.create(workspace=workspace, email=email, reason="manual")
    text = client.get("/w/shop/audience/suppression/?search=ANN").text
    assert "ann@example.com" in text
    assert "bob@example.com" not in text
