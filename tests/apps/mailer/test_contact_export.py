"""Export files: whole, safe in a spreadsheet, and the same again when imported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import User, Workspace
from apps.mailer.models import BulkJob, Contact, ContactField, Suppression
from apps.mailer.services import bulk, export, export_files
from mailkit.imports.rows import clean_value, guarded, unguarded
from tests.apps.mailer.helpers import run as run_import
from tests.apps.mailer.helpers import start, upload
from tests.support import factories

pytestmark = pytest.mark.django_db
URL = "/w/shop/audience/"
HOSTILE: dict[str, Any] = {
    "first_name": "=cmd|' /C calc'!A0",
    "last_name": "'=already",
    "fields": {"city": "+7 900", "note": "-1", "size": "@SUM(A1)", "plain": 'a,b;"c" \'d'},
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)


def exported(workspace: Workspace, kind: str, **chosen: object) -> BulkJob:
    job = bulk.start_job(
        workspace=workspace, by=None, action="export", filter=chosen, arguments={"format": kind}
    )
    bulk.run_job(job.pk)
    job.refresh_from_db()
    return job


def table(job: BulkJob) -> list[dict[str, str]]:
    data = job.file.open("rb").read()
    if job.file.path.endswith("csv"):
        return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    sheet = openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]
    head, *rows = [[str(cell or "") for cell in row] for row in sheet.iter_rows(values_only=True)]
    return [dict(zip(head, row, strict=True)) for row in rows]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=50))
def test_what_is_guarded_is_no_formula_and_comes_back(value: str) -> None:
    cell = guarded(value)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(cell) == value
    kept = clean_value(value)
    if kept[:1] != "'":  # a leading apostrophe before a formula is one that a file has brought
        assert clean_value(guarded(kept)) == kept


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_values_survive_the_way_out_and_in(workspace: Workspace, kind: str) -> None:
    for key, label in (("city", "City"), ("note", "Notiz"), ("size", "=Size"), ("plain", "plain")):
        ContactField.objects.create(workspace=workspace, key=key, label=label)
    factories.make_contact(workspace, "ann@example.com", **HOSTILE)
    factories.make_contact(workspace, "+bo=x@example.com", first_name="Бо 😀")
    factories.make_contact(workspace, "plain@example.com", fields={"city": "Paris"})
    job = exported(workspace, kind)
    assert (job.state, job.done) == ("finished", 3)
    rows = table(job)
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@"))
    assert [row["Email"] for row in rows] == ["ann@example.com", "'+bo=x@example.com",
                                              "plain@example.com"]  # fmt: skip
    other = factories.make_workspace()
    again = run_import(start(upload(other, job.file.open("rb").read(), f"back.{kind}")))
    assert (again.created, again.rejected) == (3, 0)
    for before in Contact.objects.filter(workspace=workspace):
        after = Contact.objects.get(workspace=other, email=before.email)
        assert (after.first_name, after.last_name) == (before.first_name, before.last_name)
        assert before.fields.items() <= after.fields.items()


def test_json_has_values_as_they_are(workspace: Workspace) -> None:
    news = factories.make_list(workspace, "News")
    factories.make_contact(workspace, "ann@example.com", to=news, tags=["a"], **HOSTILE)
    factories.make_contact(workspace, "bo@example.com")
    job = exported(workspace, "json")
    found = json.loads(job.file.open("rb").read())
    assert [one["email"] for one in found] == ["ann@example.com", "bo@example.com"]
    assert found[0]["fields"] == HOSTILE["fields"]
    assert found[0]["first_name"] == HOSTILE["first_name"]
    assert (found[0]["lists"], found[0]["tags"]) == (["News"], ["a"])
    empty = exported(workspace, "json", search="nobody")
    assert json.loads(empty.file.open("rb").read()) == []


def test_only_what_matches_and_only_of_the_workspace(workspace: Workspace) -> None:
    factories.make_contact(factories.make_workspace(), "their@example.com")
    factories.make_contact(workspace, "ann@example.com", verdict="risky")
    factories.make_contact(workspace, "bo@example.com")
    rows = table(exported(workspace, "csv", verdict="risky"))
    assert [row["Email"] for row in rows] == ["ann@example.com"]


def test_a_full_sheet_is_followed_by_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "SHEET_ROWS", 3)
    for _number in range(5):
        factories.make_contact(workspace)
    job = exported(workspace, "xlsx")
    book = openpyxl.load_workbook(io.BytesIO(job.file.open("rb").read()))
    assert [sheet.max_row for sheet in book.worksheets] == [3, 3, 2]


def test_characters_that_a_workbook_cannot_hold(workspace: Workspace) -> None:
    factories.make_contact(workspace, first_name="a\x01b\x0bc", fields={"x": "\uffff" * 10})
    ContactField.objects.create(workspace=workspace, key="x", label="x")
    assert table(exported(workspace, "xlsx"))[0]["First name"] == "abc"


def test_a_worker_that_died_leaves_nothing(workspace: Workspace) -> None:
    factories.make_contact(workspace)
    job = bulk.start_job(workspace=workspace, by=None, action="export")
    folder = Path(default_storage.path(export.FOLDER))
    folder.mkdir(parents=True)
    (folder / f"{job.pk}-dead.csv").write_text("half")
    (folder / "1234567-other.csv").write_text("whole")
    BulkJob.objects.filter(pk=job.pk).update(
        state="running", done=7, lease_until=timezone.now() - timedelta(seconds=1)
    )
    bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done) == ("finished", 1)
    assert len(list(folder.iterdir())) == 2


def test_a_cancelled_export_leaves_no_file(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _number in range(4):
        factories.make_contact(workspace)
    job = bulk.start_job(workspace=workspace, by=None, action="export")
    rows_of = export.rows_of

    def cancelling(ids: list[int]) -> list[dict[str, object]]:
        BulkJob.objects.filter(pk=job.pk).update(state="cancelled")
        return rows_of(ids)

    monkeypatch.setattr(export, "rows_of", cancelling)
    bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.file.name) == ("cancelled", "")
    assert list(Path(default_storage.path(export.FOLDER)).iterdir()) == []


def test_files_are_removed_after_some_days(
    workspace: Workspace, client_of: Callable[[User], Client], owner: User
) -> None:
    factories.make_contact(workspace)
    job = exported(workspace, "csv")
    path = Path(job.file.path)
    assert bulk.remove_expired_files() == 0
    client = client_of(owner)
    answer = client.get(f"{URL}jobs/{job.pk}/file/")
    assert answer["Content-Disposition"].startswith("attachment")
    assert b"".join(answer).startswith(b"\xef\xbb\xbfEmail,")
    BulkJob.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert bulk.remove_expired_files() == 1
    assert bulk.remove_expired_files() == 0
    assert not path.exists()
    assert client.get(f"{URL}jobs/{job.pk}/file/").status_code == 404
    assert "no file any more" in client.get(f"{URL}jobs/{job.pk}/").text


def test_the_suppression_list(workspace: Workspace) -> None:
    for workspace_, email, reason in (
        (workspace, "@example.com", "manual"),
        (workspace, "#abc", "erased"),
        (workspace, "ann@example.org", "bounced"),
        (factories.make_workspace(), "their@example.org", "manual"),
    ):
        Suppression.objects.create(workspace=workspace_, email=email, reason=reason, source="=x")
    job = bulk.start_job(workspace=workspace, by=None, action="export_suppression")
    bulk.run_job(job.pk)
    job.refresh_from_db()
    assert [(row["Email"], row["Source"]) for row in table(job)] == [
        ("'@example.com", "'=x"), ("ann@example.org", "'=x"),
    ]  # fmt: skip
