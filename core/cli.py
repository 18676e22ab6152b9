"""What the commands for scripts and cron share: errors, progress bars and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
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
