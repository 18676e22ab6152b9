"""Actions on many contacts: at once on a few, in the background on all that match."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import BulkJob, Contact, ContactList, Suppression
from apps.mailer.services import bulk
from core.errors import Conflict
from tests.apps.mailer.helpers import csv_of, imported
from tests.support import factories

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/"


@pytest.fixture
def client(client_of: Callable[[User], Client], owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)


def people(workspace: Workspace, number: int = 5, **fields: Any) -> list[Contact]:
    return [factories.make_contact(workspace, **fields) for _ in range(number)]


def started(workspace: Workspace, action: str, **options: Any) -> BulkJob:
    return bulk.start_job(workspace=workspace, by=None, action=action, **options)


def run(job: BulkJob) -> BulkJob:
    while True:
        bulk.run_job(job.pk)
        job.refresh_from_db()
        if job.state != BulkJob.State.QUEUED:
            return job


def test_everything_that_matches_is_changed_and_nothing_else(workspace: Workspace) -> None:
    chosen = people(workspace, verdict="risky")
    others = people(workspace, 2)
    elsewhere = people(factories.make_workspace(), 2, verdict="risky")
    job = run(started(workspace, "tag", filter={"verdict": "risky"}, arguments={"tag": "look"}))
    assert (job.state, job.done, job.changed, job.expected) == ("finished", 5, 5, 5)
    tagged = set(Contact.objects.filter(tags__contains=["look"]).values_list("pk", flat=True))
    assert tagged == {one.pk for one in chosen}
    again = run(started(workspace, "tag", arguments={"tag": "look"}))
    assert (again.done, again.changed) == (7, 2)
    gone = run(started(workspace, "untag", arguments={"tag": "look"}))
    assert gone.changed == 7
    assert not Contact.objects.filter(tags__contains=["look"]).exists()
    assert {one.pk for one in others + elsewhere}.isdisjoint(tagged)


def test_lists(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    people(workspace, 2, to=news)
    people(workspace, 3)
    job = run(started(workspace, "add_to_list", arguments={"list": news.pk}))
    assert (job.done, job.changed) == (5, 3)
    job = run(started(workspace, "remove_from_list", arguments={"list": news.pk}))
    assert (job.done, job.changed) == (5, 5)
    assert news.memberships.count() == 0


def test_a_list_of_another_workspace_is_not_touched(workspace: Workspace) -> None:
    theirs = factories.make_list(factories.make_workspace())
    their = factories.make_contact(theirs.workspace, to=theirs)
    people(workspace, 1)
    job = run(started(workspace, "add_to_list", arguments={"list": theirs.pk}))
    assert (job.state, job.error_code) == ("failed", "list_gone")
    bulk.apply(workspace=workspace, action="remove_from_list", ids=[their.pk],
               arguments={"list": theirs.pk}, source="")  # fmt: skip
    assert theirs.memberships.count() == 1


def test_unsubscribing_many(workspace: Workspace) -> None:
    people(workspace, 3)
    bounced = factories.make_contact(workspace, status="bounced")
    job = run(started(workspace, "unsubscribe"))
    assert (job.done, job.changed) == (4, 3)
    assert Suppression.objects.filter(workspace=workspace, reason="unsubscribed").count() == 4
    bounced.refresh_from_db()
    assert bounced.status == "bounced"


def test_deleting_keeps_a_no(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    imported(workspace, csv_of(["ann@example.com", "bob@example.com"]), to=news)
    Contact.objects.filter(email="ann@example.com").update(status="complained")
    theirs = people(factories.make_workspace(), 1)
    job = run(started(workspace, "delete"))
    assert (job.state, job.done) == ("finished", 2)
    assert list(Contact.objects.all()) == theirs
    assert list(Suppression.objects.values_list("email", "reason")) == [
        ("ann@example.com", "complained")
    ]


def test_contacts_that_come_later_are_left_alone(workspace: Workspace) -> None:
    people(workspace, 3)
    job = started(workspace, "delete")
    later = people(workspace, 1)
    run(job)
    assert list(Contact.objects.all()) == later


def test_a_job_goes_on_in_slices(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "SLICE_SECONDS", -1.0)
    people(workspace, 5)
    job = started(workspace, "tag", arguments={"tag": "x"})
    seen = []
    for _turn in range(5):
        bulk.run_job(job.pk)
        job.refresh_from_db()
        seen.append((job.state, job.done))
    assert seen[:4] == [("queued", 2), ("queued", 4), ("queued", 5), ("finished", 5)]
    assert seen[4] == seen[3]


def test_a_dead_worker_s_job_is_taken_over(workspace: Workspace) -> None:
    people(workspace, 3)
    job = started(workspace, "tag", arguments={"tag": "x"})
    BulkJob.objects.filter(pk=job.pk).update(
        state="running", token=uuid.uuid4(), lease_until=timezone.now() + timedelta(minutes=1)
    )
    assert run(job).done == 0
    BulkJob.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert bulk.ring_abandoned_jobs() == 1
    assert run(job).done == 3


def test_a_cancelled_job_stops_before_its_next_chunk(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(workspace, 6)
    job = started(workspace, "tag", arguments={"tag": "x"})
    advance = bulk.advance

    def then_cancel(held: BulkJob, **figures: int) -> None:
        advance(held, **figures)
        if figures["checkpoint"] and not BulkJob.objects.filter(state="cancelled").exists():
            bulk.cancel_job(job=held)

    monkeypatch.setattr(bulk, "advance", then_cancel)
    run(job)
    assert (job.state, job.done, job.changed) == ("cancelled", 2, 2)
    assert Contact.objects.filter(tags__contains=["x"]).count() == 2
    with pytest.raises(Conflict):
        bulk.cancel_job(job=job)


def post(client: Client, **fields: Any) -> Any:
    return client.post(f"{URL}bulk/", {"scope": "selected", **fields}, follow=True)


def test_ticked_contacts_are_changed_at_once(client: Client, workspace: Workspace) -> None:
    one, two, other = people(workspace, 3)
    their = factories.make_contact(factories.make_workspace())
    answer = post(client, action="tag", tag=" VIP ", ids=[one.pk, two.pk, their.pk],
                  query="search=person")  # fmt: skip
    assert "2 contacts are changed" in answer.text
    assert answer.request["QUERY_STRING"] == "search=person"
    for contact, tags in ((one, ["VIP"]), (two, ["VIP"]), (other, []), (their, [])):
        contact.refresh_from_db()
        assert contact.tags == tags


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Choose what to do"),
        ({"action": "tag"}, "A tag has 1 to 50"),
        ({"action": "tag", "tag": "a,b"}, "no comma"),
        ({"action": "tag", "tag": "\0"}, "Choose"),
        ({"action": "add_to_list"}, "Choose a list"),
        ({"action": "add_to_list", "list": "theirs"}, "Choose a list"),
        ({"action": "tag", "tag": "x", "ids": []}, "Choose contacts first"),
        ({"action": "tag", "tag": "x", "ids": ["x", "9" * 40]}, "Choose contacts first"),
        ({"action": "suppress"}, "Choose what to do"),
        ({"action": "nonsense"}, "Choose what to do"),
    ],
)
def test_what_cannot_be_done_is_said(
    client: Client, workspace: Workspace, fields: dict[str, Any], told: str
) -> None:
    theirs = factories.make_list(factories.make_workspace())
    if fields.get("list"):
        fields = {**fields, "list": theirs.pk}
    (one,) = people(workspace, 1)
    answer = post(client, **{"ids": [one.pk], **fields})
    assert told in answer.text or "Choose what to do" in answer.text
    one.refresh_from_db()
    assert one.tags == []
    assert not ContactList.objects.filter(memberships__contact=one).exists()
    assert not BulkJob.objects.exists()


def test_deleting_asks_with_the_number(client: Client, workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    people(workspace, 3, to=news)
    people(workspace, 1)
    fields = {"action": "delete", "scope": "matching", "query": f"list={news.pk}&after=1"}
    asked = client.post(f"{URL}bulk/", fields)
    assert re.search(r"Delete\s+—\s+3 contacts", asked.text)
    assert Contact.objects.count() == 4
    answer = client.post(f"{URL}bulk/", {**fields, "confirmed": "1"})
    job = BulkJob.objects.get()
    assert answer["Location"] == f"{URL}jobs/{job.pk}/"
    assert job.filter == {"list_id": news.pk}
    run(job)
    assert Contact.objects.count() == 1
    page = client.get(f"{URL}jobs/{job.pk}/").text
    assert "Finished" in page
    assert "hx-get" not in client.get(f"{URL}jobs/{job.pk}/progress/").text


@pytest.mark.parametrize("query", ["list=999999", "verdict=nonsense", "search=a%00b", "list=x"])
def test_a_filter_that_no_longer_holds_does_not_widen(
    client: Client, workspace: Workspace, query: str
) -> None:
    people(workspace, 2)
    answer = post(client, action="delete", scope="matching", confirmed="1", query=query)
    assert "This filter cannot be used any more" in answer.text
    assert not BulkJob.objects.exists()


def test_a_job_is_cancelled_on_its_page(client: Client, workspace: Workspace) -> None:
    people(workspace, 3)
    job = started(workspace, "delete")
    assert "hx-get" in client.get(f"{URL}jobs/{job.pk}/progress/").text
    client.post(f"{URL}jobs/{job.pk}/cancel/")
    assert run(job).state == "cancelled"
    assert Contact.objects.count() == 3


def test_who_may_see_jobs(
    client_of: Callable[[User], Client], teammate: User, outsider: User, workspace: Workspace
) -> None:
    people(workspace, 1)
    job = run(started(workspace, "export", arguments={"format": "csv"}))
    for path in ("jobs/", f"jobs/{job.pk}/", f"jobs/{job.pk}/progress/", f"jobs/{job.pk}/file/"):
        assert client_of(teammate).get(URL + path).status_code == 200, path
        assert client_of(outsider).get(URL + path).status_code == 404, path
        assert Client().get(URL + path).status_code == 302, path
        if path != "jobs/":
            elsewhere = f"/w/elsewhere/audience/{path}"
            assert client_of(outsider).get(elsewhere).status_code == 404, path
    waiting = started(workspace, "delete")
    for url in (URL, "/w/elsewhere/audience/"):
        answer = client_of(outsider).post(f"{url}jobs/{waiting.pk}/cancel/")
        assert answer.status_code == 404
    fields = {"action": "delete", "scope": "matching", "confirmed": "1"}
    assert client_of(outsider).post(f"{URL}bulk/", fields).status_code == 404
    assert client_of(teammate).get(f"{URL}bulk/").status_code == 405
    assert Contact.objects.filter(workspace=workspace).count() == 1
