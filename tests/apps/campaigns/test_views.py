from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.forms import version
from apps.campaigns.models import Campaign, Delivery, TestSend
from apps.mailer.models import ContactField, ContactList, Suppression
from apps.senders.models import Relay
from tests.apps.campaigns.pages import PAGE, ClientOf, State, conflict, url
from tests.support.factories import make_campaign, make_contact, make_list


@pytest.fixture
def client(owner: User, client_of: ClientOf) -> Client:
    return client_of(owner)


def form_of(campaign: Campaign, **changes: Any) -> dict[str, Any]:
    """What the editor posts for a campaign as it is saved."""
    names = ("name", "subject", "from_name", "from_email", "reply_to", "html", "text")
    saved = {name: getattr(campaign, name) for name in names}
    saved["lists"] = [one.pk for one in campaign.lists.all()]
    saved["include_verdicts"] = campaign.include_verdicts
    return saved | {"version": version(campaign)} | changes


def test_pages_are_for_members(
    draft: Campaign,
    sending: Campaign,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    contact = Delivery.objects.filter(campaign=sending, status="failed").get().contact_id
    test = TestSend.objects.create(campaign=draft, to="a@b.test")
    pages = [PAGE, PAGE + "new/", PAGE + "audience/"]
    pages += [
        url(draft, page)
        for page in (
            *("edit/", "preview/", "preview-text/", "test/", f"test/{test.pk}/", "launch/"),
            "delete/",
        )
    ]
    pages += [
        url(sending, page)
        for page in (
            "",
            "progress/",
            "left-out/",
            "cancel/",
            "deliveries/",
            f"deliveries/{contact}/retry/",
            "deliveries/retry-unknown/",
        )
    ]
    for page in pages:
        assert client_of(owner).get(page).status_code == 200, page
        assert client_of(teammate).get(page).status_code == 200, page
        assert client_of(outsider).get(page).status_code == 404, page
        assert Client().get(page).status_code == 302, page


def test_outsiders_change_nothing(
    draft: Campaign, sending: Campaign, outsider: User, client_of: ClientOf
) -> None:
    contact = Delivery.objects.filter(campaign=sending, status="failed").get().contact_id
    before = list(Campaign.objects.order_by("pk").values())
    for campaign in (draft, sending):
        for prefix in ("/w/shop", "/w/elsewhere"):
            for page in (
                *("edit/", "test/", "launch/", "pause/", "resume/", "cancel/", "duplicate/"),
                *("delete/", "preview/", f"deliveries/{contact}/retry/", "unschedule/"),
                *("resume/gmail/", "resend/", "deliveries/retry-unknown/"),
            ):
                path = f"{prefix}/campaigns/{campaign.pk}/{page}"
                assert client_of(outsider).post(path, {"to": "a@b.test"}).status_code == 404, path
                assert Client().post(f"/w/shop/campaigns/{campaign.pk}/{page}").status_code == 302
    assert list(Campaign.objects.order_by("pk").values()) == before
    assert not TestSend.objects.exists()


def test_what_changes_something_does_not_answer_get(sending: Campaign, client: Client) -> None:
    for page in (*("pause/", "resume/", "resume/gmail/", "duplicate/", "resend/", "unschedule/"),):
        assert client.get(url(sending, page)).status_code == 405


def test_list_searches_filters_and_hides_other_workspaces(
    draft: Campaign, sending: Campaign, outsider: User, client: Client
) -> None:
    make_campaign(outsider.workspaces.get(), name="Secret")
    page = client.get(PAGE).content.decode()
    assert "Spring" in page
    assert "Summer" in page
    assert "Secret" not in page
    assert [row.name for row in client.get(PAGE, {"search": "spr"}).context["page"].rows] == [
        "Spring"
    ]
    assert [row.name for row in client.get(PAGE, {"state": "sending"}).context["page"].rows] == [
        "Summer"
    ]
    assert len(client.get(PAGE, {"state": "nonsense"}).context["page"].rows) == 2
    assert "No campaign fits" in client.get(PAGE, {"search": "absent"}).content.decode()


def test_list_pages_show_each_campaign_once(workspace: Workspace, client: Client) -> None:
    for number in range(55):
        make_campaign(workspace, name=f"Number {number}")
    first = client.get(PAGE)
    second = client.get(PAGE + first.context["page"].next_url)
    names = [row.name for answer in (first, second) for row in answer.context["page"].rows]
    assert names == [f"Number {number}" for number in reversed(range(55))]


def test_an_empty_list_offers_the_first_campaign(workspace: Workspace, client: Client) -> None:
    assert "Write your first campaign" in client.get(PAGE).content.decode()


def test_a_new_campaign_takes_the_usual_sender(draft: Campaign, client: Client) -> None:
    response = client.post(PAGE + "new/", {"name": "Autumn"})
    autumn = Campaign.objects.get(name="Autumn")
    assert response["Location"] == url(autumn, "edit/")
    assert (autumn.from_name, autumn.from_email) == ("Shop", "news@inbox.sandbox.test")
    assert autumn.state == State.DRAFT
    assert autumn.html == ""


def test_a_new_campaign_needs_a_name(workspace: Workspace, client: Client) -> None:
    assert "This field is required" in client.post(PAGE + "new/", {"name": " "}).content.decode()
    assert not Campaign.objects.exists()


def test_saving_the_draft(draft: Campaign, workspace: Workspace, client: Client) -> None:
    other = make_list(workspace, "Others")
    changes = {
        "name": "Spring sale",
        "subject": "Hello {{ first_name }}",
        "reply_to": "help@inbox.sandbox.test",
        "html": "  <p>New</p>\n",
        "lists": [other.pk],
        "include_verdicts": ["valid", "risky"],
    }
    response = client.post(url(draft, "edit/"), form_of(draft, **changes))
    assert response["Location"] == url(draft, "edit/")
    draft.refresh_from_db()
    assert draft.name == "Spring sale"
    assert draft.html == "  <p>New</p>\n"
    assert draft.reply_to == "help@inbox.sandbox.test"
    assert draft.include_verdicts == ["valid", "risky"]
    assert list(draft.lists.all()) == [other]


@pytest.mark.parametrize(("button", "page"), [("test", "test/"), ("launch", "launch/")])
def test_save_buttons_lead_on(draft: Campaign, client: Client, button: str, page: str) -> None:
    response = client.post(url(draft, "edit/"), form_of(draft, subject="New", next=button))
    assert response["Location"] == url(draft, page)
    draft.refresh_from_db()
    assert draft.subject == "New"


def test_an_unfinished_draft_can_be_saved(draft: Campaign, client: Client) -> None:
    empty = dict.fromkeys(("subject", "from_name", "from_email", "html", "text"), "")
    data = form_of(draft, **empty, lists=[], include_verdicts=[])
    assert client.post(url(draft, "edit/"), data).status_code == 302
    draft.refresh_from_db()
    assert draft.subject == ""
    assert not draft.lists.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"subject": "Hello\r\nBcc: everyone@example.com"},
        {"from_name": "Shop\nX-Header: 1"},
        {"from_email": "news"},
        {"reply_to": "a@b.test\r\nBcc: c@d.test"},
        {"include_verdicts": ["invalid"]},
        {"include_verdicts": ["nonsense"]},
        {"lists": ["999999"]},
        {"lists": ["x"]},
        {"html": "x" * 1_000_001},
    ],
)
def test_what_cannot_be_saved_is_refused_and_kept_on_the_page(
    draft: Campaign, client: Client, bad: dict[str, Any]
) -> None:
    response = client.post(url(draft, "edit/"), form_of(draft, **{"text": "Precious", **bad}))
    assert response.status_code == 422
    assert "Precious" in response.content.decode()
    assert "data-unsaved" in response.content.decode()
    draft.refresh_from_db()
    assert draft.text == "Hello {{ first_name }}"


def test_lists_of_other_workspaces_cannot_be_chosen(
    draft: Campaign, outsider: User, client: Client
) -> None:
    foreign = make_list(outsider.workspaces.get(), "Their list")
    assert "Their list" not in client.get(url(draft, "edit/")).content.decode()
    response = client.post(url(draft, "edit/"), form_of(draft, lists=[foreign.pk]))
    assert response.status_code == 422
    assert foreign not in draft.lists.all()


def test_a_stale_save_is_refused_and_a_second_one_is_a_decision(
    draft: Campaign, client: Client, teammate: User, client_of: ClientOf
) -> None:
    mine = form_of(draft, subject="Mine")
    client_of(teammate).post(url(draft, "edit/"), form_of(draft, subject="Theirs"))
    response = client.post(url(draft, "edit/"), mine)
    page = response.content.decode()
    assert response.status_code == 409
    assert "changed elsewhere after you opened it" in page
    assert 'value="Mine"' in page
    draft.refresh_from_db()
    assert draft.subject == "Theirs"
    assert f'value="{version(draft)}"' in page
    client.post(url(draft, "edit/"), mine | {"version": version(draft)})
    draft.refresh_from_db()
    assert draft.subject == "Mine"


def test_a_save_without_a_version_is_refused(draft: Campaign, client: Client) -> None:
    response = client.post(url(draft, "edit/"), form_of(draft, subject="Mine", version=""))
    assert response.status_code == 409
    draft.refresh_from_db()
    assert draft.subject != "Mine"


def test_a_launched_campaign_cannot_be_edited(sending: Campaign, client: Client) -> None:
    assert client.get(url(sending, "edit/"))["Location"] == url(sending)
    assert client.post(url(sending, "edit/"), form_of(sending, subject="New")).status_code == 302
    sending.refresh_from_db()
    assert sending.subject != "New"


def test_the_editor_offers_the_workspaces_fields(
    draft: Campaign, workspace: Workspace, outsider: User, client: Client
) -> None:
    ContactField.objects.create(workspace=workspace, key="city", label="City <of> birth")
    ContactField.objects.create(workspace=outsider.workspaces.get(), key="theirs", label="Theirs")
    page = client.get(url(draft, "edit/")).content.decode()
    assert "{{ city | default: &quot;&quot; }}" in page
    assert "City &lt;of&gt; birth" in page
    assert "{{ first_name | default: &quot;friend&quot; }}" in page
    assert "{{ unsubscribe_url }}" in page
    assert "theirs" not in page
    assert "1 contact" in page


def test_audience_counts_who_gets_it_and_who_is_left_out(
    workspace: Workspace, to: ContactList, outsider: User, client: Client
) -> None:
    for verdict in ("risky", "risky", "invalid", ""):
        make_contact(workspace, to=to, verdict=verdict)
    make_contact(workspace, "never@inbox.sandbox.test", to=to)
    Suppression.objects.create(
        workspace=workspace, email="never@inbox.sandbox.test", reason="manual"
    )
    query: dict[str, Any] = {"lists": [to.pk], "include_verdicts": ["valid"]}
    response = client.get(PAGE + "audience/", query)
    assert response.context["audience"].sendable == 1
    left_out = {address: count for _, count, address in response.context["left_out"]}
    assert left_out["/w/shop/audience/?verdict=risky"] == 2
    assert left_out["/w/shop/audience/?verdict=none"] == 1
    assert left_out["/w/shop/audience/suppression/"] == 1
    more = client.get(PAGE + "audience/", query | {"include_verdicts": ["valid", "risky"]})
    assert more.context["audience"].sendable == 3
    foreign = make_list(outsider.workspaces.get())
    assert "audience" not in client.get(PAGE + "audience/", {"lists": [foreign.pk]}).context


def test_preview_shows_what_is_saved_and_what_is_posted(draft: Campaign, client: Client) -> None:
    saved = client.get(url(draft, "preview/"), {"preview_as": "ANNA@inbox.sandbox.test "})
    assert "<p>Hello Anna</p>" in saved.content.decode()
    posted = client.post(url(draft, "preview/"), {"html": "<h1>Dear {{ first_name }}</h1>"})
    assert "<h1>Dear " in posted.content.decode()
    draft.refresh_from_db()
    assert draft.html == "<p>Hello {{ first_name }}</p>"


def test_preview_may_run_nothing(draft: Campaign, client: Client) -> None:
    response = client.post(
        url(draft, "preview/"), {"html": "<!DOCTYPE html><script>alert(1)</script>"}
    )
    policy = response["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups ")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert response.content.startswith(b'<!DOCTYPE html><base target="_blank">')


def test_preview_of_an_unfinished_draft(draft: Campaign, client: Client) -> None:
    Campaign.objects.filter(pk=draft.pk).update(from_email="", html="")
    response = client.get(url(draft, "preview/"))
    assert response.status_code == 200
    assert "<pre>Hello " in response.content.decode()


def test_a_mistake_in_the_template_is_explained(draft: Campaign, client: Client) -> None:
    broken = {"html": "<p>\n{{ first_name | nonsense }}</p><script>"}
    frame = client.post(url(draft, "preview/"), broken)
    assert frame.status_code == 200
    assert "line 2" in frame.content.decode()
    fragment = client.post(url(draft, "preview-text/"), broken).content.decode()
    assert "line 2" in fragment
    assert "<html" not in fragment


def test_preview_text_has_the_subject_and_knows_its_contacts(
    draft: Campaign, outsider: User, client: Client
) -> None:
    page = client.post(
        url(draft, "preview-text/"), {"preview_as": "anna@inbox.sandbox.test"}
    ).content.decode()
    assert "News for Anna" in page
    assert "Hello Anna" in page
    make_contact(outsider.workspaces.get(), "theirs@inbox.sandbox.test", first_name="Secret")
    page = client.post(
        url(draft, "preview-text/"), {"preview_as": "theirs@inbox.sandbox.test"}
    ).content.decode()
    assert "No contact has the address" in page
    assert "Secret" not in page


def test_test_send_queues_the_saved_letter(draft: Campaign, owner: User, client: Client) -> None:
    page = client.get(url(draft, "test/")).content.decode()
    assert 'value="owner@example.com"' in page
    assert "/w/shop/sandbox/" in page
    response = client.post(url(draft, "test/"), {"to": "me@inbox.sandbox.test"})
    assert response["Location"] == url(draft, "test/")
    test = TestSend.objects.get(campaign=draft)
    assert (test.to, test.created_by) == ("me@inbox.sandbox.test", owner)
    assert "every 1s" in client.get(url(draft, f"test/{test.pk}/")).content.decode()


def test_test_send_shows_the_servers_answer_and_stops_asking(
    draft: Campaign, sending: Campaign, client: Client
) -> None:
    test = TestSend.objects.create(
        campaign=draft, to="a@b.test", state="failed", code=550, reply="No <such> user"
    )
    page = client.get(url(draft, f"test/{test.pk}/")).content.decode()
    assert "550 No &lt;such&gt; user" in page
    assert "hx-trigger" not in page
    assert client.get(url(sending, f"test/{test.pk}/")).status_code == 404


def test_test_send_with_a_relay_does_not_speak_of_the_sandbox(
    draft: Campaign, workspace: Workspace, client: Client
) -> None:
    Relay.objects.create(workspace=workspace, host="smtp.example.com")
    assert "No relay is set up" not in client.get(url(draft, "test/")).content.decode()


@pytest.mark.parametrize("address", ["", "nobody", "a@b.test\r\nBcc: c@d.test"])
def test_test_send_refuses_what_is_no_address(
    draft: Campaign, client: Client, address: str
) -> None:
    assert client.post(url(draft, "test/"), {"to": address}).status_code == 200
    assert not TestSend.objects.exists()


def test_launch_page_sums_up(draft: Campaign, workspace: Workspace, client: Client) -> None:
    make_contact(workspace, to=draft.lists.get(), verdict="risky")
    page = client.get(url(draft, "launch/")).content.decode()
    for text in ("News for {{ first_name }}", "news@inbox.sandbox.test", "Customers"):
        assert text in page
    assert "Launch to 1 contact" in page
    assert "risky addresses" in page
    assert "It cannot be launched yet" not in page


def test_launch_page_names_problems_and_where_to_mend_them(draft: Campaign, client: Client) -> None:
    Campaign.objects.filter(pk=draft.pk).update(subject="")
    page = client.get(url(draft, "launch/")).content.decode()
    assert "It cannot be launched yet" in page
    assert "Write a subject." in page
    assert f'href="{url(draft, "edit/")}">Mend it' in page
    assert "disabled" in page
    client.post(url(draft, "launch/"), {"version": version(draft)})
    draft.refresh_from_db()
    assert draft.state == State.DRAFT


def test_a_double_click_launches_once(draft: Campaign, client: Client) -> None:
    click = {"version": version(draft)}
    for _ in range(2):
        response = client.post(url(draft, "launch/"), click)
        assert response["Location"] == url(draft)
    draft.refresh_from_db()
    assert draft.state == State.PREPARING
    assert client.get(url(draft, "launch/"))["Location"] == url(draft)
    assert not list(client.get(url(draft)).context["messages"])


def test_what_was_changed_after_the_summary_is_not_launched(
    draft: Campaign, client: Client
) -> None:
    seen = version(draft)
    client.post(url(draft, "edit/"), form_of(draft, subject="Other"))
    assert conflict(client, url(draft, "launch/"), {"version": seen})
    draft.refresh_from_db()
    assert draft.state == State.DRAFT
