"""`manage.py wait_until_ready`: block until everything answers."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.ops.pools import dead_pools
from core.cli import AppCommand
from core.secrets import installation


class Command(AppCommand):
    help = "Wait for the web server, the sandbox and the four pools."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=60)

    def handle(self, *args: Any, **options: Any) -> None:
        deadline = time.monotonic() + options["seconds"]
        while not (web_answers() and sandbox_answers()):
            if time.monotonic() > deadline:
                raise CommandError(
                    f"The web server on port {settings.WEB_PORT} or the sandbox does not answer."
                )
            time.sleep(0.05)
        dead = dead_pools(max(1, deadline - time.monotonic()))
        if dead:
            raise CommandError(f"No worker answers on: {', '.join(dead)}.")


def web_answers() -> bool:
    """Whether our own web server answers: another one may have taken the port meanwhile."""
    try:
        url = f"http://127.0.0.1:{settings.WEB_PORT}/healthz"
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.headers["X-Installation"] == installation())
    except (urllib.error.URLError, OSError):
        return False


def sandbox_answers() -> bool:
    try:
        socket.create_connection(("127.0.0.1", settings.SANDBOX_SMTP_PORT), 2).close()
    except OSError:
        return False
    return True
