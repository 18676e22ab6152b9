"""`manage.py import_contacts FILE --list NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import CommandError, CommandParser

from apps.accounts.cli import WorkspaceCommand
from apps.mailer import selectors
from apps.mailer.models import Import
from apps.mailer.services import imports, lists
from core.cli import follow
from core.errors import AppError
from mailkit.imports.rows import TARGETS, field_key


class Command(WorkspaceCommand):
    help = "Import a CSV or XLSX file of contacts into a list and have the addresses verified."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path)
        parser.add_argument("--list", required=True, help="made if there is none of this name")
        parser.add_argument(
            "--map", nargs="+", default=[], metavar="FIELD=COLUMN",
            help="email=Почта first_name=Имя city=Город; without it, as the headers suggest",
        )  # fmt: skip
        parser.add_argument("--level", choices=Import.Level.values, default=Import.Level.FULL)

    def run(self, **options: Any) -> Mapping[str, Any]:
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        with path.open("rb") as file:
            job = imports.upload_file(workspace=self.workspace, by=None, file=File(file, path.name))
        try:
            self.start(job, options)
        except (AppError, CommandError):
            imports.discard_upload(job=job)
            raise
        if options["wait"]:
            wait_for_import(job)
        return outcome(job)

    def start(self, job: Import, options: Mapping[str, Any]) -> None:
        mapping = parse_mapping(options["map"], job) or selectors.suggested_mapping(job)
        headers = job.source["headers"]
        imports.start_import(
            job=job,
            contact_list=lists.get_or_create_list(workspace=self.workspace, name=options["list"]),
            mapping=mapping,
            labels={key: headers[index] for index, key in mapping.items() if key not in TARGETS},
            level=options["level"],
        )


def parse_mapping(pairs: list[str], job: Import) -> dict[int, str]:
    """`["email=Почта"]` to `{0: "email"}`. Raises CommandError."""
    headers = list(job.source["headers"])
    mapping: dict[int, str] = {}
    for pair in pairs:
        target, equals, column = pair.partition("=")
        if not equals or column not in headers:
            raise CommandError(f"--map {pair}: use FIELD=COLUMN with one of {', '.join(headers)}.")
        index = headers.index(column)
        if index in mapping:
            raise CommandError(f"--map {pair}: the column is named twice.")
        mapping[index] = target if target in TARGETS else field_key(target)
    return mapping


def wait_for_import(job: Import) -> None:
    """Progress bars until every row is committed and every contact has a first verdict."""

    def rows() -> tuple[int, int, bool]:
        job.refresh_from_db()
        over = job.state not in {Import.State.QUEUED, Import.State.RUNNING}
        return job.checkpoint, selectors.total_rows(job) or 0, over

    def checks() -> tuple[int, int, bool]:
        progress = selectors.check_progress(job)
        return progress.checked, progress.to_check, progress.finished

    follow("Importing", rows)
    follow("Verifying", checks)


def outcome(job: Import) -> dict[str, Any]:
    job.refresh_from_db()
    result: dict[str, Any] = {
        "import": job.pk,
        "state": job.state,
        "rows": job.checkpoint,
        **{
            name: getattr(job, name)
            for name in ("created", "updated", "unchanged", "duplicate", "rejected")
        },
        "verdicts": selectors.verdict_counts(job),
    }
    if job.error_code:
        result["error"] = selectors.file_fault_text(
            job.error_code, job.error_line, job.error_detail
        )
    return result
