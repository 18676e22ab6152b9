"""`manage.py create_account EMAIL --workspace NAME`."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from apps.accounts.services import open_account
from core.cli import AppCommand


class Command(AppCommand):
    help = (
        "Create a person and a workspace of theirs. The password is asked for, or ACCOUNT_PASSWORD."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--workspace", required=True, metavar="NAME")
        parser.add_argument("--operator", action="store_true", help="may use the admin as well")

    def handle(self, *args: Any, **options: Any) -> None:
        # Never as an argument: those can be seen in the list of processes.
        password = os.environ.get("ACCOUNT_PASSWORD")
        if not password and sys.stdin.isatty():
            password = getpass.getpass("Password: ")
        if not password:
            raise CommandError("Set ACCOUNT_PASSWORD, or run this in a terminal.")
        workspace = open_account(
            email=options["email"],
            password=password,
            workspace_name=options["workspace"],
            operator=options["operator"],
        )
        self.stdout.write(f"workspace {workspace.slug}")
