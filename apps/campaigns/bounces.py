"""The bounce forecast of a draft, and what a launch beyond the workspace's limit takes."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership
from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.senders.selectors import policy_of
from core.errors import Conflict, InvalidInput, NotAllowed
from mailkit.verify.forecast import BounceForecast, forecast_bounces

# What may be left out to come below the limit, in this order.
_RISKIEST_FIRST = ("unknown", "risky")


@dataclass(frozen=True, slots=True)
class Gate:
    """forecast: of whom the draft would reach. limit: percent. without: of whom it would reach
    with the verdicts `left_out` left out, where that helps.
    """

    forecast: BounceForecast
    limit: float
    left_out: tuple[str, ...]
    without: BounceForecast

    @property
    def closed(self) -> bool:
        return self.forecast.percent > self.limit


def gate_of(campaign: Campaign) -> Gate:
    """What the forecast says of a draft, and whose leaving out helps most."""
    counts = selectors.findings(campaign)
    limit = policy_of(campaign.workspace).forecast_percent
    everybody = without = forecast_bounces(counts)
    left_out: list[str] = []
    for verdict in _RISKIEST_FIRST:
        if without.percent <= limit:
            break
        if verdict in campaign.include_verdicts and any(key[0] == verdict for key in counts):
            left_out.append(verdict)
            rest = {key: number for key, number in counts.items() if key[0] not in left_out}
            without = forecast_bounces(rest)
    if not without.letters:
        left_out, without = [], everybody
    return Gate(everybody, limit, tuple(left_out), without)


def require_few_bounces(campaign: Campaign, *, by: Membership | None, confirmed: bool) -> None:
    """Raises InvalidInput where the forecast is beyond the limit and nobody has confirmed it,
    and NotAllowed where somebody other than an owner has.
    """
    gate = gate_of(campaign)
    if not gate.closed:
        return
    if not confirmed:
        raise InvalidInput(
            _(
                "More bounces are expected than the workspace's limit: leave out the risky part, "
                "or have an owner confirm the launch."
            )
        )
    if by is None or by.workspace_id != campaign.workspace_id or by.role != Membership.Role.OWNER:
        raise NotAllowed(_("Only an owner may launch beyond the limit of expected bounces."))


def leave_out(*, campaign: Campaign) -> None:
    """Include the verdicts no more that bring a draft beyond the limit. Raises Conflict."""
    out = gate_of(campaign).left_out
    kept = [verdict for verdict in campaign.include_verdicts if verdict not in out]
    changed = Campaign.objects.filter(
        pk=campaign.pk, state=Campaign.State.DRAFT, updated_at=campaign.updated_at
    ).update(include_verdicts=kept, updated_at=timezone.now())
    if not changed:
        raise Conflict(_("This campaign was launched or changed already: look at it again."))
