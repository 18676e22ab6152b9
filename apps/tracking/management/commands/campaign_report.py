"""`manage.py campaign_report ID`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import WorkspaceCommand
from apps.campaigns import selectors
from apps.campaigns.management.commands.launch_campaign import find_campaign, wait_for_campaign


class Command(WorkspaceCommand):
    help = "Print what became of a campaign."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", type=int)

    def run(self, **options: Any) -> Mapping[str, Any]:
        campaign = find_campaign(self.workspace, options["id"])
        if options["wait"]:
            wait_for_campaign(campaign)
        campaign.refresh_from_db()
        return {
            "campaign": campaign.pk,
            "name": campaign.name,
            "state": campaign.state,
            "launched_at": campaign.launched_at,
            "finished_at": campaign.finished_at,
            "audience": campaign.audience,
            "deliveries": selectors.status_counts(campaign),
            "failures": [
                {"stage": stage, "code": code, "reply": reply, "deliveries": number}
                for stage, code, reply, number in selectors.failure_reasons(campaign)
            ],
        }
