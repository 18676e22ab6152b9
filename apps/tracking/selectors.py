"""What the dashboard shows at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from apps.accounts.models import Workspace
from apps.campaigns import selectors as campaign_selectors
from apps.campaigns.models import Campaign
from apps.campaigns.selectors import CampaignProgress
from apps.mailer.models import Contact, Import, Verdict, Verification
from apps.mailer.selectors import ImportProgress, import_progress, number_of

SHOWN_CAMPAIGNS = 5
SHOWN_IMPORTS = 5


@dataclass(frozen=True, slots=True)
class Health:
    """Contacts by verdict; those without one are `unverified`. `code` filters the contacts page.

    Beyond ten thousand of a verdict they are not counted, but estimated: not `exact`.
    """

    total: int
    verdicts: list[tuple[str, str, int]]
    unverified: int
    exact: bool


def audience_health(workspace: Workspace) -> Health:
    contacts = Contact.objects.filter(workspace=workspace)
    counts = {code: number_of(contacts.filter(verdict=code)) for code in (*Verdict.values, "")}
    return Health(
        sum(number for number, _exact in counts.values()),
        [(code, str(label), counts[code][0]) for code, label in Verdict.choices],
        counts[""][0],
        all(exact for _number, exact in counts.values()),
    )


def recent_campaigns(workspace: Workspace) -> list[tuple[Campaign, CampaignProgress | None]]:
    """The newest campaigns with their progress; those that have not begun have none."""
    newest = campaign_selectors.campaigns(workspace)[:SHOWN_CAMPAIGNS]
    return [
        (campaign, campaign_selectors.progress(campaign) if campaign.has_begun else None)
        for campaign in newest
    ]


def running_imports(workspace: Workspace) -> list[tuple[Import, ImportProgress]]:
    """Imports that are being read or whose contacts are being verified, the newest first."""
    states = Import.State
    running = Import.objects.filter(
        Q(state__in=[states.QUEUED, states.RUNNING])
        | Q(verification__state=Verification.State.RUNNING),
        workspace=workspace,
    ).order_by("-id")[:SHOWN_IMPORTS]
    return [(job, import_progress(job)) for job in running]
