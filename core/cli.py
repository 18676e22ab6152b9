"""What the commands for scripts and cron share: the workspace, waiting, and JSON output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from core.errors import AppError

POLL_SECONDS = 0.2
STANDSTILL_SECONDS = 15 * 60


class AppCommand(BaseCommand):
    """A command whose expected troubles are a sentence and exit code 1, with no traceback."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except AppError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            sys.exit(130)


class WorkspaceCommand(AppCommand):
    """Adds --workspace, --wait and --json; `self.workspace` is set before `run`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--workspace", metavar="SLUG", help="needed where there is more than one workspace"
        )
        parser.add_argument("--wait", action="store_true", help="wait, with a progress bar")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        self.workspace = find_workspace(options["workspace"])
        result = self.run(**options)
        self.show(result, as_json=options["json"])
        if "error" in result:
            raise CommandError(result["error"])

    def run(self, **options: Any) -> Mapping[str, Any]:
        """Do the work; what it returns is printed, and an `error` in it fails the command."""
        raise NotImplementedError

    def show(self, result: Mapping[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(result, ensure_ascii=False, default=str))
            return
        for name, value in result.items():
            if isinstance(value, Mapping):
                value = ", ".join(f"{key} {number}" for key, number in value.items())
            self.stdout.write(f"{name.replace('_', ' ')}: {value}")


def find_workspace(slug: str | None) -> Any:
    from apps.accounts.models import Workspace

    found = Workspace.objects.filter(slug=slug) if slug else Workspace.objects.all()[:2]
    if len(found) == 1:
        return found[0]
    known = ", ".join(Workspace.objects.order_by("slug").values_list("slug", flat=True)[:20])
    raise CommandError(f"Say which workspace with --workspace SLUG; there are: {known or 'none'}.")


def follow(label: str, read: Callable[[], tuple[int, int, bool]]) -> None:
    """Show a progress bar on standard error until `read` says that it is over.

    `read` gives (done, total, over). Raises CommandError when nothing has moved for 15 minutes.
    """
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        last, moved_at = (-1, -1), time.monotonic()
        while True:
            done, total, over = read()
            progress.update(task, completed=done, total=max(total, done) if total else None)
            if over:
                progress.update(task, completed=done, total=max(done, 1))
                return
            if (done, total) != last:
                last, moved_at = (done, total), time.monotonic()
            if time.monotonic() - moved_at > STANDSTILL_SECONDS:
                raise CommandError(
                    f"{label}: nothing has moved for 15 minutes; are workers running?"
                )
            time.sleep(POLL_SECONDS)


def print_table(title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
