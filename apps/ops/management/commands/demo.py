"""`manage.py demo`: the main job without a browser, in the services that are running."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops import demo
from core.cli import AppCommand
from core.local import runtime


class Command(AppCommand):
    help = "Import a sample, verify it, send a campaign to the sandbox and compare."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--recipients", type=int, default=demo.SAMPLE_RECIPIENTS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["recipients"] < 100:
            raise CommandError("--recipients is at least 100.")
        password = runtime.load().demo_password if settings.EMBEDDED else secrets.token_urlsafe(9)
        user = demo.demo_user(password)
        outcome = demo.run(
            workspace=demo.fresh_workspace(user), by=user, recipients=options["recipients"]
        )
        self.stdout.write(outcome.line)
        self.stdout.flush()
        if not outcome.passed:
            sys.exit(1)
