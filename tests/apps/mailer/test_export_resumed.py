"""Exports in slices, and by workers that are killed over them."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.core.files.storage import default_storage
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.mailer.models import BulkJob, Contact, ContactField, Suppression
from apps.mailer.services import bulk, contacts_erasure, export, export_files
from tests.support import factories

KINDS = pytest.mark.parametrize("kind", export_files.FORMATS)
PEOPLE = 11


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(bulk, "FOUND_AT_ONCE", 6)


@pytest.fixture
def expected(workspace: Workspace) -> list[str]:
    """The names of the workspace's contacts, each of a kind that tears a file apart."""
    names = [f'{number};"Ann,\n\'=&<b>"\r\n' for number in range(PEOPLE)]
    for name in names:
        factories.make_contact(workspace, first_name=name)
    return names


def started(workspace: Workspace, kind: str) -> BulkJob:
    return bulk.start_job(workspace=workspace, by=None, action="export", arguments={"format": kind})


def names_in(job: BulkJob) -> list[str]:
    data = job.file.open("rb").read()
    kind = Path(job.file.path).suffix
    if kind == ".json":
        return [one["first_name"] for one in json.loads(data)]
    if kind == ".csv":
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        return [row["First name"] for row in csv.DictReader(text)]
    (sheet,) = openpyxl.load_workbook(io.BytesIO(data)).worksheets
    head, *rows = sheet.iter_rows(values_only=True)
    return [str(row[head.index("First name")]) for row in rows]


def killed_in(job: BulkJob, die_at: Callable[[Callable[[], None]], None]) -> None:
    """Run the job in a process of its own that dies where `die_at` has put its death."""
    connections.close_all()
    child = os.fork()
    if not child:
        try:
            die_at(lambda: os.kill(os.getpid(), signal.SIGKILL))
            bulk.run_job(job.pk)
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    BulkJob.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def before_the_chunk_is_noted(die: Callable[[], None]) -> None:
    advance, left = bulk.advance, [3]

    def advance_or_die(job: BulkJob, **figures: int) -> None:
        if not left[0]:
            die()
        left[0] -= 1
        advance(job, **figures)

    bulk.advance = advance_or_die


def over_half_a_chunk(die: Callable[[], None]) -> None:
    text_of, left = export_files.text_of, [2]

    def torn(*arguments: Any) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            (spool,) = Path(default_storage.path(export.FOLDER)).glob("*.part")
            with spool.open("ab") as file:
                file.write(b"\x1f\x8b half of a chunk")
            die()
        return text_of(*arguments)

    export_files.text_of = torn  # type: ignore[assignment]


def while_the_file_is_made(die: Callable[[], None]) -> None:
    bulk.keep_lease = lambda job: die()


@KINDS
@pytest.mark.parametrize(
    "die_at", [before_the_chunk_is_noted, over_half_a_chunk, while_the_file_is_made]
)
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_s_export_has_every_row_once(
    workspace: Workspace,
    expected: list[str],
    kind: str,
    die_at: Callable[[Callable[[], None]], None],
) -> None:
    job = started(workspace, kind)
    killed_in(job, die_at)
    job.refresh_from_db()
    assert (job.state, job.file.name) == ("running", "")
    reached = job.done
    assert reached > 0
    seen: list[int] = []
    rows_of = export.rows_of

    def noted(ids: list[int]) -> list[dict[str, Any]]:
        seen.extend(ids)
        return rows_of(ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "rows_of", noted)
        bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done, job.changed) == ("finished", PEOPLE, PEOPLE)
    assert len(seen) == PEOPLE - reached
    found = names_in(job)
    guard = "" if kind == "json" else "'"
    assert [one.removeprefix(guard) for one in found] == expected
    left = list(Path(default_storage.path(export.FOLDER)).iterdir())
    assert left == [Path(job.file.path)]


@KINDS
@pytest.mark.django_db
def test_an_export_gives_way_after_each_slice(
    workspace: Workspace, expected: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_SECONDS", -1.0)
    job = started(workspace, kind)
    seen = []
    while job.state == "queued":
        bulk.run_job(job.pk)
        job.refresh_from_db()
        seen.append(job.done)
        # The columns stay those of the first slice.
        ContactField.objects.get_or_create(workspace=workspace, key="late", label="Late")
        Contact.objects.update(fields={"late": "x"})
    assert seen == [2, 4, 6, 8, 10, 11, 11]
    guard = "" if kind == "json" else "'"
    assert [one.removeprefix(guard) for one in names_in(job)] == expected
    assert kind == "json" or b"Late" not in job.file.open("rb").read()


@pytest.fixture
def half(workspace: Workspace, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> BulkJob:
    """An export that has written two of its rows."""
    job = started(workspace, "csv")
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "SLICE_SECONDS", -1.0)
        bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done) == ("queued", 2)
    return job


@pytest.mark.parametrize("room", [100, 300], ids=["for no chunk", "for some chunks"])
@pytest.mark.django_db(transaction=True)
def test_a_disk_without_room_ends_it_with_a_reason(
    workspace: Workspace,
    owner: User,
    client_of: Callable[[User], Client],
    expected: list[str],
    room: int,
) -> None:
    job = started(workspace, "csv")
    connections.close_all()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            bulk.run_job(job.pk)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.lease_until) == ("failed", "not_written", None)
    assert spools() == []
    page = client_of(owner).get(f"/w/{workspace.slug}/audience/jobs/{job.pk}/")
    assert "its disk may be full" in page.content.decode()
    # Once there is room it can be asked for again.
    again = started(workspace, "csv")
    bulk.run_job(again.pk)
    again.refresh_from_db()
    assert names_in(again) == expected


def spools() -> list[Path]:
    return list(Path(default_storage.path(export.FOLDER)).iterdir())


@pytest.mark.django_db
def test_where_the_rows_done_are_lost_it_begins_again(half: BulkJob, expected: list[str]) -> None:
    (spool,) = spools()
    spool.write_bytes(spool.read_bytes()[:-1])
    bulk.run_job(half.pk)
    half.refresh_from_db()
    assert (half.state, half.done, names_in(half)) == ("finished", PEOPLE, expected)


@pytest.mark.django_db
def test_one_worker_alone_writes(half: BulkJob, expected: list[str]) -> None:
    with export._spool(half):  # by one that sleeps through its lease
        bulk.run_job(half.pk)
    half.refresh_from_db()
    assert (half.state, half.done, half.token) == ("queued", 2, None)
    bulk.run_job(half.pk)
    half.refresh_from_db()
    assert names_in(half) == expected


@pytest.mark.django_db
def test_a_cancelled_export_leaves_nothing(half: BulkJob) -> None:
    bulk.cancel_job(job=half)
    assert spools() == []


@pytest.mark.django_db(transaction=True)
def test_who_is_erased_is_in_no_export(half: BulkJob, expected: list[str]) -> None:
    first = Contact.objects.order_by("pk")[0]
    Suppression.objects.create(workspace=half.workspace, email=first.email, reason="manual")
    contacts_erasure.erase(contact=first)
    half.refresh_from_db()
    assert (half.state, half.done, half.position, spools()) == ("queued", 0, 0, [])
    bulk.run_job(half.pk)
    half.refresh_from_db()
    assert names_in(half) == expected[1:]


@pytest.mark.django_db
def test_erasing_while_a_worker_writes(
    half: BulkJob, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Contact.objects.order_by("-pk")[0]
    rows_of = export.rows_of

    def erasing(ids: list[int]) -> list[dict[str, object]]:
        rows = rows_of(ids)
        if last.pk in ids:
            contacts_erasure.erase(contact=last)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(export, "rows_of", erasing)
        bulk.run_job(half.pk)
    half.refresh_from_db()
    assert (half.state, half.done, half.file.name) == ("queued", 0, "")
    bulk.run_job(half.pk)
    half.refresh_from_db()
    assert names_in(half) == expected[:-1]
