from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import (
    ContactField,
    ContactList,
    Import,
    ImportedContact,
    RejectedRow,
    Verification,
)
from tests.apps.mailer.helpers import make_import
from tests.support import factories

ClientOf = Callable[[User], Client]
HTMX = {"HX-Request": "true"}
SHEET = "Email,Имя,Город,Notes\nann@example.com,Анна,Уфа,\nbob@example.com,Борис,Омск,\n"


@pytest.fixture
def client(client_of: ClientOf, owner: User, workspace: Workspace) -> Client:
    return client_of(owner)


def upload(client: Client, text: str = SHEET, name: str = "people.csv", **extra: Any) -> Any:
    file = SimpleUploadedFile(name, text.encode())
    return client.post("/w/shop/audience/imports/new/", {"file": file}, **extra)


# Upload and mapping


def test_uploading_leads_to_the_columns(client: Client, owner: User) -> None:
    response = upload(client)
    job = Import.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/w/shop/audience/imports/{job.pk}/columns/"
    assert (job.name, job.created_by, job.state) == ("people.csv", owner, "uploaded")
    assert job.source["headers"] == ["Email", "Имя", "Город", "Notes"]


def test_uploading_by_htmx_redirects_the_browser(client: Client) -> None:
    response = upload(client, headers=HTMX)
    assert response.status_code == 200
    assert response["HX-Redirect"] == f"/w/shop/audience/imports/{Import.objects.get().pk}/columns/"


@pytest.mark.parametrize(
    ("content", "words"),
    [("%PDF-1.7\n%binary", "not a contact table"), (" \n\n", "empty"), ("", "empty")],
)
def test_a_file_that_is_no_table_is_refused_with_the_reason(
    client: Client, content: str, words: str
) -> None:
    response = upload(client, content)
    assert response.status_code == 200
    assert words in response.text
    assert 'aria-invalid="true"' in response.text
    fragment = upload(client, content, headers=HTMX)
    assert words in fragment.text
    assert "<html" not in fragment.text
    assert not Import.objects.exists()


def test_uploading_nothing(client: Client) -> None:
    response = client.post("/w/shop/audience/imports/new/", {})
    assert "Choose a file, or paste" in response.text


def test_pasted_contacts_are_a_file(client: Client) -> None:
    text = "Ann <ann@example.com>\r\nbob@example.com\r\n"
    response = client.post("/w/shop/audience/imports/new/", {"text": text})
    job = Import.objects.get()
    assert response.status_code == 302
    assert job.source["kind"] == "txt"
    assert "bob@example.com" in client.get(response["Location"]).text


def test_reading_a_file_in_another_way(client: Client) -> None:
    upload(client, "email;имя\nann@example.com;Анна\n")
    job = Import.objects.get()
    path = f"/w/shop/audience/imports/{job.pk}/columns/"
    client.post(path, {"encoding": "cp1251", "delimiter": "tab"})
    job.refresh_from_db()
    assert len(job.source["headers"]) == 1
    client.post(path, {"encoding": "utf-8", "delimiter": ";"})
    job.refresh_from_db()
    assert job.source["headers"] == ["email", "имя"]
    refused = client.post(path, {"encoding": "rot13", "delimiter": ";"})
    assert "Select a valid choice" in refused.text


def uploaded(client: Client) -> tuple[Import, str]:
    upload(client)
    job = Import.objects.get()
    return job, f"/w/shop/audience/imports/{job.pk}/columns/"


COLUMNS = {
    "target_0": "email", "target_1": "first_name", "target_2": "+", "name_2": "Город",
    "target_3": "", "list": "+", "new_list": "Spring", "level": "quick",
}  # fmt: skip


def test_the_suggested_mapping_is_chosen_already(client: Client) -> None:
    _job, path = uploaded(client)
    form = client.get(path).context["form"]
    assert [column.target.value() for column in form.columns()] == ["email", "first_name", "+", ""]
    assert form["name_2"].value() == "Город"
    assert (form["list"].value(), form["new_list"].value()) == ("+", "people")


def test_a_known_custom_field_is_suggested(client: Client, workspace: Workspace) -> None:
    ContactField.objects.create(workspace=workspace, key="gorod", label="Город")
    _job, path = uploaded(client)
    assert client.get(path).context["form"]["target_2"].value() == "gorod"


def test_the_import_starts_as_mapped(
    client: Client, django_capture_on_commit_callbacks: Any, rings: list[int]
) -> None:
    job, path = uploaded(client)
    with django_capture_on_commit_callbacks(execute=True):
        response = client.post(path, COLUMNS)
    assert response["Location"] == f"/w/shop/audience/imports/{job.pk}/"
    job.refresh_from_db()
    assert job.state == "queued"
    assert job.mapping == {"0": "email", "1": "first_name", "2": "gorod"}
    assert job.level == "quick"
    assert job.list is not None
    assert job.list.name == "Spring"
    assert ContactField.objects.get().label == "Город"
    assert rings == [job.pk]


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the imports that a worker was asked to run; no worker listens here."""
    from apps.mailer.tasks import import_contacts_async

    asked: list[int] = []
    monkeypatch.setattr(import_contacts_async, "delay", asked.append)
    return asked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target_0": ""}, "Choose the column that holds the email address"),
        ({"target_1": "email"}, "Another column goes there already"),
        ({"target_1": "drop table"}, "Select a valid choice"),
        ({"name_2": ""}, "Give the field a name"),
        ({"name_2": "Email"}, "This name is taken"),
        ({"target_1": "+", "name_1": "город"}, "Another column goes there already"),
        ({"new_list": ""}, "Give the list a name"),
        ({"new_list": "Taken"}, "already a list named"),
        ({"list": "999999"}, "Select a valid choice"),
        ({"level": "none"}, "Select a valid choice"),
        ({"level": ""}, "This field is required"),
    ],
)
def test_a_mapping_that_cannot_be(
    client: Client, workspace: Workspace, change: dict[str, str], words: str
) -> None:
    factories.make_list(workspace, "Taken")
    job, path = uploaded(client)
    response = client.post(path, COLUMNS | change)
    assert response.status_code == 200
    assert words in response.text
    job.refresh_from_db()
    assert (job.state, job.list) == ("uploaded", None)
    assert not ContactField.objects.exists()
    assert ContactList.objects.count() == 1


def test_a_list_of_another_workspace_cannot_be_filled(client: Client, outsider: User) -> None:
    theirs = factories.make_list(Workspace.objects.get(slug="elsewhere"))
    job, path = uploaded(client)
    assert client.post(path, COLUMNS | {"list": str(theirs.pk)}).status_code == 200
    job.refresh_from_db()
    assert job.list is None


def test_importing_into_a_given_list(client: Client, workspace: Workspace, rings: Any) -> None:
    news = factories.make_list(workspace)
    response = client.post(
        f"/w/shop/audience/imports/new/?list={news.pk}",
        {"file": SimpleUploadedFile("people.csv", SHEET.encode())},
    )
    form = client.get(response["Location"]).context["form"]
    assert form["list"].value() == str(news.pk)
    client.post(response["Location"], COLUMNS | {"list": str(news.pk), "new_list": ""})
    assert Import.objects.get().list == news


def test_a_started_import_is_not_mapped_again(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace, state=Import.State.RUNNING)
    response = client.post(f"/w/shop/audience/imports/{job.pk}/columns/", COLUMNS)
    assert response["Location"] == f"/w/shop/audience/imports/{job.pk}/"
    job.refresh_from_db()
    assert job.mapping == {}


def test_an_uploaded_file_opens_at_its_columns(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace, state=Import.State.UPLOADED)
    response = client.get(f"/w/shop/audience/imports/{job.pk}/")
    assert response["Location"] == f"/w/shop/audience/imports/{job.pk}/columns/"


# Import page


def progress(client: Client, job: Import) -> str:
    response = client.get(f"/w/shop/audience/imports/{job.pk}/progress/", headers=HTMX)
    assert "<html" not in response.text
    return str(response.text)


def test_progress_asks_again_while_rows_are_read(client: Client, workspace: Workspace) -> None:
    job = make_import(
        workspace,
        state=Import.State.RUNNING,
        started_at=timezone.now() - timedelta(seconds=10),
        checkpoint=5000, created=4000, updated=500, unchanged=250, duplicate=200, rejected=50,
    )  # fmt: skip
    text = progress(client, job)
    assert 'hx-trigger="every 2s"' in text
    assert "/ s" in text
    for figure in ("4,000", "500", "250", "200", "50"):
        assert f'<span class="figure-value">{figure}</span>' in text


def test_progress_asks_again_while_addresses_are_verified(
    client: Client, workspace: Workspace
) -> None:
    job = make_import(workspace, checkpoint=2, created=2)
    run = Verification.objects.create(workspace=workspace, of_import=job, level="full", total=2)
    for email, attempts in (("a@example.com", 1), ("b@example.com", 0)):
        contact = factories.make_contact(
            workspace, email, verification=run, check_attempts=attempts,
            check_due_at=timezone.now(),
        )  # fmt: skip
        ImportedContact.objects.create(of_import=job, contact=contact)
    text = progress(client, job)
    assert "1 of 2 addresses have an answer" in text
    assert 'hx-trigger="every 2s"' in text


def test_progress_rests_when_all_is_over(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace, checkpoint=1, created=1)
    Verification.objects.create(
        workspace=workspace, of_import=job, level="full", total=1,
        state=Verification.State.FINISHED, finished_at=timezone.now(),
    )  # fmt: skip
    contact = factories.make_contact(workspace, verdict="risky", reason="catch_all")
    ImportedContact.objects.create(of_import=job, contact=contact)
    text = progress(client, job)
    assert "hx-trigger" not in text
    link = f"/w/shop/audience/?of_import={job.pk}&amp;verdict=risky"
    assert link in text
    assert contact.email in client.get(link.replace("&amp;", "&")).text


def test_a_failed_import_says_why_and_what_to_do(
    client: Client, workspace: Workspace, rings: list[int]
) -> None:
    job = make_import(
        workspace,
        list=factories.make_list(workspace),
        state=Import.State.FAILED,
        error_code="damaged_xlsx",
        error_line=42,
    )
    text = client.get(f"/w/shop/audience/imports/{job.pk}/").text
    assert "The workbook is damaged" in text
    assert "Line 42." in text
    client.post(f"/w/shop/audience/imports/{job.pk}/retry/")
    job.refresh_from_db()
    assert job.state == "queued"
    assert rings == [job.pk]


def test_a_cancelled_import_can_go_on(
    client: Client, workspace: Workspace, rings: list[int]
) -> None:
    never_started = make_import(workspace, state=Import.State.CANCELLED)
    page = f"/w/shop/audience/imports/{never_started.pk}/"
    assert "Go on with the import" not in client.get(page).text
    job = make_import(workspace, list=factories.make_list(workspace), state=Import.State.CANCELLED)
    page = f"/w/shop/audience/imports/{job.pk}/"
    assert "Go on with the import" in client.get(page).text
    client.post(f"{page}retry/")
    assert rings == [job.pk]


def test_a_finished_import_is_not_tried_again(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace)
    client.post(f"/w/shop/audience/imports/{job.pk}/retry/")
    job.refresh_from_db()
    assert job.state == "finished"
    assert "alert-danger" in client.get(f"/w/shop/audience/imports/{job.pk}/").text


def test_cancelling_asks_first(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace, state=Import.State.RUNNING, checkpoint=3, created=3)
    path = f"/w/shop/audience/imports/{job.pk}/cancel/"
    assert "3 rows are imported and stay" in client.get(path).text
    job.refresh_from_db()
    assert job.state == "running"
    client.post(path)
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_cancelling_what_is_over_says_so(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace)
    client.post(f"/w/shop/audience/imports/{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.state == "finished"
    assert "over already" in client.get("/w/shop/audience/imports/").text


def test_rejected_rows_as_csv_are_harmless_in_a_spreadsheet(
    client: Client, workspace: Workspace
) -> None:
    job = make_import(workspace)
    values = ['=HYPERLINK("http://evil.example")', "+1", "-1", "@SUM(A1)", 'a"b,c', "Иван@"]
    for number, value in enumerate(values, 1):
        RejectedRow.objects.create(
            of_import=job, number=number, line=number + 1, reason="bad_address:no_at", email=value
        )
    response = client.get(f"/w/shop/audience/imports/{job.pk}/rejected.csv")
    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["Line", "Reason", *job.source["headers"]]
    assert [row[2] for row in rows] == [
        '\'=HYPERLINK("http://evil.example")', "'+1", "'-1", "'@SUM(A1)", 'a"b,c', "Иван@",
    ]  # fmt: skip
    assert rows[0][0] == "2"
    assert rows[0][1] == "Not an email address: there is no @"


def test_rejected_rows_are_downloaded_with_their_cells(
    client: Client, workspace: Workspace
) -> None:
    job = make_import(workspace)
    RejectedRow.objects.create(
        of_import=job, number=1, line=2, reason="no_email", email="", cells=["", "=1+1", "a\nb"]
    )
    response = client.get(f"/w/shop/audience/imports/{job.pk}/rejected.csv")
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    [_header, row] = csv.reader(io.StringIO(text))
    assert row == ["2", "No email address in the row", "", "'=1+1", "a\nb"]


def test_rejected_rows_are_shown_with_line_and_reason(client: Client, workspace: Workspace) -> None:
    job = make_import(workspace, checkpoint=60, rejected=60)
    RejectedRow.objects.bulk_create(
        RejectedRow(of_import=job, number=n, line=n + 1, reason="no_email") for n in range(60)
    )
    text = client.get(f"/w/shop/audience/imports/{job.pk}/").text
    assert text.count("No email address in the row") == 50
    assert "The first 50 of 60; the CSV has them all." in text


def test_imports_are_listed_and_filtered(client: Client, workspace: Workspace) -> None:
    make_import(workspace, name="spring.csv")
    make_import(workspace, name="autumn.csv", state=Import.State.FAILED)
    text = client.get("/w/shop/audience/imports/?state=failed").text
    assert "autumn.csv" in text
    assert "spring.csv" not in text
    assert "autumn.csv" not in client.get("/w/shop/audience/imports/?search=SPRING").text
