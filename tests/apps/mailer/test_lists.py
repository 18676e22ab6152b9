from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, ContactList, Import, Verification
from apps.mailer.services import lists, verification
from core.errors import Conflict, InvalidInput
from tests.apps.mailer.helpers import csv_of, imported, queued, upload
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_a_name_is_made_tidy(workspace: Workspace) -> None:
    assert lists.create_list(workspace=workspace, name="  Regular\n customers ").name == (
        "Regular customers"
    )


@pytest.mark.parametrize("name", ["", " \n", "x" * 101])
def test_a_name_that_cannot_be(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput, match="at most 100"):
        lists.create_list(workspace=workspace, name=name)


def test_a_name_is_taken_within_a_workspace(workspace: Workspace) -> None:
    lists.create_list(workspace=factories.make_workspace(), name="News")
    made = lists.create_list(workspace=workspace, name="News")
    with pytest.raises(InvalidInput, match="already a list"):
        lists.create_list(workspace=workspace, name=" News ")
    assert lists.get_or_create_list(workspace=workspace, name=" News ") == made
    assert lists.get_or_create_list(workspace=workspace, name="Other") != made


def test_a_deleted_list_leaves_its_contacts(workspace: Workspace) -> None:
    news, other = factories.make_list(workspace), factories.make_list(workspace)
    contact = factories.make_contact(workspace, to=news)
    factories.make_campaign(workspace, news, other)
    lists.delete_list(contact_list=news)
    assert list(workspace.lists.all()) == [other]
    assert Contact.objects.get() == contact
    assert list(workspace.campaigns.get().lists.all()) == [other]


def test_a_list_being_filled_is_not_deleted(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    assert job.list
    for state in (Import.State.QUEUED, Import.State.RUNNING):
        Import.objects.update(state=state)
        with pytest.raises(Conflict):
            lists.delete_list(contact_list=job.list)
    assert ContactList.objects.exists()


def test_a_deleted_list_takes_its_files_but_not_the_checks(workspace: Workspace) -> None:
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    kept = upload(workspace, csv_of(["bob@example.com"]))
    assert job.list
    lists.delete_list(contact_list=job.list)
    assert list(Import.objects.all()) == [kept]
    assert not Path(job.file.path).exists()
    assert Path(kept.file.path).exists()
    # The contact came by that import and still waits for its verdict.
    run = Verification.objects.get()
    assert [some.count() for some in selectors.waiting(run)] == [1]
    verification.finish_if_done(run.pk)
    run.refresh_from_db()
    assert run.state == Verification.State.RUNNING
    assert verification.ring_due_checks() == 1


def test_a_large_list_is_not_counted_to_its_end(
    workspace: Workspace,
    client_of: Callable[[User], Client],
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, many = factories.make_list(workspace, "Few"), factories.make_list(workspace, "Many")
    theirs = factories.make_list(factories.make_workspace())
    for to, number in ((few, 2), (many, 4), (theirs, 1)):
        for _number in range(number):
            factories.make_contact(to.workspace, to=to)
    monkeypatch.setattr("apps.mailer.selectors.audience.COUNTED", 2)
    found = selectors.lists_with_counts(workspace)
    assert [(one.name, one.members) for one in found] == [("Few", 2), ("Many", 3)]  # type: ignore[attr-defined]
    monkeypatch.setattr("apps.mailer.selectors.audience.COUNTED", 10_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH made AS (INSERT INTO mailer_contact (workspace_id, email, first_name, last_name,"
            " fields, status, verdict, reason, evidence, created_at, updated_at, check_attempts)"
            " SELECT %s, n || '@example.com', '', '', '{}', 'subscribed', '', '', '{}', now(),"
            " now(), 0 FROM generate_series(1, 10000) n RETURNING id)"
            " INSERT INTO mailer_listmember (list_id, contact_id) SELECT %s, id FROM made",
            [workspace.pk, many.pk],
        )
    client = client_of(owner)
    for path in ("", f"{many.pk}/delete/"):
        assert "10,000+" in client.get(f"/w/shop/audience/lists/{path}").text
    draft = factories.make_campaign(workspace, many)
    assert "10,000+ contacts" in client.get(f"/w/shop/campaigns/{draft.pk}/edit/").text
