from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.accounts.models import Workspace
from apps.mailer import messages, selectors
from apps.mailer.models import Contact, Import
from apps.mailer.services import importing
from mailkit.verify.verdict import REASONS
from tests.apps.mailer.helpers import csv_of, imported, queued, run, upload, workbook
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_lists_by_name_with_their_members(
    workspace: Workspace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    elsewhere = factories.make_workspace()
    factories.make_contact(elsewhere, to=factories.make_list(elsewhere, "A"))
    second, first = factories.make_list(workspace, "B"), factories.make_list(workspace, "A")
    for _number in range(3):
        factories.make_contact(workspace, to=second)
    with django_assert_num_queries(1):
        found = [
            (one, one.members)  # type: ignore[attr-defined]
            for one in selectors.lists_with_counts(workspace)
        ]
    assert found == [(first, 0), (second, 3)]


def test_contacts_are_those_of_the_workspace(workspace: Workspace) -> None:
    elsewhere = factories.make_workspace()
    their_list = factories.make_list(elsewhere)
    factories.make_contact(elsewhere, "ann@example.com", to=their_list, first_name="Анна")
    older = factories.make_contact(workspace, "ann@example.com", first_name="Анна")
    newer = factories.make_contact(workspace, "bob@example.com", verdict="", status="bounced")

    def found(**chosen: object) -> list[Contact]:
        return list(selectors.contacts(workspace, **chosen))  # type: ignore[arg-type]

    assert found() == [newer, older]
    assert found(search="анна EXAMPLE") == [older]
    assert found(search="%") == found(search="_nn") == found(search="анна bob") == []
    assert found(list_id=their_list.pk) == []
    assert found(verdict="none") == found(status="bounced") == [newer]
    assert found(verdict="valid") == [older]


def test_progress_of_an_import(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 10)
    job = queued(workspace, csv_of(f"person{n:03}@example.com" for n in range(200)))
    before = selectors.import_progress(job)
    assert (before.rows, before.rate, before.seconds_left) == (0, 0, None)
    assert (before.checked, before.to_check) == (0, 0)
    assert 190 <= (before.total_rows or 0) <= 210
    Import.objects.filter(pk=job.pk).update(
        state=Import.State.RUNNING, started_at=timezone.now() - timedelta(seconds=10),
        checkpoint=100, created=100,
    )  # fmt: skip
    job.refresh_from_db()
    half = selectors.import_progress(job)
    assert half.rate == pytest.approx(10, rel=0.1)
    assert half.seconds_left == pytest.approx(10, rel=0.3)


def test_progress_once_the_file_is_read(workspace: Workspace) -> None:
    factories.make_contact(workspace, "known@example.com", verified_at=timezone.now())
    job = imported(workspace, csv_of(["ann@example.com", "known@example.com", "bad"]))
    now = selectors.import_progress(job)
    assert (now.rows, now.total_rows) == (3, 3)
    assert (now.checked, now.to_check) == (0, 1)
    assert now.verdicts == {"valid": 1, "risky": 0, "invalid": 0, "unknown": 0}
    assert selectors.reason_counts(job) == [("", "", 1), ("valid", "mailbox_exists", 1)]


def test_a_workbook_does_not_say_how_many_rows_it_has(workspace: Workspace) -> None:
    job = upload(workspace, workbook([("email",), ("ann@example.com",)]))
    assert selectors.total_rows(job) is None
    assert selectors.import_progress(job).seconds_left is None


def test_a_file_of_a_header_alone(workspace: Workspace) -> None:
    job = queued(workspace, "email,name\n")
    assert selectors.total_rows(job) is None
    assert selectors.total_rows(run(job)) == 0


def test_checks_of_an_import_that_never_began(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    assert not selectors.check_progress(job).finished
    Import.objects.filter(pk=job.pk).update(state=Import.State.CANCELLED)
    job.refresh_from_db()
    assert selectors.check_progress(job).finished


def test_every_reason_has_words() -> None:
    assert set(messages.REASONS) == set(REASONS)
    assert selectors.reason_text("never heard of") == "never heard of"


def test_faults_and_rejects_in_words() -> None:
    text = selectors.file_fault_text("not_a_table", 7, "pdf")
    assert "pdf found" in text
    assert text.endswith("Line 7.")
    assert selectors.file_fault_text("never_heard_of", None, "") == "The file could not be read."
    assert selectors.reject_text("bad_address:no_at") == "Not an email address: there is no @"
    assert selectors.reject_text("never_heard_of") == "never_heard_of"
