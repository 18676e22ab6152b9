"""Import workers that are really killed, and writers in threads."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, Import, ImportedContact, ListMember, Verification
from apps.mailer.services import importing
from apps.mailer.services.importing_chunks import Share
from core.errors import Conflict
from tests.apps.mailer.helpers import counters, expire_lease, queued, run
from tests.support import factories
from tests.support.concurrency import connections, wait_until_gone

pytestmark = pytest.mark.django_db(transaction=True)

WORK = """
import sys, django
django.setup()
from apps.mailer.services import importing
from apps.mailer.services.importing_chunks import Share
importing.CHUNK_ROWS, importing.SMALL_FILE = 50, 0
print("ready", flush=True)
importing.run_import(int(sys.argv[1]))
"""


def worker(job: Import) -> subprocess.Popen[str]:
    """A process of its own that works on the import, and has begun to."""
    database = connection.settings_dict
    address = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    folder = Path(job.file.path).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(job.pk)],
        env=os.environ | {"DATABASE_URL": address, "MEDIA_ROOT": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def file_of(people: int, repeats: int) -> str:
    """A header and rows: new people, some of them twice, every hundredth without an address."""
    rows = [f"person{n}@example.com,Name {n}" for n in range(people)]
    rows += [f"PERSON{n * 7}@example.com,Again {n}" for n in range(repeats)]
    rows[::100] = [f",Nobody {n}" for n in range(len(rows[::100]))]
    return "\n".join(["email,name", *rows])


def test_a_worker_killed_at_any_moment_loses_and_doubles_nothing(workspace: Workspace) -> None:
    content = file_of(2000, 200)
    whole = run(queued(factories.make_workspace(), content))
    assert whole.state == Import.State.FINISHED
    job = queued(workspace, content)
    kills, known = 0, connections()
    while job.state != Import.State.FINISHED:
        process = worker(job)
        if kills < 3:
            time.sleep(random.uniform(0, 0.3))  # so many rows further on, whichever they are
            kills += process.poll() is None
            process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        wait_until_gone(known)  # the server may still commit what it was told to
        counters(job)  # the sum holds at any moment
        if job.state == Import.State.RUNNING:
            expire_lease(job)
    assert counters(job) == counters(whole)
    assert job.checkpoint == 2200
    contacts = Contact.objects.filter(workspace=workspace)
    assert contacts.count() == job.created
    assert ListMember.objects.filter(list=job.list).count() == job.created
    assert ImportedContact.objects.filter(of_import=job).count() == job.created
    assert Verification.objects.get(of_import=job).total == job.created
    # The first row of an address counts, whichever writer was killed when.
    assert (
        not contacts.filter(first_name__startswith="Again")
        .exclude(email__in=[f"person{n}@example.com" for n in range(0, 2200, 100)])
        .exists()
    )
    assert kills


def test_writers_in_threads_stop_when_the_import_is_cancelled(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SMALL_FILE", 0)
    monkeypatch.setattr(importing, "CHUNK_ROWS", 20)
    job = queued(workspace, file_of(400, 0))
    real = importing.Writer.write

    def write(writer: importing.Writer, share: Share, until: int) -> None:
        if until > 100:
            Import.objects.filter(pk=job.pk).update(state=Import.State.CANCELLED, token=None)
        real(writer, share, until)

    monkeypatch.setattr(importing.Writer, "write", write)
    run(job)
    assert job.state == Import.State.CANCELLED
    assert 0 < job.checkpoint <= 120
    assert Contact.objects.filter(workspace=workspace).count() == counters(job)["created"]


def test_what_a_writer_raises_ends_the_import_and_leaves_no_connection(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SMALL_FILE", 0)
    monkeypatch.setattr(importing, "CHUNK_ROWS", 20)
    job = queued(workspace, file_of(400, 0))
    real = importing.Writer._write

    def write(writer: importing.Writer, share: Share, until: int) -> int:
        if until > 100:
            raise Conflict("enough")
        return real(writer, share, until)

    monkeypatch.setattr(importing.Writer, "_write", write)
    known = connections()
    with pytest.raises(Conflict):
        importing.run_import(job.pk)
    wait_until_gone(known)
    assert sum(counters(job).values()) <= 100
