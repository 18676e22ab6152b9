"""The worker's side of an import: what a file makes of the audience, and what crashes leave."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import (
    Contact,
    ContactField,
    Import,
    ImportedContact,
    ListMember,
    Suppression,
    Verification,
)
from apps.mailer.services import contacts as contact_services
from apps.mailer.services import importing, imports
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
    rejections,
    run,
    start,
    upload,
    workbook,
)
from tests.support import factories
from tests.support.concurrency import in_thread, wait_until_blocked

pytestmark = pytest.mark.django_db


class Crash(Exception):
    """The worker's process dies."""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 3)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers in threads, as for a large file."""
    monkeypatch.setattr(importing, "SMALL_FILE", 0)


def crash_at(monkeypatch: pytest.MonkeyPatch, *commits: int) -> None:
    """Die in those of the commits, counted from 1, after everything but the COMMIT."""
    real, made = importing.Writer._write, iter(range(1, 10_000))

    def write(*arguments: Any) -> Any:
        written = real(*arguments)
        if next(made) in commits:
            raise Crash
        return written

    monkeypatch.setattr(importing.Writer, "_write", write)


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
    assert sorted(news.contacts.values_list("email", flat=True)) == emails(workspace)


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
