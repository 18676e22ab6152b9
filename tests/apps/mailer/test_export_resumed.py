"""Exports in slices, and by workers that are killed over them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import openpyxl
import pytest
from django.core.files.storage import default_storage
from django.db import connections
from django.utils import timezone

from apps.accounts.models import Workspace
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
    return bulk.start_job(
        workspace=workspace, by=None, action="export", arguments={"format": kind}
    )


def names_in(job: BulkJob) -> list[str]:
    data = job.file.open("rb").read()
    kind = Path(job.file.name).suffix
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
    text_of, left = export.text_of, [2]

    def torn(*arguments: object) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            (spool,) = Path(default_storage.path(export.FOLDER)).glob("*.part")
            with spool.open("ab") as file:
                file.write(b"\x1f\x8b half of a chunk")
            die()
        return text_of(*arguments)  # type: ignore[arg-type]

    export.text_of = torn


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "rows_of", lambda ids: seen.extend(ids) or rows_of(ids))
        bulk.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done, job.changed) == ("finished", PEOPLE, PEOPLE)
    assert len(seen) == PEOPLE - reached
    found = names_in(job)
    guard = "" if kind == "json" else "'"
    assert [one.removeprefix(guard) for one in found] == expected
    left = list(Path(default_storage.path(export.FOLDER)).iterdir())
    assert left == [Path(job.file.path)]
