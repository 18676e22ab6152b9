"""`manage.py launch_campaign ID`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from apps.accounts.cli import WorkspaceCommand
from apps.accounts.models import User, Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.campaigns.services import launch
from core.cli import follow


class Command(WorkspaceCommand):
    help = "Launch a draft."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", type=int)
        parser.add_argument(
            "--accept-bounces", type=int, metavar="PERCENT",
            help="launch beyond the limit of expected bounces, up to so many percent",
        )  # fmt: skip
        parser.add_argument("--by", metavar="EMAIL", help="the owner who accepts them")

    def run(self, **options: Any) -> Mapping[str, Any]:
        campaign = find_campaign(self.workspace, options["id"])
        by = find_member(self.workspace, options["by"]) if options["by"] else None
        launch.launch_campaign(campaign=campaign, by=by, accept_bounces=options["accept_bounces"])
        if options["wait"]:
            wait_for_campaign(campaign)
        campaign.refresh_from_db()
        return {
            "campaign": campaign.pk,
            "state": campaign.state,
            "audience": campaign.audience,
            "deliveries": selectors.status_counts(campaign),
        }


def find_campaign(workspace: Any, pk: int) -> Campaign:
    campaign = Campaign.objects.filter(workspace=workspace, pk=pk).first()
    if campaign is None:
        raise CommandError(f"There is no campaign {pk} in {workspace.slug}.")
    return campaign


def find_member(workspace: Workspace, email: str) -> User:
    user = User.objects.filter(memberships__workspace=workspace, email=email.lower()).first()
    if user is None:
        raise CommandError(f"Nobody in {workspace.slug} has the address {email}.")
    return user


def wait_for_campaign(campaign: Campaign) -> None:
    """A progress bar until the campaign is final (or paused)."""

    def read() -> tuple[int, int, bool]:
        campaign.refresh_from_db()
        progress = selectors.progress(campaign)
        over = not campaign.in_motion
        return progress.final, progress.total, over

    follow("Sending", read)
