"""A variant's letter in each of the four ways: its pages are those of the campaign's letter."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns import letters
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign, TestSend, Variant
from apps.campaigns.pictures import used_in
from apps.campaigns.services.campaigns import (
    duplicate_campaign,
    resend_campaign,
    update_campaign,
)
from apps.campaigns.services.launch import problems
from apps.campaigns.services.variants import copy_letter
from apps.content.models import Template
from tests.apps.campaigns.pages import ClientOf, conflict, url
from tests.apps.campaigns.tested import make_tested
from tests.support.factories import make_contact

JSON = {"Accept": "application/json"}
OTHER = {"subject": "Other"}
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ first_name }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
B = "variants/2/"


@pytest.fixture(params=["owner", "teammate"])
def member(request: pytest.FixtureRequest, client_of: ClientOf) -> Client:
    person: User = request.getfixturevalue(request.param)
    return client_of(person)


@pytest.fixture
def client(teammate: User, client_of: ClientOf) -> Client:
    return client_of(teammate)


def built(workspace: Workspace) -> Campaign:
    """A letter made in the builder, whose variant B has a copy of it."""
    campaign = make_tested(workspace, 1, OTHER, editor="builder", html="", text="")
    update_campaign(campaign=campaign, design=MJML)
    copy_letter(campaign=campaign, number=2)
    return campaign


def variant(campaign: Campaign, number: int = 2) -> Variant:
    return Variant.objects.get(campaign=campaign, number=number)


def values(campaign: Campaign, number: int = 2, **changes: Any) -> dict[str, Any]:
    campaign.refresh_from_db()
    own = variant(campaign, number)
    return {"version": version(campaign), "variant": own.pk, "subject": own.subject} | changes


def test_the_letter_is_the_campaigns_until_it_is_copied(
    member: Client, workspace: Workspace
) -> None:
    campaign = make_tested(workspace, 1, OTHER, text="By hand")
    page = member.get(url(campaign, B)).content.decode()
    assert "The letter is the campaign" in page
    assert 'name="html"' not in page
    assert "Hello" in member.get(url(campaign, B + "preview/")).content.decode()
    # What a page without a letter posts touches none.
    member.post(url(campaign, B), values(campaign, html="<p>Lost?</p>"))
    assert variant(campaign).html == ""
    saved = member.post(url(campaign, B), values(campaign, subject="New", next="copy"))
    assert saved["Location"] == url(campaign, B)
    own = variant(campaign)
    assert (own.subject, own.editor, own.html, own.text) == (
        "New",
        "html",
        campaign.html,
        "By hand",
    )
    assert 'name="html"' in member.get(url(campaign, B)).content.decode()
    member.post(url(campaign, B), values(campaign, html="<p>B alone</p>", text=""))
    update_campaign(campaign=Campaign.objects.get(), html="<p>A alone</p>")
    assert "B alone" in letters.preview(campaign, None, 2).text
    # Given up again: the campaign's, as it is by now.
    member.post(url(campaign, B + "start-from/"), {"campaign": "same"})
    assert variant(campaign).editor == ""
    assert "A alone" in letters.preview(Campaign.objects.get(), None, 2).html


def test_a_copy_that_was_not_changed_is_no_variant(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, {}, html="<p>\nHello</p>")
    copy_letter(campaign=campaign, number=2)
    assert "does not differ" in " ".join(problems(campaign))
    Variant.objects.filter(number=2).update(html="<p>\r\nHello</p>")
    assert "does not differ" in " ".join(problems(campaign))
    Variant.objects.filter(number=2).update(html="<p>Bye</p>")
    assert not problems(campaign)
    Variant.objects.filter(number=2).update(html=" ", text="")
    assert "Variant B: Write the letter" in " ".join(problems(campaign))


def test_the_builder_edits_the_variant_alone(member: Client, workspace: Workspace) -> None:
    campaign = built(workspace)
    shown = member.get(url(campaign, B + "builder/")).content.decode()
    late = values(campaign, design=MJML.replace("Hello", "Late"))
    assert f"{campaign.name}: variant B" in shown
    assert url(campaign, B + "preview/") in shown
    saved = member.post(
        url(campaign, B + "builder/"),
        values(campaign, design=MJML.replace("Hello", "Good day")),
        headers=JSON,
    )
    campaign.refresh_from_db()
    assert saved.json() == {"version": version(campaign)}
    assert conflict(member, url(campaign, B + "builder/"), late)
    assert "Hello" in campaign.design
    assert "Good day" in variant(campaign).design
    assert "Good day {{ first_name }}" in variant(campaign).html
    assert "Good day" in member.get(url(campaign, B + "preview/")).content.decode()
    assert "Good day" not in member.get(url(campaign, "preview/")).content.decode()
    # Its text is made from its own HTML.
    assert "Good day" in member.get(url(campaign, B + "preview-text/")).content.decode()


def test_going_on_in_another_way(client: Client, workspace: Workspace) -> None:
    campaign = built(workspace)
    for editor in ("mjml", "builder", "html", "rich", "html"):
        client.post(url(campaign, B + "mode/"), {"editor": editor})
        own = variant(campaign)
        assert own.editor == editor
        assert "Hello {{ first_name }}" in own.html
        assert client.get(url(campaign, B)).status_code == 200
        assert client.get(url(campaign, B + "mode/")).status_code == 200
    assert own.design == ""
    campaign.refresh_from_db()
    assert (campaign.editor, campaign.design) == ("builder", MJML)
    response = client.get(url(campaign, B + "builder/"))
    assert response["Location"] == url(campaign, B + "mode/")


def test_without_a_letter_of_its_own_there_is_none_to_make(
    client: Client, workspace: Workspace
) -> None:
    campaign = make_tested(workspace, 1, OTHER)
    for page in ("builder/", "mode/"):
        assert client.get(url(campaign, B + page))["Location"] == url(campaign, B)
    refused = client.post(url(campaign, B + "mode/"), {"editor": "rich"}, headers=JSON)
    assert refused.status_code == 422
    assert variant(campaign).editor == ""


@pytest.mark.parametrize(
    ("editor", "field", "said"),
    [("html", "html", ""), ("mjml", "design", "Line 1: "), ("rich", "design", "")],
)
def test_saving_by_itself(
    client: Client, workspace: Workspace, editor: str, field: str, said: str
) -> None:
    campaign = built(workspace)
    client.post(url(campaign, B + "mode/"), {"editor": editor})
    written = getattr(variant(campaign), field).replace("Hello", "Good day")
    late = values(campaign) | {field: "late"}
    first = client.post(url(campaign, B), values(campaign) | {field: written}, headers=JSON)
    campaign.refresh_from_db()
    assert first.json() == {"version": version(campaign)}
    assert "Good day {{ first_name }}" in variant(campaign).html
    assert client.post(url(campaign, B), late, headers=JSON).status_code == 409
    if said:
        broken = written.replace("mj-text", "mj-txt")
        answer = client.post(url(campaign, B), values(campaign, design=broken), headers=JSON)
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"]
    wrong = client.post(url(campaign, B), values(campaign, subject="a\nb"), headers=JSON)
    assert "subject" in wrong.json()["errors"]
    assert "Good day" in variant(campaign).html


def test_two_tabs(client: Client, workspace: Workspace) -> None:
    campaign = built(workspace)
    client.post(url(campaign, B + "mode/"), {"editor": "html"})
    mine, yours = (values(campaign, html=f"<p>{who}</p>") for who in ("Mine", "Yours"))
    client.post(url(campaign, B), mine)
    page = client.post(url(campaign, B), yours)
    assert page.status_code == 409
    shown = page.content.decode()
    assert "changed elsewhere after you opened it" in shown
    assert "Yours" in shown
    assert url(campaign, B) in shown
    assert variant(campaign).html == "<p>Mine</p>"
    # Once more is a decision.
    again = yours | {"version": page.context["form"].data["version"]}
    assert client.post(url(campaign, B), again).status_code == 302
    assert variant(campaign).html == "<p>Yours</p>"
    # The campaign's own page holds the same draft.
    old = {"name": campaign.name, "version": mine["version"]}
    assert client.post(url(campaign, "edit/"), old, headers=JSON).status_code == 409
    builder = url(campaign, "builder/")
    assert conflict(client, builder, {"version": mine["version"], "design": MJML})


def test_a_tab_of_a_removed_variant_does_not_overwrite_the_next(
    client: Client, workspace: Workspace
) -> None:
    campaign = make_tested(workspace, 1, {"subject": "B"}, {"subject": "C"})
    old = values(campaign, subject="Mine")
    client.post(url(campaign, B + "remove/"))
    assert conflict(client, url(campaign, B), old)
    response = client.post(url(campaign, B), old, follow=True)
    assert "does not exist any more" in response.content.decode()
    assert variant(campaign).subject == "C"


def test_starting_from_something_else(client: Client, workspace: Workspace) -> None:
    campaign = built(workspace)
    template = Template.objects.create(
        workspace=workspace, name="Ours", editor="html", html="<p>From a template</p>"
    )
    page = client.get(url(campaign, B + "start-from/")).content.decode()
    assert "Begin with a copy of it" in page
    assert "Have no letter of its own" in page
    assert "Begin with a copy" not in client.get(url(campaign, "start-from/")).content.decode()
    client.post(url(campaign, B + "start-from/"), {"template": template.pk})
    assert (variant(campaign).editor, variant(campaign).html) == ("html", "<p>From a template</p>")
    client.post(url(campaign, B + "start-from/"), {"starter": "sale"})
    assert variant(campaign).editor == "builder"
    client.post(url(campaign, B + "start-from/"), {"campaign": "copy"})
    assert variant(campaign).design == MJML
    # The campaign's own page copies nothing from itself.
    assert client.post(url(campaign, "start-from/"), {"campaign": "same"}).status_code == 404
    kept = client.post(url(campaign, B + "save-template/"), {"name": "Kept"})
    assert kept.status_code == 302
    assert Template.objects.get(name="Kept").design == MJML


def test_the_preview_is_of_what_is_written_and_as_a_contact(
    client: Client, workspace: Workspace
) -> None:
    campaign = built(workspace)
    make_contact(workspace, email="olga@x.test", first_name="Olga")
    posted = {
        "design": MJML.replace("Hello", "Dear"), "subject": "", "preview_as": "olga@x.test"
    }  # fmt: skip
    assert "Dear Olga" in client.post(url(campaign, B + "preview/"), posted).content.decode()
    texts = client.post(url(campaign, B + "preview-text/"), posted).content.decode()
    assert "Dear Olga" in texts
    assert "News for Olga" in texts  # an empty subject is the campaign's
    assert "Hello" in variant(campaign).html


def test_a_test_send_of_a_variant(member: Client, workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, OTHER)
    assert "Test send: Variant B" in member.get(url(campaign, B + "test/")).content.decode()
    member.post(url(campaign, B + "test/"), {"to": "me@inbox.sandbox.test"})
    test = TestSend.objects.get()
    assert (test.variant, test.variant_name) == (2, "B")
    assert member.post(url(campaign, B + "test/"), {"to": "nobody"}).status_code == 200
    assert TestSend.objects.count() == 1


def test_copies_keep_how_it_is_made(workspace: Workspace) -> None:
    campaign = built(workspace)
    Variant.objects.filter(number=2).update(design="<mjml></mjml>", html="<p>Won</p>")
    copy = duplicate_campaign(campaign=campaign, by=None)
    own = variant(copy)
    assert (own.editor, own.design, own.html) == ("builder", "<mjml></mjml>", "<p>Won</p>")
    Campaign.objects.filter(pk=campaign.pk).update(state="finished", winner=2)
    campaign.refresh_from_db()
    again = resend_campaign(campaign=campaign, by=None)
    assert (again.editor, again.design) == ("builder", "<mjml></mjml>")
    assert "Hello" not in again.html


def test_pictures_of_variants_are_in_use(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, {"html": '<img src="/m/KEY-OF-B.png">'})
    assert used_in(workspace, "KEY-OF-B") == [f"campaign “{campaign.name}”"]
    assert used_in(workspace, "KEY-OF-C") == []


PAGES = [
    *(("get", page) for page in ("", "section/", "report/", "2/", "2/preview/", "2/test/")),
    *(("get", f"2/{page}/") for page in ("builder", "mode", "start-from", "save-template")),
    *(("post", page) for page in ("add/", "2/", "2/test/", "2/remove/", "2/choose/")),
    *(("post", f"2/{page}/") for page in ("builder", "mode", "start-from", "save-template")),
    *(("post", f"2/{page}/") for page in ("preview", "preview-text")),
]


@pytest.mark.parametrize(("method", "page"), PAGES)
def test_strangers_find_nothing(
    client_of: ClientOf, outsider: User, workspace: Workspace, method: str, page: str
) -> None:
    campaign = make_tested(workspace, 1, OTHER | {"html": "<p>Secret</p>"})
    page = f"variants/{page}"
    stranger = client_of(outsider)
    assert getattr(stranger, method)(url(campaign, page)).status_code == 404
    theirs = url(campaign, page).replace("/shop/", "/elsewhere/")
    assert getattr(stranger, method)(theirs).status_code == 404
    assert getattr(Client(), method)(url(campaign, page)).status_code == 302
    assert variant(campaign).subject == "Other"
    assert variant(campaign).html == "<p>Secret</p>"
