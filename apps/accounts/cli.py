"""What the commands that work in one workspace share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from apps.accounts.models import Workspace
from core.cli import AppCommand


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


def find_workspace(slug: str | None) -> Workspace:
    """The workspace of that name, or the only one. Raises CommandError."""
    found = Workspace.objects.filter(slug=slug) if slug else Workspace.objects.all()[:2]
    if len(found) == 1:
        return found[0]
    known = ", ".join(Workspace.objects.order_by("slug").values_list("slug", flat=True)[:20])
    raise CommandError(f"Say which workspace with --workspace SLUG; there are: {known or 'none'}.")
