"""Imports as a person sees them: uploading a file, mapping its columns, starting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile

from apps.accounts.models import Workspace
from apps.mailer.models import ContactField, Import
from apps.mailer.services import importing, imports
from core.errors import Conflict, InvalidInput
from tests.apps.mailer.helpers import (
    counters,
    csv_of,
    imported,
    queued,
    rejections,
    start,
    upload,
    workbook,
)
from tests.support import factories

pytestmark = pytest.mark.django_db

HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank lines": (b"\n\n  \n", "empty"),
    "png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "png found"),
    "pdf": (b"%PDF-1.7\nemail,name\n", "pdf found"),
    "html": (b"<!DOCTYPE html><table><tr><td>email</td></tr></table>", "html found"),
    "json of no objects": (b"[[1, 2], [3", "breaks off|table|empty"),
    "zip": (b"PK\x05\x06" + b"\0" * 18, "archive|zip"),
    "program": (b"\x7fELF" + bytes(range(256)) * 9, "binary found"),
    "old excel": (b"\x09\x08\x10\x00" + b"\0" * 600, "before 1995"),
    "cut workbook": (workbook([("email",), ("ann@example.com",)])[:-200], "damaged"),
    "wide": (b",".join(b"c%d" % n for n in range(1500)), "1,000 columns"),
    "one long line": (b"a" * (3 << 20), "longer than 1 MB"),
}


def files_kept() -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_no_table_leaves_nothing(workspace: Workspace, case: str) -> None:
    content, words = HOSTILE[case]
    with pytest.raises(InvalidInput, match=words):
        upload(workspace, content)
    assert files_kept() == []
    assert not Import.objects.exists()


def test_a_file_over_the_limit_is_not_even_stored(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "LARGEST_FILE", 10)
    with pytest.raises(InvalidInput, match="2 GB"):
        upload(workspace, csv_of(["ann@example.com"]))
    assert files_kept() == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../x.csv", "x.csv"),
        ("/etc/passwd", "passwd"),
        ("..", ".."),
        ("Клиенты 2026.csv", "Клиенты 2026.csv"),
        ("evil\r\nname\0.csv", "evilname.csv"),
        ("undecodable\udcff.csv", "undecodable.csv"),
        ("n" * 300 + ".csv", "n" * 251 + ".csv"),
        ("\n", "file"),
    ],
)
def test_the_name_of_a_file_is_no_path(workspace: Workspace, given: str, shown: str) -> None:
    file = ContentFile(csv_of(["ann@example.com"]).encode())
    file.name = given
    job = imports.upload_file(workspace=workspace, by=None, file=file)
    assert Import.objects.get(pk=job.pk).name == shown
    (kept,) = files_kept()
    assert kept == Path(job.file.path)
    assert kept.is_relative_to(Path(settings.MEDIA_ROOT) / "imports")


def test_a_workbook_may_spell_nul(workspace: Workspace) -> None:
    job = imported(workspace, workbook([("email", "a_x0000_b"), ("ann@example.com", "x_x0000_y")]))
    assert counters(job) == {"created": 1}


def test_rows_that_are_not_text_are_rejected_one_by_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads have connections of their own, which do not see into the test's transaction.
    monkeypatch.setattr(importing, "SMALL_FILE", 1 << 30)
    lines = ["email,имя".encode(), "ann@example.com,Анна Ильинична".encode(), b"b\0b@example.com,x",
             b"cat@example.com,\xff\xfe", b"dan@example.com," + b"z" * (1 << 20),
             b'eve@example.com,"open', b"fay@example.com,x", b"gil@\xe2\x80\xae.com,x"]  # fmt: skip
    job = imported(workspace, b"\n".join(lines))
    assert counters(job) == {"created": 2, "rejected": 5}
    assert [(line, reason) for line, reason, _email in rejections(job)] == [
        (3, "nul_bytes"),
        (4, "bad_encoding"),
        (5, "line_too_long"),
        (6, "broken_quote"),
        (8, "bad_address:bad_domain"),
    ]


# Mapping


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({}, "holds the email"),
        ({1: "first_name"}, "holds the email"),
        ({0: "email", 1: "email"}, "same field"),
        ({0: "email", 1: "city", 2: "city"}, "same field"),
        ({0: "email", 3: "city"}, "no column 4"),
        ({0: "email", -1: "city"}, "no column"),
        ({0: "email", 1: "Город"}, "cannot name a field"),
        ({0: "email", 1: "1st"}, "cannot name a field"),
        ({0: "email", 1: "a-b"}, "cannot name a field"),
        ({0: "email", 1: "a\n"}, "cannot name a field"),
        ({0: "email", 1: ""}, "cannot name a field"),
        ({0: "email", 1: "k" * 41}, "cannot name a field"),
    ],
)
def test_wrong_mappings(workspace: Workspace, mapping: dict[int, str], words: str) -> None:
    job = upload(workspace, "email,имя,город\nann@example.com,Анна,Уфа\n")
    with pytest.raises(InvalidInput, match=words):
        start(job, mapping=mapping)
    job.refresh_from_db()
    assert job.state == Import.State.UPLOADED
    assert not ContactField.objects.exists()


def test_a_level_that_does_not_exist(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="how thoroughly"):
        start(upload(workspace, csv_of(["ann@example.com"])), level="deep")


def test_a_list_of_another_workspace_is_refused(workspace: Workspace) -> None:
    theirs = factories.make_list(factories.make_workspace())
    job = upload(workspace, csv_of(["ann@example.com"]))
    with pytest.raises(InvalidInput, match="does not exist"):
        start(job, theirs)
    job.refresh_from_db()
    assert (job.state, job.list) == (Import.State.UPLOADED, None)


def test_an_import_starts_once(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    with pytest.raises(Conflict):
        start(job)


def test_a_field_keeps_its_first_label(workspace: Workspace) -> None:
    elsewhere = factories.make_workspace()
    ContactField.objects.create(workspace=elsewhere, key="city", label="Theirs")
    options: dict[str, Any] = {"mapping": {0: "email", 1: "city"}}
    for label in ("Город", "Town", ""):
        queued(workspace, "email,x\nann@example.com,Уфа\n", labels={"city": label}, **options)
    assert ContactField.objects.get(workspace=workspace).label == "Город"


def test_a_label_that_is_too_long_is_cut(workspace: Workspace) -> None:
    queued(
        workspace, "email,x\nann@example.com,1\n", mapping={0: "email", 1: "x"},
        labels={"x": "я" * 300},
    )  # fmt: skip
    assert ContactField.objects.get().label == "я" * 100


def test_an_upload_is_discarded_with_its_file(workspace: Workspace) -> None:
    imports.discard_upload(job=upload(workspace, csv_of(["ann@example.com"])))
    assert files_kept() == []
    assert not Import.objects.exists()


def test_what_was_started_is_not_discarded(workspace: Workspace) -> None:
    job = imported(workspace, csv_of(["ann@example.com"]))
    with pytest.raises(Conflict):
        imports.discard_upload(job=job)
    assert len(files_kept()) == 1
