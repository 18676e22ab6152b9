"""The worker's side of an import: what a file makes of the audience."""

from __future__ import annotations

import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import (
    Contact,
    ContactField,
    Import,
    ImportedContact,
    Suppression,
    Verification,
)
from apps.mailer.services import contacts as contact_services
from apps.mailer.services import importing, importing_writes
from apps.mailer.services.importing_writes import Written
from tests.apps.mailer.helpers import (
    counters,
    csv_of,
    emails,
    imported,
    queued,
    rejections,
    run,
    workbook,
)
from tests.support import factories

pytestmark = pytest.mark.django_db


# What becomes of rows


def test_a_file_makes_contacts_in_the_list(workspace: Workspace) -> None:
    news = factories.make_list(workspace)
    job = imported(
        workspace, "Email,Имя,Фамилия\nann@example.com,Анна,Ким\nbob@example.com,Борис,\n", to=news
    )
    assert job.state == Import.State.FINISHED
    assert counters(job) == {"created": 2}
    assert job.finished_at
    assert job.token is None
    assert job.lease_until is None
    ann = Contact.objects.get(workspace=workspace, email="ann@example.com")
    assert (ann.first_name, ann.last_name, ann.fields) == ("Анна", "Ким", {})
    assert (ann.status, ann.verdict, ann.domain) == ("subscribed", "", "example.com")
    assert (ann.reason, ann.evidence, ann.check_attempts, ann.tags) == ("", {}, 0, [])
    assert ann.created_at == ann.updated_at == ann.check_due_at
    assert sorted(news.contacts.values_list("email", flat=True)) == emails(workspace)


def test_the_collector_of_garbage_rests_only_during_an_import(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    during = []

    def write(*args: Any) -> Written:
        during.append(gc.get_threshold()[0])
        return importing_writes.write(*args)

    monkeypatch.setattr(importing, "write", write)
    before = gc.get_threshold()
    imported(workspace, "Email\nann@example.com\n")
    assert set(during) == {importing.COLLECTED_AFTER}
    assert gc.get_threshold() == before


def test_custom_fields_are_kept_under_their_labels(workspace: Workspace) -> None:
    job = queued(
        workspace,
        "Почта,Город,Номер карты\nann@example.com,Уфа,0012\nbob@example.com,,7\n",
        mapping={0: "email", 1: "gorod", 2: "card"},
        labels={"gorod": "Город", "card": "Номер карты"},
    )
    run(job)
    fields = Contact.objects.filter(workspace=workspace).order_by("email").values_list("fields")
    assert list(fields) == [({"gorod": "Уфа", "card": "0012"},), ({"card": "7"},)]
    labels = ContactField.objects.filter(workspace=workspace).values_list("key", "label")
    assert dict(labels) == {"gorod": "Город", "card": "Номер карты"}


def test_columns_left_out_of_the_mapping_are_dropped(workspace: Workspace) -> None:
    imported(workspace, "Email,Имя,Паспорт\nann@example.com,Анна,4509\n", mapping={0: "email"})
    ann = Contact.objects.get(workspace=workspace)
    assert (ann.first_name, ann.fields) == ("", {})


def test_values_replace_and_empty_cells_leave(workspace: Workspace) -> None:
    factories.make_contact(
        workspace, "ann@example.com", first_name="Аня", last_name="Ким",
        fields={"city": "Уфа", "size": "M"},
    )  # fmt: skip
    job = imported(
        workspace,
        "email,first_name,last_name,city,color\nANN@example.com,Анна,,Омск,red\n",
        mapping={0: "email", 1: "first_name", 2: "last_name", 3: "city", 4: "color"},
    )
    assert counters(job) == {"updated": 1}
    ann = Contact.objects.get(workspace=workspace)
    assert (ann.first_name, ann.last_name) == ("Анна", "Ким")
    assert ann.fields == {"city": "Омск", "size": "M", "color": "red"}


def test_what_the_file_does_not_change_is_unchanged(workspace: Workspace) -> None:
    ann = factories.make_contact(workspace, "ann@example.com", first_name="Анна")
    news = factories.make_list(workspace)
    job = imported(workspace, "email,имя\nann@example.com,Анна\n", to=news)
    assert counters(job) == {"unchanged": 1}
    assert news.contacts.get() == ann
    before = ann.updated_at
    ann.refresh_from_db()
    assert ann.updated_at == before


def test_the_same_file_again_changes_nothing(workspace: Workspace) -> None:
    text = "email,имя\nann@example.com,Анна\nbob@example.com,\n"
    imported(workspace, text)
    assert counters(imported(workspace, text)) == {"unchanged": 2}
    assert len(emails(workspace)) == 2


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_the_second_row_of_an_address_is_a_duplicate(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", chunk)
    text = (
        "email,имя\nann@example.com,Анна\nbob@example.com,Борис\n ANN@Example.COM ,Другая\n"
        "Ann <ann@example.com>,Третья\nmailto:bob@example.com,\ncat@example.com,Катя\n"
    )
    job = imported(workspace, text)
    assert counters(job) == {"created": 3, "duplicate": 3}
    names = Contact.objects.order_by("email").values_list("first_name", flat=True)
    assert list(names) == ["Анна", "Борис", "Катя"]


def test_duplicates_of_a_known_contact(workspace: Workspace, small_chunks: None) -> None:
    factories.make_contact(workspace, "ann@example.com")
    job = imported(workspace, csv_of(["ann@example.com"] * 7))
    assert counters(job) == {"unchanged": 1, "duplicate": 6}


def test_rejected_rows_keep_line_and_reason(workspace: Workspace, small_chunks: None) -> None:
    text = (
        "Email,Имя\n"
        "ann@example.com,Анна\n"
        ",Без адреса\n"
        "\n"
        "no-at-sign,Боб\n"
        "a@b@example.com,Боб\n"
        "x@example.com,1,2,3\n"
        'y@example.com,"two\nlines"\n'
        "z@localhost,Зоя\n"
    )
    job = imported(workspace, text)
    assert counters(job) == {"created": 2, "rejected": 5}
    assert rejections(job) == [
        (3, "no_email", ""),
        (5, "bad_address:no_at", "no-at-sign"),
        (6, "bad_address:many_at", "a@b@example.com"),
        (7, "wrong_cell_count", "x@example.com"),
        (10, "bad_address:bad_domain", "z@localhost"),
    ]


def test_a_file_without_rows_finishes(workspace: Workspace) -> None:
    job = imported(workspace, "Email,Name\n")
    assert job.state == Import.State.FINISHED
    assert counters(job) == {}
    assert Verification.objects.get(of_import=job).state == Verification.State.FINISHED


def test_an_import_subscribes_nobody_again(workspace: Workspace) -> None:
    gone = factories.make_contact(workspace, "gone@example.com")
    contact_services.unsubscribe(contact=gone, source="test")
    for status in ("bounced", "complained"):
        factories.make_contact(workspace, f"{status}@example.com", status=status)
    Suppression.objects.create(workspace=workspace, email="never@example.com", reason="manual")
    names = ["gone", "bounced", "complained", "never"]
    job = imported(
        workspace, "email,имя\n" + "".join(f"{name}@example.com,Имя\n" for name in names)
    )
    assert counters(job) == {"created": 1, "updated": 3}
    statuses = dict(Contact.objects.values_list("email", "status"))
    assert statuses.pop("never@example.com") == "subscribed"
    assert statuses == {
        "gone@example.com": "unsubscribed",
        "bounced@example.com": "bounced",
        "complained@example.com": "complained",
    }
    assert set(Suppression.objects.values_list("email", "reason")) == {
        ("gone@example.com", "unsubscribed"), ("never@example.com", "manual"),
    }  # fmt: skip


def test_verdicts_are_not_touched(workspace: Workspace) -> None:
    factories.make_contact(
        workspace, "ann@example.com", verdict="invalid", reason="no_mx", verified_at=timezone.now()
    )
    job = imported(workspace, "email,имя\nann@example.com,Анна\n")
    ann = Contact.objects.get(workspace=workspace)
    assert (ann.verdict, ann.reason, ann.check_due_at) == ("invalid", "no_mx", None)
    assert Verification.objects.get(of_import=job).state == Verification.State.FINISHED


def test_another_workspace_keeps_its_contact(workspace: Workspace) -> None:
    theirs = factories.make_contact(
        factories.make_workspace(), "ann@example.com", first_name="Theirs", verdict=""
    )
    job = imported(workspace, "email,имя\nann@example.com,Анна\n")
    assert counters(job) == {"created": 1}
    fresh = Contact.objects.get(pk=theirs.pk)
    assert (fresh.first_name, fresh.check_due_at, fresh.lists.count()) == ("Theirs", None, 0)
    assert not ImportedContact.objects.filter(contact=theirs).exists()


def test_a_contact_is_checked_again_when_its_verdict_is_old_or_open(workspace: Workspace) -> None:
    old = timezone.now() - timedelta(days=91)
    factories.make_contact(workspace, "old@example.com", verdict="valid", verified_at=old)
    factories.make_contact(
        workspace, "open@example.com", verdict="unknown", verified_at=timezone.now()
    )
    factories.make_contact(
        workspace, "fresh@example.com", verdict="valid", verified_at=timezone.now()
    )
    job = imported(workspace, csv_of(f"{name}@example.com" for name in ("old", "open", "fresh")))
    due = Contact.objects.filter(check_due_at__isnull=False).values_list("email", flat=True)
    assert sorted(due) == ["old@example.com", "open@example.com"]
    assert Verification.objects.get(of_import=job).total == 2


def test_long_and_dirty_values(workspace: Workspace) -> None:
    job = imported(
        workspace,
        f'email,имя\nann@example.com,"{"я" * 3000}"\nbob@example.com,"a\x07b\n c\u202e"\n',
    )
    assert counters(job) == {"created": 2}
    names = Contact.objects.order_by("email").values_list("first_name", flat=True)
    assert list(names) == ["я" * 500, "a b c"]


# Kinds of files


def test_a_workbook_end_to_end(workspace: Workspace, small_chunks: None) -> None:
    rows: list[tuple[Any, ...]] = [("E-mail", "Имя", "Карта")]
    rows += [(f"person{n}@example.com", f"Имя {n}", n) for n in range(8)]
    rows += [("Person3@Example.com", "снова", 3), ("nobody", "", 0), (None, None, None)]
    job = imported(workspace, workbook(rows))
    assert job.source["kind"] == "xlsx"
    assert counters(job) == {"created": 8, "duplicate": 1, "rejected": 1}
    assert rejections(job) == [(11, "bad_address:no_at", "nobody")]
    seven = Contact.objects.get(email="person7@example.com")
    assert (seven.first_name, seven.fields) == ("Имя 7", {"karta": "7"})


def test_windows_1251(workspace: Workspace) -> None:
    text = "Почта;Имя;Город\r\nann@example.com;Анна;Уфа\r\nbob@пример.рф;Борис;Омск\r\n"
    job = imported(workspace, text.encode("cp1251"))
    assert counters(job) == {"created": 2}
    assert emails(workspace) == ["ann@example.com", "bob@xn--e1afmkfd.xn--p1ai"]
    ann = Contact.objects.get(email="ann@example.com")
    assert (ann.first_name, ann.fields) == ("Анна", {"gorod": "Уфа"})


def test_a_file_gone_from_the_disk(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    Path(job.file.path).unlink()
    run(job)
    assert (job.state, job.error_code) == (Import.State.FAILED, "file_missing")
    text = selectors.file_fault_text(job.error_code, job.error_line, job.error_detail)
    assert "upload it again" in text
    assert Verification.objects.get(of_import=job).state == Verification.State.FINISHED


def test_a_workbook_that_turns_out_damaged(workspace: Workspace) -> None:
    job = queued(workspace, workbook([("email",), ("ann@example.com",)]))
    path = Path(job.file.path)
    path.write_bytes(path.read_bytes()[:-300])
    run(job)
    assert (job.state, job.error_code) == (Import.State.FAILED, "damaged_xlsx")
    assert counters(job) == {}
