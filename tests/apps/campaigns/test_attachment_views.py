"""The pages of attachments: the editor's part, downloads, and what other pages say of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.forms import version
from apps.campaigns.models import Attachment, Campaign
from apps.campaigns.services import launch
from apps.campaigns.services.campaigns import update_campaign
from mailkit.attachments import LARGEST_FILES
from tests.apps.campaigns.pages import ClientOf, State, conflict, url
from tests.support.attachments import PDF, attach, stored
from tests.support.factories import make_campaign

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture(params=["owner", "teammate"])
def member(request: pytest.FixtureRequest, client_of: ClientOf) -> Client:
    person: User = request.getfixturevalue(request.param)
    return client_of(person)


def upload(client: Client, campaign: Campaign, *files: tuple[str, bytes], **more: Any) -> Any:
    sent = [SimpleUploadedFile(name, data) for name, data in files]
    return client.post(url(campaign, "attachments/"), {"files": sent}, **more)


def of(campaign: Campaign, one: Attachment, page: str = "") -> str:
    return url(campaign, f"attachments/{one.pk}/{page}")


def test_attach_look_at_it_and_remove_it(member: Client, draft: Campaign) -> None:
    page = member.get(url(draft, "edit/")).content.decode()
    assert "Attach files, or drop them here" in page
    assert 'id="attachment-files" form="attach-form"' in page

    response = upload(member, draft, ("a.pdf", PDF), ("b.txt", b"b"), headers=HTMX)
    assert response.status_code == 200
    assert response["HX-Trigger"] == "preview-changed"
    part = response.content.decode()
    assert "a.pdf" in part
    assert "b.txt" in part
    assert "<html" not in part

    one, two = draft.attachments.all()
    assert of(draft, one) in member.get(url(draft, "edit/")).content.decode()
    shown = member.post(url(draft, "preview-text/"), {"subject": "x"}).content.decode()
    assert "a.pdf" in shown
    for page in ("launch/", "edit/"):
        assert "b.txt" in member.get(url(draft, page)).content.decode()

    file = member.get(of(draft, one))
    assert b"".join(file.streaming_content) == PDF  # type: ignore[attr-defined]
    assert file["Content-Disposition"] == 'attachment; filename="a.pdf"'
    assert file["Content-Type"] == "application/octet-stream"
    assert file["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in file["Content-Security-Policy"]

    part = member.post(of(draft, one, "remove/"), headers=HTMX).content.decode()
    assert "a.pdf" not in part
    assert "b.txt" in part
    assert [*draft.attachments.all()] == [two]


def test_without_scripts(member: Client, draft: Campaign) -> None:
    response = upload(member, draft, ("a.pdf", PDF), follow=True)
    assert response.redirect_chain == [(url(draft, "edit/"), 302)]
    response = upload(member, draft, ("a.exe", PDF), follow=True)
    assert "a.exe: Gmail and others refuse" in response.content.decode()
    (one,) = draft.attachments.all()
    assert member.post(of(draft, one, "remove/"), follow=True).status_code == 200
    assert not draft.attachments.exists()


def test_what_cannot_be_attached_is_said_and_the_rest_is_kept(
    member: Client, draft: Campaign
) -> None:
    response = upload(
        member,
        draft,
        *(("run.exe", b"x"), ("fine.pdf", PDF), ("empty.txt", b"")),
        ("large.pdf", b"x" * (LARGEST_FILES + 1)),
        headers=HTMX,
    )
    assert response.status_code == 422
    assert response["HX-Retarget"] == "#attachments"
    said = response.content.decode()
    for words in ("run.exe: Gmail", "empty.txt: The file is empty", "large.pdf: The file is too"):
        assert words in said
    assert [one.name for one in draft.attachments.all()] == ["fine.pdf"]
    nothing = member.post(url(draft, "attachments/"), headers=HTMX)
    assert nothing.status_code == 422
    assert "Choose a file first." in nothing.content.decode()


def test_a_hostile_name_is_text_on_the_page(member: Client, draft: Campaign) -> None:
    attach(draft, '<img src=x onerror="alert(1)">\r\nSet-Cookie: a=b.pdf')
    (one,) = draft.attachments.all()
    assert "<" not in one.name
    Attachment.objects.update(name="<script>alert(1)Отчёт.pdf")
    assert "<script>alert" not in member.get(url(draft, "edit/")).content.decode()
    disposition = member.get(of(draft, one))["Content-Disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''%3Cscript%3E")


def test_no_room_is_said_instead_of_a_field(member: Client, draft: Campaign) -> None:
    attach(draft, "a.bin", b"x" * LARGEST_FILES)
    page = member.get(url(draft, "edit/")).content.decode()
    assert "There is no room for another file" in page
    assert 'id="attachment-files"' not in page


def test_a_file_that_is_lost_is_not_found(member: Client, draft: Campaign) -> None:
    one = attach(draft)
    Attachment.objects.update(key="gone")
    assert member.get(of(draft, one)).status_code == 404


def test_from_the_launch_on_files_can_only_be_looked_at(member: Client, sending: Campaign) -> None:
    Campaign.objects.filter(pk=sending.pk).update(state=State.DRAFT)
    one = attach(sending)
    Campaign.objects.filter(pk=sending.pk).update(state=State.SENDING)
    assert conflict(member, of(sending, one, "remove/"))
    assert conflict(member, url(sending, "attachments/"), {"files": SimpleUploadedFile("b", b"b")})
    assert sending.attachments.count() == 1
    assert len(stored()) == 1
    assert "prices.pdf" in member.get(url(sending)).content.decode()
    assert member.get(of(sending, one)).status_code == 200


def test_a_launch_is_of_the_files_that_were_seen(
    member: Client, draft: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)
    seen = version(draft)
    assert f'name="version" value="{seen}"' in member.get(url(draft, "launch/")).content.decode()
    one = attach(draft)
    assert conflict(member, url(draft, "launch/"), {"version": seen, "when": "now"})
    data = {"version": f"{seen} {one.pk}", "when": "now"}
    assert member.post(url(draft, "launch/"), data).status_code == 302
    draft.refresh_from_db()
    assert draft.has_begun


def test_strangers_find_nothing(client_of: ClientOf, outsider: User, draft: Campaign) -> None:
    one = attach(draft)
    client = client_of(outsider)
    for there in (Client(), client):
        assert upload(there, draft, ("x.pdf", b"x")).status_code in {302, 404}
        assert there.post(of(draft, one, "remove/")).status_code in {302, 404}
        assert there.get(of(draft, one)).status_code in {302, 404}
    # By way of their own workspace neither.
    for page in ("", "remove/"):
        path = of(draft, one, page).replace("/w/shop/", "/w/elsewhere/")
        assert client.post(path).status_code in {404, 405}
        assert client.get(path).status_code in {404, 405}
    assert [*draft.attachments.all()] == [one]


def test_a_file_is_found_under_its_campaign_alone(
    member: Client, draft: Campaign, workspace: Workspace
) -> None:
    one = attach(draft)
    other = make_campaign(workspace)
    assert member.get(of(other, one)).status_code == 404
    assert member.post(of(other, one, "remove/")).status_code == 302
    assert draft.attachments.exists()


def test_attaching_and_saving_get_along(member: Client, draft: Campaign) -> None:
    before = version(draft)
    upload(member, draft, ("a.pdf", PDF), headers=HTMX)
    draft.refresh_from_db()
    assert version(draft) == before
    update_campaign(campaign=draft, name="Saved")
    assert draft.attachments.count() == 1
