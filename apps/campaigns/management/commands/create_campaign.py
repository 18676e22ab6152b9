"""`manage.py create_campaign --list NAME --subject … --html FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.accounts.cli import WorkspaceCommand
from apps.campaigns.services.campaigns import create_campaign
from apps.mailer.models import ContactList, Verdict
from mailkit.addresses import Fault, parse_address


class Command(WorkspaceCommand):
    help = "Create a campaign as a draft; launch_campaign sends it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--list", action="append", required=True, help="may be repeated")
        parser.add_argument("--subject", required=True)
        parser.add_argument("--html", type=Path, metavar="FILE")
        parser.add_argument("--text", type=Path, metavar="FILE")
        parser.add_argument("--from", dest="sender", default=settings.DEFAULT_FROM_EMAIL,
                            metavar="ADDRESS", help='"Shop <news@example.com>"')  # fmt: skip
        parser.add_argument("--name", default="")
        parser.add_argument("--include", nargs="+", choices=Verdict.values, default=["valid"],
                            help="verdicts of the contacts to mail")  # fmt: skip

    def run(self, **options: Any) -> Mapping[str, Any]:
        address = parse_address(options["sender"])
        if isinstance(address, Fault):
            raise CommandError(f"--from {options['sender']!r} is not an address: {address.code}.")
        campaign = create_campaign(
            workspace=self.workspace,
            by=None,
            name=options["name"],
            subject=options["subject"],
            from_name=options["sender"].partition("<")[0].strip().strip('"')
            if "<" in options["sender"]
            else "",
            from_email=address.email,
            html=read(options["html"]),
            text=read(options["text"]),
            lists=[self._list(name) for name in options["list"]],
            include_verdicts=options["include"],
        )
        return {"campaign": campaign.pk, "name": campaign.name, "state": campaign.state}

    def _list(self, name: str) -> ContactList:
        found = ContactList.objects.filter(workspace=self.workspace, name=name).first()
        if found is None:
            raise CommandError(f"There is no list named {name!r} in {self.workspace.slug}.")
        return found


def read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
