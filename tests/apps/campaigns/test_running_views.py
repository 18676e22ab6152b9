from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services import launch as launching
from tests.apps.campaigns.pages import PAGE, ClientOf, State, conflict, url
from tests.support.factories import make_contact, make_delivery


@pytest.fixture
def client(owner: User, client_of: ClientOf) -> Client:
    return client_of(owner)


def test_a_draft_opens_in_the_editor(draft: Campaign, client: Client) -> None:
    assert client.get(url(draft))["Location"] == url(draft, "edit/")


def test_progress_moves_until_the_campaign_is_over(sending: Campaign, client: Client) -> None:
    page = client.get(url(sending)).content.decode()
    assert f'hx-get="{url(sending, "progress/")}"' in page
    assert f"{url(sending, 'deliveries/')}?status=failed" in page
    fragment = client.get(url(sending, "progress/"))
    assert fragment.context["progress"].final == 4
    assert "<html" not in fragment.content.decode()
    Campaign.objects.filter(pk=sending.pk).update(state=State.FINISHED)
    over = client.get(url(sending, "progress/")).content.decode()
    assert "hx-trigger" not in over
    assert "Report" in over
    assert "accepted by the receiving server" in over
    assert "Accepted is not delivered" in over
    assert "gets the letter twice" in over


def test_the_server_s_words_are_with_the_rows(sending: Campaign, client: Client) -> None:
    Delivery.objects.filter(campaign=sending, status="failed").update(
        stage="rcpt", code=550, reply="5.1.1 No <such> user", fault="mailbox"
    )
    page = client.get(url(sending)).content.decode()
    assert "No such mailbox" in page
    assert f"{url(sending, 'deliveries/')}?fault=mailbox" in page
    rows = client.get(url(sending, "deliveries/"), {"fault": "mailbox"}).content.decode()
    assert "550 5.1.1 No &lt;such&gt; user" in rows
    assert "No such mailbox, at the recipient&#x27;s address" in rows


def test_the_report_names_who_was_left_out(
    sending: Campaign, workspace: Workspace, client: Client
) -> None:
    assert url(sending, "left-out/") in client.get(url(sending)).content.decode()
    assert "Nobody of these lists" in client.get(url(sending, "left-out/")).content.decode()
    make_contact(workspace, to=sending.lists.get(), verdict="risky")
    assert "risky addresses" in client.get(url(sending, "left-out/")).content.decode()


def test_a_paused_campaign_says_why(sending: Campaign, client: Client) -> None:
    launching.pause_campaign(campaign=sending, reason="The relay refuses the password.")
    page = client.get(url(sending)).content.decode()
    assert "The relay refuses the password." in page
    assert url(sending, "resume/") in page
    assert url(sending, "pause/") not in page


def test_pause_resume_and_cancel(sending: Campaign, client: Client) -> None:
    client.post(url(sending, "pause/"))
    sending.refresh_from_db()
    assert sending.state == State.PAUSED
    assert conflict(client, url(sending, "pause/"))
    client.post(url(sending, "resume/"))
    sending.refresh_from_db()
    assert sending.state == State.SENDING
    assert "Stop sending “Summer” for good?" in client.get(url(sending, "cancel/")).content.decode()
    sending.refresh_from_db()
    assert sending.state == State.SENDING
    client.post(url(sending, "cancel/"))
    sending.refresh_from_db()
    assert sending.state in {State.CANCELLING, State.CANCELLED}
    assert not sending.deliveries.filter(status="queued").exists()
    assert conflict(client, url(sending, "resume/"))


def test_duplicate_makes_a_draft(sending: Campaign, client: Client) -> None:
    response = client.post(url(sending, "duplicate/"))
    copy = Campaign.objects.latest("id")
    assert response["Location"] == url(copy, "edit/")
    assert copy.pk != sending.pk
    assert copy.state == State.DRAFT
    assert copy.html == sending.html
    assert list(copy.lists.all()) == list(sending.lists.all())


def test_only_drafts_are_deleted_and_after_a_question(
    draft: Campaign, sending: Campaign, client: Client
) -> None:
    assert "Delete “Spring”?" in client.get(url(draft, "delete/")).content.decode()
    assert Campaign.objects.filter(pk=draft.pk).exists()
    assert client.post(url(draft, "delete/"))["Location"] == PAGE
    assert not Campaign.objects.filter(pk=draft.pk).exists()
    assert conflict(client, url(sending, "delete/"))
    assert Campaign.objects.filter(pk=sending.pk).exists()


def test_deliveries_filter_search_and_page(
    workspace: Workspace, sending: Campaign, client: Client
) -> None:
    def rows(**query: Any) -> list[str]:
        answer = client.get(url(sending, "deliveries/"), query)
        return [row.status for row in answer.context["page"].rows]

    assert sorted(rows()) == ["failed", "queued", "sent", "sent", "unknown"]
    assert rows(status="failed") == ["failed"]
    assert len(rows(status="nonsense")) == 5
    failed = Delivery.objects.get(campaign=sending, status="failed")
    assert rows(search=failed.email.upper()) == ["failed"]
    for _ in range(60):
        make_delivery(sending, make_contact(workspace), status="sent")
    first = client.get(url(sending, "deliveries/"), {"status": "sent"})
    second = client.get(url(sending, "deliveries/") + first.context["page"].next_url)
    seen = [row.contact_id for answer in (first, second) for row in answer.context["page"].rows]
    assert len(seen) == 62
    assert seen == sorted(set(seen))


def test_retry_is_offered_where_it_makes_sense(sending: Campaign, client: Client) -> None:
    page = client.get(url(sending, "deliveries/")).content.decode()
    for row in Delivery.objects.filter(campaign=sending):
        offered = url(sending, f"deliveries/{row.contact_id}/retry/") in page
        assert offered == (row.status in {"failed", "unknown"}), row.status
    Campaign.objects.filter(pk=sending.pk).update(state=State.CANCELLED)
    assert "/retry/" not in client.get(url(sending, "deliveries/")).content.decode()


def test_retrying_an_unknown_letter_warns_first(sending: Campaign, client: Client) -> None:
    unknown = Delivery.objects.get(campaign=sending, status="unknown")
    path = url(sending, f"deliveries/{unknown.contact_id}/retry/")
    assert "it may arrive twice" in client.get(path).content.decode()
    assert Delivery.objects.get(contact=unknown.contact_id).status == "unknown"
    assert client.post(path).status_code == 302
    assert Delivery.objects.get(contact=unknown.contact_id).status == "queued"
    assert conflict(client, path)


def test_retrying_a_letter_of_nobody_is_not_found(sending: Campaign, client: Client) -> None:
    assert client.post(url(sending, "deliveries/999999/retry/")).status_code == 404
