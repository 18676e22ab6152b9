"""The bounce forecast of a campaign, and what a launch beyond the workspace's limit takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, User
from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.senders.selectors import policy_of
from core.errors import Conflict, InvalidInput, NotAllowed
from mailkit.verify.forecast import BounceForecast, forecast_bounces, riskiest_beyond


@dataclass(frozen=True, slots=True)
class Gate:
    """forecast: of whom the campaign would reach. limit: percent. left_out: reasons, with their
    contacts, whose leaving out brings it below the limit; without: the forecast of the rest.
    """

    forecast: BounceForecast
    limit: float
    left_out: tuple[tuple[str, int], ...]
    without: BounceForecast

    @property
    def closed(self) -> bool:
        return self.forecast.percent > self.limit

    @property
    def leaves_out(self) -> int:
        return sum(number for _reason, number in self.left_out)

    @property
    def percent_to_accept(self) -> int:
        """Whole, so that a contact more or less until the launch is no other forecast."""
        return ceil(self.forecast.percent)


def gate_of(campaign: Campaign, counted: selectors.Reach | None = None) -> Gate:
    """What the forecast says of a campaign that has not begun, and whose leaving out helps.

    Counts whom it would reach, unless that is counted already. Raises InvalidInput where the
    rules of a segment are outdated.
    """
    counts = (counted or selectors.reach(campaign)).findings
    limit = policy_of(campaign.workspace).forecast_percent
    reasons, without = riskiest_beyond(counts, limit / 100)
    numbers: Counter[str] = Counter()
    for (_verdict, reason), number in counts.items():
        numbers[reason] += number
    left_out = tuple((reason, numbers[reason]) for reason in reasons)
    return Gate(forecast_bounces(counts), limit, left_out, without)


def acceptance(
    campaign: Campaign, *, by: User | None, accept_bounces: int | None
) -> dict[str, Any]:
    """The columns that say who launches a draft beyond the limit and when; empty ones below it.

    accept_bounces: up to how many percent the person has accepted. Raises InvalidInput where more
    are expected than that and than the limit, and NotAllowed for anybody but an owner.
    """
    gate = gate_of(campaign)
    if not gate.closed:
        return _columns(None, None)
    if accept_bounces is None or gate.forecast.percent > accept_bounces:
        raise InvalidInput(_refusal(gate))
    owners = Membership.objects.filter(
        workspace=campaign.workspace_id, role=Membership.Role.OWNER, user__is_active=True
    )
    if by is None or not owners.filter(user=by).exists():
        raise NotAllowed(_("Only an owner may launch beyond the limit of expected bounces."))
    return _columns(by, gate.percent_to_accept)


def objection(campaign: Campaign) -> str:
    """Why a scheduled campaign may not begin now: more is expected than anybody accepted.

    Raises InvalidInput where the rules of a segment are outdated.
    """
    gate = gate_of(campaign)
    accepted = campaign.bounces_accepted
    if not gate.closed or (accepted is not None and gate.forecast.percent <= accepted):
        return ""
    return _refusal(gate)


def leave_out(*, campaign: Campaign) -> int:
    """Leave out the reasons that bring a draft beyond the limit; how many contacts that are.

    Raises Conflict.
    """
    gate = gate_of(campaign)
    reasons = {*campaign.left_out_reasons, *(reason for reason, _number in gate.left_out)}
    _keep_reasons(campaign, sorted(reasons))
    return gate.leaves_out


def include_all(*, campaign: Campaign) -> None:
    """Leave nobody out of a draft for a reason any more. Raises Conflict."""
    _keep_reasons(campaign, [])


def _keep_reasons(campaign: Campaign, reasons: list[str]) -> None:
    changed = Campaign.objects.filter(
        pk=campaign.pk, state=Campaign.State.DRAFT, updated_at=campaign.updated_at
    ).update(left_out_reasons=reasons, updated_at=timezone.now())
    if not changed:
        raise Conflict(_("This campaign was launched or changed already: look at it again."))


def _columns(by: User | None, percent: int | None) -> dict[str, Any]:
    return {
        "bounces_accepted": percent,
        "bounces_accepted_by": by,
        "bounces_accepted_at": timezone.now() if by else None,
    }


def _refusal(gate: Gate) -> str:
    return _(
        "%(percent).1f %% of the letters are expected to bounce, and the workspace's limit is "
        "%(limit)g %%: leave out the risky part, or have an owner confirm the launch."
    ) % {"percent": gate.forecast.percent, "limit": gate.limit}
