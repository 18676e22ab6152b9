"""One contact's page: what happened, edits, the person's data and their end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Delivery, TestSend
from apps.mailer import selectors
from apps.mailer.models import (
    BulkJob,
    Contact,
    ContactEdit,
    ContactField,
    Import,
    ListMember,
    RejectedRow,
    Suppression,
)
from apps.mailer.services import contacts as services
from apps.mailer.services import contacts_erasure as erasure
from core.secrets import keyed_hash
from tests.apps.mailer.helpers import imported
from tests.support import factories

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/"


@pytest.fixture
def client(client_of: Callable[[User], Client], owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


@pytest.fixture
def ann(workspace: Workspace) -> Contact:
    return factories.make_contact(workspace, "ann@example.com", first_name="Ann")


def letter(contact: Contact, **fields: Any) -> Delivery:
    campaign = factories.make_campaign(contact.workspace, state="finished")
    return factories.make_delivery(campaign, contact, **fields)


def test_everything_that_happened_newest_first(workspace: Workspace, owner: User) -> None:
    imported(workspace, "Email\nann@example.com\n", to=factories.make_list(workspace, "News"))
    ann = Contact.objects.get()
    # The file was begun before its first chunk: not so in one transaction.
    Import.objects.update(started_at=ann.created_at - timedelta(seconds=1))
    now = timezone.now()
    letter(ann, status="sent", updated_at=now + timedelta(1), opened_at=now + timedelta(2),
           clicked_at=now + timedelta(3))  # fmt: skip
    Contact.objects.update(verdict="valid", reason="mailbox_exists", verified_at=now)
    services.unsubscribe(contact=ann, source="campaign 7")
    ann.refresh_from_db()
    services.resubscribe(contact=ann, by=owner)
    services.unsubscribe(contact=ann, source="campaign 8")
    ann.refresh_from_db()
    events = selectors.timeline(ann).events
    assert [one.at for one in events] == sorted((one.at for one in events), reverse=True)
    assert [one.kind for one in events[:3]] == ["clicked", "opened", "letter"]
    assert {one.kind for one in events} == {
        "clicked", "opened", "letter", "suppressed", "edited", "checked", "list", "import",
        "created",
    }  # fmt: skip
    by_kind = {one.kind: one for one in events}
    assert "campaign 8" in by_kind["suppressed"].detail
    assert by_kind["import"].at == ann.created_at
    assert "people.csv" in by_kind["import"].title


def test_letters_of_other_workspaces_and_contacts_are_not_shown(ann: Contact) -> None:
    other = factories.make_contact(ann.workspace)
    letter(other)
    elsewhere = factories.make_campaign(factories.make_workspace(), state="finished")
    Delivery.objects.create(campaign=elsewhere, contact=ann, email=ann.email)
    assert [one.kind for one in selectors.timeline(ann).events] == ["created"]


def test_a_long_history_has_pages(ann: Contact, client: Client) -> None:
    now = timezone.now()
    for number in range(25):
        news = factories.make_list(ann.workspace)
        at = now - timedelta(minutes=number // 4)
        ListMember.objects.create(list=news, contact=ann, created_at=at)
    seen: list[Any] = []
    before = None
    while True:
        page = selectors.timeline(ann, before=before, size=6)
        seen += page.events
        before = page.next_before
        if before is None:
            break
    assert len({(one.kind, one.title) for one in seen}) == len(seen) == 26
    assert len(list(selectors.whole_timeline(ann))) == 26
    text = client.get(f"{URL}{ann.pk}/", {"before": (now - timedelta(1)).isoformat()}).text
    assert "Nothing earlier" in text
    for nonsense in ("x", "2026-01-01", "\0", "9" * 99):
        assert client.get(f"{URL}{ann.pk}/", {"before": nonsense}).status_code == 200


def form_of(contact: Contact, **changes: Any) -> dict[str, Any]:
    contact.refresh_from_db()
    return {
        "first_name": contact.first_name, "last_name": contact.last_name,
        "tags": ", ".join(contact.tags), "version": contact.updated_at.isoformat(), **changes,
    }  # fmt: skip


def test_fields_are_edited_by_their_kind(client: Client, ann: Contact, owner: User) -> None:
    kinds = {"age": "number", "born": "date", "agreed": "yes_no", "size": "choice", "note": "text"}
    for key, kind in kinds.items():
        ContactField.objects.create(workspace=ann.workspace, key=key, label=key, kind=kind,
                                    choices=["S", "M"])  # fmt: skip
    Contact.objects.update(fields={"other": "stays", "note": "gone"})
    news = factories.make_list(ann.workspace, "News")
    text = client.get(f"{URL}{ann.pk}/edit/").text
    assert 'type="date"' in text
    values = {"field_age": "1.50", "field_born": "2026-01-31", "field_agreed": "yes",
              "field_size": "M", "field_note": ""}  # fmt: skip
    fields = form_of(ann, last_name=" O\tNeil ", tags="b, a ,b", lists=[news.pk], **values)
    assert client.post(f"{URL}{ann.pk}/edit/", fields).status_code == 302
    ann.refresh_from_db()
    assert ann.fields == {"other": "stays", "age": "1.50", "born": "2026-01-31", "agreed": "yes",
                          "size": "M"}  # fmt: skip
    assert (ann.last_name, ann.tags, list(ann.lists.all())) == ("O Neil", ["b", "a"], [news])
    edit = ContactEdit.objects.get()
    assert edit.created_by == owner
    assert edit.changes["note"] == ["gone", ""]
    assert edit.changes["lists"] == ["", "News"]
    # The same again changes nothing.
    client.post(f"{URL}{ann.pk}/edit/", form_of(ann, lists=[news.pk], **values))
    assert ContactEdit.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"field_age": "ten"}, {"field_age": "NaN"}, {"field_born": "31.02.2026"},
        {"field_agreed": "maybe"}, {"field_size": "XL"}, {"first_name": "x" * 501},
        {"first_name": "a\0b"}, {"tags": "x" * 51}, {"tags": ",".join(map(str, range(101)))},
        {"version": "x"}, {"lists": ["x"]}, {"lists": ["theirs"]},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(client: Client, ann: Contact, change: dict[str, Any]) -> None:
    for key, kind in {
        "age": "number",
        "born": "date",
        "agreed": "yes_no",
        "size": "choice",
    }.items():
        ContactField.objects.create(workspace=ann.workspace, key=key, label=key, kind=kind,
                                    choices=["S", "M"])  # fmt: skip
    theirs = factories.make_list(factories.make_workspace())
    if change.get("lists") == ["theirs"]:
        change = {"lists": [theirs.pk]}
    answer = client.post(f"{URL}{ann.pk}/edit/", form_of(ann, **change))
    assert answer.status_code == 200
    assert "invalid-feedback" in answer.text or change == {"version": "x"}
    assert not ContactEdit.objects.exists()
    assert theirs.memberships.count() == 0


def test_a_value_from_before_its_kind_is_kept(client: Client, ann: Contact) -> None:
    for key, kind in {"age": "number", "born": "date", "size": "choice"}.items():
        ContactField.objects.create(workspace=ann.workspace, key=key, label=key, kind=kind)
    Contact.objects.update(fields={"age": "ten", "born": "May", "size": "huge"})
    fields = form_of(ann, field_age="ten", field_born="May", field_size="huge", last_name="X")
    assert client.post(f"{URL}{ann.pk}/edit/", fields).status_code == 302
    ann.refresh_from_db()
    assert ann.fields == {"age": "ten", "born": "May", "size": "huge"}


def test_somebody_else_s_change_is_not_overwritten(client: Client, ann: Contact) -> None:
    fields = form_of(ann, first_name="Mine")
    Contact.objects.update(first_name="Theirs", updated_at=timezone.now())
    answer = client.post(f"{URL}{ann.pk}/edit/", fields, follow=True)
    assert "Somebody else has changed" in answer.text
    ann.refresh_from_db()
    assert ann.first_name == "Theirs"


def test_a_suppressed_domain_is_shown(client: Client, ann: Contact) -> None:
    Suppression.objects.create(workspace=ann.workspace, email="@example.com", reason="manual")
    assert "The whole domain @example.com" in client.get(f"{URL}{ann.pk}/").text


def test_all_about_one_person(client: Client, ann: Contact) -> None:
    letter(ann, status="sent", reply="250 ok")
    Contact.objects.update(fields={"город": "Уфа"}, tags=["VIP"])
    answer = client.get(f"{URL}{ann.pk}/data.json")
    found = json.loads(answer.content)
    assert found["email"] == "ann@example.com"
    assert found["fields"] == {"город": "Уфа"}
    assert {one["kind"] for one in found["history"]} == {"letter", "created"}
    assert "attachment" in answer["Content-Disposition"]


def test_an_erased_person_leaves_a_hash(client: Client, ann: Contact, owner: User) -> None:
    workspace = ann.workspace
    sent = letter(ann, status="failed", reply="550 <ann@example.com> unknown")
    job = imported(workspace, "Email\nbob@example.com\n")
    rows = [RejectedRow(of_import=job, number=n, line=n, reason="bad_address:many_at", email=email,
                        cells=[email, "Smith"])
            for n, email in ((5, "Ann@Example.com, x@y"), (6, "joann@example.org"))]  # fmt: skip
    RejectedRow.objects.bulk_create(rows)
    upload = Path(job.file.path)
    assert upload.exists()
    Import.objects.filter(pk=job.pk).update(unfit={"age": [1, 2, "old Ann"]})
    services.unsubscribe(contact=ann, source="campaign 1")
    Suppression.objects.create(workspace=factories.make_workspace(), email=ann.email,
                               reason="manual")  # fmt: skip
    BulkJob.objects.create(workspace=workspace, action="tag", filter={"search": "ann@example.com"})
    for to in ("Ann@Example.com", "joann@example.com"):
        TestSend.objects.create(campaign_id=sent.campaign_id, to=to, reply=f"550 <{to}> unknown")
    wrong = client.post(f"{URL}{ann.pk}/erase/", {"email": "ann@example.org"})
    assert "not the contact" in wrong.text
    assert Contact.objects.filter(pk=ann.pk).exists()
    client.post(f"{URL}{ann.pk}/erase/", {"email": " Ann@Example.COM "})
    assert not Contact.objects.filter(pk=ann.pk).exists()
    assert list(Suppression.objects.filter(workspace=workspace).values_list("email", "reason")) == [
        ("#" + keyed_hash("erased", "ann@example.com"), "erased")
    ]
    assert Suppression.objects.exclude(workspace=workspace).count() == 1
    kept = Delivery.objects.get(campaign=sent.campaign_id)
    assert (kept.email, kept.reply, kept.status) == ("erased", "", "failed")
    tests = TestSend.objects.order_by("pk").values_list("to", "reply")
    assert list(tests) == [
        ("erased", ""), ("joann@example.com", "550 <joann@example.com> unknown")
    ]  # fmt: skip
    emails = list(RejectedRow.objects.order_by("number").values_list("email", flat=True))
    assert emails == ["erased", "joann@example.org"]
    cells = list(RejectedRow.objects.order_by("number").values_list("cells", flat=True))
    assert cells == [[], ["joann@example.org", "Smith"]]
    assert "ann@example.com" not in json.dumps(BulkJob.objects.get().filter)
    job.refresh_from_db()
    assert not upload.exists()
    assert (job.file.name, job.source["sample"], job.unfit) == ("", [], {"age": [1, 2, "…"]})
    assert "The uploaded file is deleted by now" in client.get(f"{URL}imports/{job.pk}/").text
    page = client.get(f"{URL}suppression/").text
    assert "somebody whose data were erased" in page
    assert keyed_hash("erased", "ann@example.com") not in page
    assert erasure.erased_key("ann@example.com").startswith("#")


def test_who_may(
    client_of: Callable[[User], Client], teammate: User, outsider: User, ann: Contact
) -> None:
    for path in ("edit/", "data.json", "erase/"):
        assert client_of(teammate).get(f"{URL}{ann.pk}/{path}").status_code == 200, path
        assert Client().get(f"{URL}{ann.pk}/{path}").status_code == 302, path
        for url in (URL, "/w/elsewhere/audience/"):
            answer = client_of(outsider).get(f"{url}{ann.pk}/{path}")
            assert answer.status_code == 404, path
            answer = client_of(outsider).post(f"{url}{ann.pk}/{path}", {"email": ann.email})
            assert answer.status_code in {404, 405}, path
    assert Contact.objects.filter(pk=ann.pk).exists()
