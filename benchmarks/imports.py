"""`make bench-import`: rows a second of an import, beside a plain psycopg importer.

N rows of CSV (1,000,000), a fifth of them known, XLSX rows of a workbook (200,000), each
ROUNDS (3) times. A workbook of 0 rows leaves that part out.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import support
from benchmarks.support import BenchError, Result, Service, median

if TYPE_CHECKING:
    from apps.mailer.models import ContactList, Import

TIMES_AS_FAST = 1.6
MOST_MB = 250.0
TIMES_OPENPYXL = 5.0
KNOWN = 5  # each fifth contact

HEADERS = ("Email", "First name", "Last name", "City", "Points")
MAPPING = {0: "email", 1: "first_name", 2: "last_name", 3: "city", 4: "points"}
_NAMES = ("Anna", "Борис", "Clara", "Дмитрий", "Elena", "Фёдор", "Greta", "Иван")
_SURNAMES = ("Adler", "Петрова", "Castillo", "Орлова", "Ekberg", "Рябова", "Garcia")
_CITIES = ("Lübeck", "Казань", "Porto", "Псков", "Riga", "Bergen", "Пермь", "Cork", "Trieste")


def main() -> int:
    if sys.argv[1:2] == ["work"]:
        return _work(sys.argv[2], sys.argv[3:])
    rows, workbook_rows = support.number("N", 1_000_000), support.number("XLSX", 200_000, least=0)
    rounds = support.number("ROUNDS", 3)
    support.check_free_disk(rows * rounds * 3e-6 + 1)
    with support.running_service(only_servers=True) as service:
        line, bars = measure(service, rows, workbook_rows, rounds)
    return support.verdict(line, bars)


def measure(service: Service, rows: int, workbook_rows: int, rounds: int) -> Result:
    from core.cli import print_table

    file = service.stack.folder / "contacts.csv"
    _write_csv(file, rows)
    ours: list[float] = []
    theirs: list[float] = []
    peaks: list[float] = []
    for turn in range(rounds):
        support.say(f"round {turn + 1} of {rounds}")
        took, _peak = _timed("plain", *_plain_target(f"plain{turn}", rows), str(file))
        theirs.append(rows / took)
        took, peak = _timed("import", str(_job(f"ours{turn}", file, rows).pk))
        ours.append(rows / took)
        peaks.append(peak)
    table = [
        ("plain importer", f"{median(theirs):.0f}", ""),
        ("ours", f"{median(ours):.0f}", f"{max(peaks):.0f}"),
    ]
    reading, importing = _workbook(service, workbook_rows, rounds, table)
    print_table(f"{rows} rows", ("importer", "rows a second", "peak, MB"), table)
    times = support.ratio(median(ours), median(theirs))
    xlsx = support.ratio(importing, reading)
    return (
        f"bench-import: ours {median(ours):.0f} baseline {median(theirs):.0f} ratio {times:.2f} "
        f"peak_mb {max(peaks):.0f} xlsx_ratio {xlsx:.1f}",
        {
            f"{TIMES_AS_FAST} times as fast": times >= TIMES_AS_FAST,
            f"at most {MOST_MB:.0f} MB": max(peaks) <= MOST_MB,
            f"workbooks {TIMES_OPENPYXL:.0f} times as fast": xlsx >= TIMES_OPENPYXL,
        },
    )


def _workbook(
    service: Service, rows: int, rounds: int, table: list[tuple[str, str, str]]
) -> tuple[float, float]:
    """Rows a second that openpyxl reads and that we import."""
    if not rows:
        return 0.0, 0.0
    file = service.stack.folder / "contacts.xlsx"
    _write_workbook(file, rows)
    theirs: list[float] = []
    reading: list[float] = []
    importing: list[float] = []
    for turn in range(rounds):
        support.say(f"workbook, round {turn + 1} of {rounds}")
        theirs.append(rows / _timed("openpyxl", str(file))[0])
        reading.append(rows / _timed("read", str(file))[0])
        importing.append(rows / _timed("import", str(_job(f"book{turn}", file, rows).pk))[0])
    table += [
        (f"openpyxl, reading {rows} rows", f"{median(theirs):.0f}", ""),
        ("ours, reading them", f"{median(reading):.0f}", ""),
        ("ours, importing them", f"{median(importing):.0f}", ""),
    ]
    return median(theirs), median(importing)


# Files and what is known before.


def _people(rows: int) -> Iterator[tuple[str, str, str, str, str]]:
    for number in range(rows):
        yield (
            # In no order, as the addresses of real people.
            f"{number * 7_919_993 % 99_999_989:08d}.{number}@d{number % 997}.bench.test",
            _NAMES[number % len(_NAMES)],
            _SURNAMES[number % len(_SURNAMES)],
            _CITIES[number % len(_CITIES)],
            str(number % 10_000),
        )


def _write_csv(path: Path, rows: int) -> None:
    support.say(f"writing {rows} rows of CSV")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        writer.writerows(_people(rows))


def _write_workbook(path: Path, rows: int) -> None:
    import openpyxl

    support.say(f"writing {rows} rows of a workbook")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(HEADERS)
    for person in _people(rows):
        sheet.append((*person[:-1], int(person[-1])))
    book.save(path)


def _list_with_known(name: str, rows: int) -> ContactList:
    """A list of a workspace that knows each fifth contact, half of them with another city."""
    from django.db import connection

    from apps.accounts.models import Workspace
    from apps.mailer.models import ContactList

    workspace = Workspace.objects.create(name=name, slug=name)
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY mailer_contact (workspace_id, email, first_name, last_name, fields, status, "
            "verdict, reason, evidence, verified_at, check_attempts, created_at, updated_at) "
            "FROM STDIN"
        ) as copy:
            now = datetime.now(UTC).isoformat()
            for number, (email, first, last, city, points) in enumerate(_people(rows)):
                if number % KNOWN == 0:
                    known = {"city": "Omsk" if number % 2 else city, "points": points}
                    copy.write_row(
                        (workspace.pk, email, first, last, json.dumps(known), "subscribed",
                         "valid", "mailbox_exists", "{}", now, 0, now, now)
                    )  # fmt: skip
        cursor.execute("VACUUM ANALYZE mailer_contact")
        cursor.execute("CHECKPOINT")
    return ContactList.objects.create(workspace=workspace, name=name)


def _plain_target(name: str, rows: int) -> tuple[str, str]:
    target = _list_with_known(name, rows)
    return str(target.workspace_id), str(target.pk)


def _job(name: str, file: Path, rows: int) -> Import:
    from django.core.files import File

    from apps.mailer.models import Verification
    from apps.mailer.services import imports

    # Nobody checks the contacts of the rounds before, and no import has to make way for that.
    Verification.objects.update(state=Verification.State.FINISHED)
    target = _list_with_known(name, rows)
    with file.open("rb") as stream:
        job = imports.upload_file(workspace=target.workspace, by=None, file=File(stream, file.name))
    imports.start_import(job=job, contact_list=target, mapping=MAPPING, labels={}, level="quick")
    return job


# What is timed, each in a process of its own.


def _timed(what: str, *arguments: str) -> tuple[float, float]:
    """Seconds and the most memory in MB."""
    command = [sys.executable, "-m", "benchmarks.imports", "work", what, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchError(f"{what} failed")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def _work(what: str, arguments: list[str]) -> int:
    import django

    django.setup()
    # A worker has these loaded before its first task.
    from celery.signals import worker_before_create_process

    from apps.mailer import tasks

    assert tasks
    worker_before_create_process.send(sender=None)
    began = time.monotonic()
    works: dict[str, Callable[..., None]] = {
        "plain": _import_plainly, "import": _import,
        "openpyxl": _read_by_openpyxl, "read": _read,
    }  # fmt: skip
    works[what](*arguments)
    seconds = time.monotonic() - began
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
    return 0


def _import(import_id: str) -> None:
    from apps.mailer.models import Import
    from apps.mailer.services import importing

    importing.run_import(int(import_id))
    job = Import.objects.get(pk=import_id)
    if job.state != Import.State.FINISHED or job.rejected:
        raise BenchError(f"the import is {job.state} with {job.rejected} rejected rows")


def _import_plainly(workspace_id: str, list_id: str, path: str) -> None:
    from django.db import connection, transaction

    target = {"workspace": int(workspace_id), "list": int(list_id)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE staging (email text, first_name text, last_name text, city text, "
            "points text) ON COMMIT DROP"
        )
        with (
            Path(path).open(newline="", encoding="utf-8") as file,
            cursor.copy("COPY staging FROM STDIN") as copy,
        ):
            reader = csv.reader(file)
            next(reader)
            for row in reader:
                copy.write_row(row)
        cursor.execute(_PLAIN_UPSERT, target)
        cursor.execute(_PLAIN_MEMBERS, target)


def _read(path: str) -> None:
    """What an import does before it writes: rows checked and mapped to contacts."""
    from mailkit.imports.readers import read_blocks
    from mailkit.imports.rows import map_rows
    from mailkit.imports.sniff import sniff
    from mailkit.imports.table import FileFault

    source = sniff(Path(path), name=path)
    if isinstance(source, FileFault):
        raise BenchError(f"the workbook cannot be read: {source}")
    for block in read_blocks(Path(path), source):
        if isinstance(block, FileFault):
            raise BenchError(f"the workbook cannot be read: {block}")
        map_rows(block, MAPPING)


def _read_by_openpyxl(path: str) -> None:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True)
    for _row in book.worksheets[0].iter_rows(values_only=True):
        pass


_PLAIN_UPSERT = """
INSERT INTO mailer_contact AS known
    (workspace_id, email, first_name, last_name, fields, status, verdict, reason, evidence,
     check_attempts, created_at, updated_at)
SELECT DISTINCT ON (lower(email)) %(workspace)s, lower(email), first_name, last_name,
       jsonb_build_object('city', city, 'points', points),
       'subscribed', '', '', '{}', 0, now(), now()
FROM staging
ON CONFLICT (workspace_id, email) DO UPDATE SET
    first_name = excluded.first_name, last_name = excluded.last_name,
    fields = known.fields || excluded.fields, updated_at = now()
"""
_PLAIN_MEMBERS = """
INSERT INTO mailer_listmember (list_id, contact_id)
SELECT %(list)s, contact.id
FROM staging JOIN mailer_contact contact
  ON contact.workspace_id = %(workspace)s AND contact.email = lower(staging.email)
ON CONFLICT DO NOTHING
"""


if __name__ == "__main__":
    sys.exit(support.run(main))
