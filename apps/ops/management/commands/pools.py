"""`manage.py pools`: send a canary through every queue."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from apps.ops.pools import dead_pools
from core.celery import QUEUES
from core.cli import AppCommand


class Command(AppCommand):
    help = "Show which worker pools are alive; exit code 1 where one is not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=10, help="how long to wait")

    def handle(self, *args: Any, **options: Any) -> None:
        dead = dead_pools(options["seconds"])
        for queue in QUEUES:
            self.stdout.write(f"{queue}: {'no answer' if queue in dead else 'alive'}")
        if dead:
            sys.exit(1)
