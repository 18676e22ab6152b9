"""What crashes, lost leases and other workers leave of an import."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import redis
from django.conf import settings
from django.db import OperationalError, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import (
    Contact,
    Import,
    ImportedContact,
    ListMember,
    Verification,
)
from apps.mailer.services import importing, importing_chunks, imports
from apps.mailer.services.importing_chunks import WRITERS
from core.errors import Conflict
from tests.apps.mailer.helpers import (
    COUNTERS,
    counters,
    csv_of,
    emails,
    expire_lease,
    imported,
    queued,
    run,
    start,
    upload,
)
from tests.support import factories
from tests.support.concurrency import in_thread, wait_until_blocked

pytestmark = pytest.mark.django_db


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers in threads, as for a large file."""
    monkeypatch.setattr(importing, "SMALL_FILE", 0)


class Crash(Exception):
    """The worker's process dies."""


def crash_at(monkeypatch: pytest.MonkeyPatch, *commits: int) -> None:
    """Die in those of the commits, counted from 1, after everything but the COMMIT."""
    real, made = importing.Writer._write, iter(range(1, 10_000))

    def write(*arguments: Any) -> Any:
        written = real(*arguments)
        if next(made) in commits:
            raise Crash
        return written

    monkeypatch.setattr(importing.Writer, "_write", write)


# Crashes, leases, two workers


def expected_of(rows: list[tuple[str, str]], known: dict[str, str]) -> dict[str, int]:
    found = dict.fromkeys(COUNTERS, 0)
    seen: set[str] = set()
    for raw, name in rows:
        email = raw.strip().lower()
        if not email and not name:
            continue  # a blank line is no row
        if not email.startswith("p"):
            found["rejected"] += 1
        elif email in seen:
            found["duplicate"] += 1
        elif email in known:
            found["updated" if name not in ("", known[email]) else "unchanged"] += 1
        else:
            found["created"] += 1
        if email.startswith("p"):
            seen.add(email)
    return {name: number for name, number in found.items() if number}


PEOPLE = st.integers(0, 9).map(lambda number: f"p{number}@example.com")
CELLS = PEOPLE | PEOPLE.map(str.upper) | PEOPLE.map(" {} ".format) | st.sampled_from(["", "bad"])
ROWS = st.lists(st.tuples(CELLS, st.sampled_from(["", "Ann", "Bob", "a;b", 'a"b', "a\nb"])))


@given(
    rows=ROWS,
    known=st.dictionaries(PEOPLE, st.sampled_from(["", "Ann"])),
    chunk=st.integers(1, 6),
    crashes=st.sets(st.integers(1, 8), max_size=3),
)
@examples(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_is_counted_once_whatever_crashes(
    db: None, rows: list[tuple[str, str]], known: dict[str, str], chunk: int, crashes: set[int]
) -> None:
    workspace = factories.make_workspace()
    for email, name in known.items():
        factories.make_contact(workspace, email, first_name=name)
    text = io.StringIO()
    csv.writer(text).writerows([("email", "имя"), *rows])
    job = queued(workspace, text.getvalue(), mapping={0: "email", 1: "first_name"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "CHUNK_ROWS", chunk)
        crash_at(patch, *crashes)
        for _attempt in range(len(crashes) + 1):
            try:
                run(job)
            except Crash:
                counters(job)  # the sum holds after a crash as well
                expire_lease(job)
            else:
                break
    wanted = expected_of(rows, {email: name.strip() for email, name in known.items()})
    assert job.state == Import.State.FINISHED
    assert counters(job) == wanted
    assert len(emails(workspace)) == len(known) + wanted.get("created", 0)
    met = len(rows) and sum(wanted.get(name, 0) for name in ("created", "updated", "unchanged"))
    assert ListMember.objects.filter(list=job.list).count() == met


def assert_written_as_noted(job: Import) -> None:
    """Each writer has written its rows up to where it says that it is, and no others."""
    job.refresh_from_db()
    for number, email in enumerate(PEOPLE_IN_ORDER, 1):
        written = Contact.objects.filter(workspace=job.workspace, email=email).exists()
        assert written == (number <= job.written_up_to[crc32(email.encode()) % WRITERS])


PEOPLE_IN_ORDER = [f"p{n}@example.com" for n in range(8)]


@pytest.mark.parametrize("commit", [1, 2, 3, 4, 5, 6])
def test_a_crash_leaves_whole_shares(
    workspace: Workspace, small_chunks: None, monkeypatch: pytest.MonkeyPatch, commit: int
) -> None:
    job = queued(workspace, csv_of(PEOPLE_IN_ORDER))
    crash_at(monkeypatch, commit)
    with pytest.raises(Crash):
        run(job)
    assert_written_as_noted(job)
    written = len(emails(workspace))
    assert (job.state, sum(counters(job).values())) == (Import.State.RUNNING, written)
    assert job.list.contacts.count() == written < 8  # type: ignore[union-attr]
    assert Verification.objects.get(of_import=job).total == written
    expire_lease(job)
    run(job)
    assert (job.state, counters(job)) == (Import.State.FINISHED, {"created": 8})


def test_the_lease_keeps_a_second_worker_out(
    workspace: Workspace, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(workspace, csv_of(PEOPLE_IN_ORDER))
    crash_at(monkeypatch, 4)
    with pytest.raises(Crash):
        run(job)
    before = counters(job)
    run(job)
    assert (job.state, counters(job)) == (Import.State.RUNNING, before)
    assert importing.ring_abandoned_imports() == 0
    expire_lease(job)
    assert importing.ring_abandoned_imports() == 1
    run(job)
    assert (job.state, counters(job)) == (Import.State.FINISHED, {"created": 8})


def test_messages_that_come_late_or_twice(workspace: Workspace) -> None:
    job = imported(workspace, csv_of(["ann@example.com"]))
    before = Import.objects.filter(pk=job.pk).values().get()
    run(job)
    assert Import.objects.filter(pk=job.pk).values().get() == before
    importing.run_import(job.pk + 1_000_000)
    waiting = upload(workspace, csv_of(["bob@example.com"]))
    assert run(waiting).state == Import.State.UPLOADED


def test_a_retry_goes_on_where_the_failure_was(workspace: Workspace, small_chunks: None) -> None:
    job = queued(workspace, csv_of(f"p{n}@example.com" for n in range(7)))
    path = Path(job.file.path)
    kept = path.with_suffix(".kept")
    path.rename(kept)
    assert run(job).state == Import.State.FAILED
    kept.rename(path)
    imports.retry_import(job=job)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.finished_at) == (Import.State.QUEUED, "", None)
    run(job)
    assert (job.state, counters(job)) == (Import.State.FINISHED, {"created": 7})
    # The run of checks had finished with the failure; now it has contacts again.
    checks = Verification.objects.get(of_import=job)
    assert (checks.state, checks.total) == (Verification.State.RUNNING, 7)
    assert not selectors.check_progress(job).finished


def at_row(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """Let something happen once, while the worker is about to write the share with a row."""
    real = importing.Writer.write

    def write(writer: Any, share: Any, until: int) -> None:
        if any(row.number == number for row in share.contacts.values()):
            monkeypatch.setattr(importing.Writer, "write", real)
            action()
        real(writer, share, until)

    monkeypatch.setattr(importing.Writer, "write", write)


def test_a_cancelled_import_stops_before_the_next_rows(
    workspace: Workspace, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(workspace, csv_of(f"p{n}@example.com" for n in range(9)))
    at_row(monkeypatch, 5, lambda: imports.cancel_import(job=job))
    run(job)
    written = len(emails(workspace))
    assert 3 <= written < 6
    assert (job.state, counters(job)) == (Import.State.CANCELLED, {"created": written})
    assert Verification.objects.get(of_import=job).total == written
    imports.retry_import(job=job)
    assert run(job).state == Import.State.FINISHED
    assert counters(job) == {"created": 9}


def test_a_worker_that_was_taken_for_dead_writes_nothing_more(
    workspace: Workspace, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"p{n % 8}@example.com" for n in range(11)]
    # The fourth row is rejected: the one that was taken over writes it a second time.
    job = queued(workspace, csv_of([*people[:3], "nobody", *people[3:]]))
    wanted = (Import.State.FINISHED, {"created": 8, "duplicate": 3, "rejected": 1})

    def take_over() -> None:
        expire_lease(job)
        run(job)
        assert (job.state, counters(job)) == wanted

    at_row(monkeypatch, 5, take_over)
    before = job.finished_at
    run(job)
    assert (job.state, counters(job)) == wanted
    assert job.finished_at != before
    assert Verification.objects.get(of_import=job).total == 8


def test_a_worker_that_was_taken_for_dead_does_not_end_the_import(
    workspace: Workspace, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(workspace, csv_of(["ann@example.com"]))
    taken: list[Import] = []

    def take_over() -> None:
        Import.objects.filter(pk=job.pk).update(token="0" * 32)
        taken.append(Import.objects.get(pk=job.pk))

    at_row(monkeypatch, 1, take_over)
    run(job)
    assert (job.state, counters(job)) == (Import.State.RUNNING, {})
    assert job.lease_until == taken[0].lease_until


# Real concurrency: transactions that other connections see


@pytest.mark.django_db(transaction=True)
def test_two_workers_on_one_import(
    workspace: Workspace, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 20)
    job = queued(workspace, csv_of(f"p{n % 150}@example.com" for n in range(200)))
    workers = [in_thread(importing.run_import, job.pk) for _number in range(3)]
    for worker in workers:
        worker.result(timeout=60)
    assert counters(job) == {"created": 150, "duplicate": 50}
    assert job.state == Import.State.FINISHED
    assert Verification.objects.get(of_import=job).total == 150


@pytest.mark.django_db(transaction=True)
def test_overlapping_files_at_the_same_time(
    workspace: Workspace, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 25)
    both = factories.make_list(workspace)
    numbers = list(range(300))
    files = [numbers, numbers[::-1], numbers[150:] + numbers[:150]]
    jobs = [queued(workspace, csv_of(f"p{n}@example.com" for n in file), to=both) for file in files]
    workers = [in_thread(importing.run_import, job.pk) for job in jobs]
    for worker in workers:
        worker.result(timeout=60)
    found = [counters(job) for job in jobs]
    assert sum(one.get("created", 0) for one in found) == 300
    assert all(sum(one.values()) == 300 for one in found)
    assert both.contacts.count() == 300
    assert all(job.state == Import.State.FINISHED for job in jobs)


@pytest.mark.django_db(transaction=True)
def test_contacts_are_locked_in_one_order(workspace: Workspace) -> None:
    """Or imports of files with the same addresses in another order would deadlock."""
    for name in "abc":
        factories.make_contact(workspace, f"{name}@example.com")
    job = queued(workspace, "email,имя\nc@example.com,C\nb@example.com,B\na@example.com,A\n")

    with transaction.atomic():
        Contact.objects.select_for_update().get(email="b@example.com")
        worker = in_thread(importing.run_import, job.pk)
        wait_until_blocked()
        # The import has a, waits for b, and has not touched c.
        Contact.objects.select_for_update(nowait=True).get(email="c@example.com")
    worker.result(timeout=60)
    assert counters(job) == {"updated": 3}


@pytest.mark.django_db(transaction=True)
def test_an_address_that_comes_in_meanwhile_is_known(workspace: Workspace, threads: None) -> None:
    job = queued(workspace, "email,имя\na@example.com,A\nb@example.com,B\n")
    with transaction.atomic():
        factories.make_contact(workspace, "b@example.com", first_name="other")
        worker = in_thread(importing.run_import, job.pk)
        wait_until_blocked()
    worker.result(timeout=60)
    assert counters(job) == {"created": 1, "updated": 1}
    assert ImportedContact.objects.filter(of_import=job).count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_renewed_while_nothing_is_committed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LEASE", timedelta(seconds=0.3))
    job = queued(workspace, csv_of(["ann@example.com"]))

    def outlast_the_lease() -> None:
        job.refresh_from_db()
        first = current = job.lease_until
        while current == first:
            current = Import.objects.get(pk=job.pk).lease_until

    at_row(monkeypatch, 1, outlast_the_lease)
    assert run(job).state == Import.State.FINISHED


def test_the_doorbells_of_an_import(
    workspace: Workspace, small_chunks: None, django_capture_on_commit_callbacks: Any
) -> None:
    queue = redis.Redis.from_url(settings.REDIS_URL)
    queue.delete("import")
    with django_capture_on_commit_callbacks(execute=True):
        job = start(upload(workspace, csv_of(["ann@example.com"])))
    assert queue.llen("import") == 1
    run(job)
    assert queue.llen("import") > 1  # and for the checks


def test_only_what_was_started_and_is_over_can_be_retried(workspace: Workspace) -> None:
    job = upload(workspace, csv_of(["ann@example.com"]))
    with pytest.raises(Conflict):
        imports.retry_import(job=job)
    imports.cancel_import(job=job)
    with pytest.raises(Conflict):
        imports.cancel_import(job=job)
    with pytest.raises(Conflict):
        imports.retry_import(job=job)  # it has no list to go into
    finished = imported(workspace, csv_of(["ann@example.com"]))
    for action in (imports.retry_import, imports.cancel_import):
        with pytest.raises(Conflict):
            action(job=finished)


@pytest.mark.django_db(transaction=True)
def test_after_a_share_that_failed_its_writer_writes_no_other(
    workspace: Workspace, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next share waits in the thread already while the database hangs up on the first."""
    job = queued(workspace, csv_of(f"p{number}@example.com" for number in range(40)))
    monkeypatch.setattr(importing, "CHUNK_ROWS", 10)
    monkeypatch.setattr(importing_chunks, "BLOCK_ROWS", 10)
    real, tries = importing.Writer._write, count(1)
    hand_in, handed_in = importing.ThreadedWriter.write, count(1)
    second_waits = threading.Event()

    def hand_in_and_tell(*arguments: Any) -> None:
        hand_in(*arguments)
        if next(handed_in) == 2 * WRITERS:
            second_waits.set()

    def hung_up_on(writer: importing.Writer, *arguments: Any) -> Any:
        if writer._index == 0 and next(tries) == 1:
            assert second_waits.wait(30)
            raise OperationalError("server closed the connection unexpectedly")
        return real(writer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(importing.ThreadedWriter, "write", hand_in_and_tell)
        patch.setattr(importing.Writer, "_write", hung_up_on)
        with pytest.raises(OperationalError):
            importing.run_import(job.pk)
    job.refresh_from_db()
    assert job.written_up_to[0] == 0
    expire_lease(job)
    importing.run_import(job.pk)
    job.refresh_from_db()
    assert (job.state, job.created) == (Import.State.FINISHED, 40)
