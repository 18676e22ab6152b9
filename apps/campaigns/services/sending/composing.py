"""Letters of rows that a process holds, within the hours that their campaign keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.utils import timezone

from apps.campaigns import tokens
from apps.campaigns.hours import opens_at
from apps.campaigns.letters import CompiledCampaign, LetterFault
from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger.claims import Claimed
from apps.campaigns.services.ledger.results import Result
from apps.campaigns.services.sending.handover import Ready
from apps.campaigns.services.sending.outcomes import not_begun
from apps.senders.models import SendingPolicy

Status = Delivery.Status


def compose(
    campaign: Campaign,
    policy: SendingPolicy,
    letters: Mapping[int, CompiledCampaign],
    rows: Sequence[Claimed],
    return_domain: str,
) -> tuple[list[Ready], list[Result]]:
    """The letters that can be made now, by their variants, and what becomes of the other rows."""
    now = timezone.now()
    ready, settled = [], []
    for row in rows:
        fields = row.fields or {}
        if campaign.recipient_time:
            zone = str(fields.get("timezone") or fields.get("time_zone") or "")
            opening = closed_until(campaign, policy, zone)
            if opening:
                settled.append(not_begun(row.contact_id, opening))
                continue
        values = {**fields, "first_name": row.first_name, "last_name": row.last_name}
        try:
            message = letters[row.variant].letter(row.contact_id, row.email, values, date=now)
        except LetterFault as error:
            settled.append(Result(row.contact_id, Status.FAILED, "compose", reply=str(error)))
        else:
            sender = return_path(campaign.pk, row.contact_id, return_domain)
            ready.append(Ready(row.contact_id, row.email, message, row.attempts, sender))
    return ready, settled


def return_path(campaign_id: int, contact_id: int, domain: str) -> str:
    """The envelope sender of one letter, so that a report names it; "" without a domain."""
    if not domain:
        return ""
    return f"{tokens.local_part(tokens.RETURN_PATH, campaign_id, contact_id)}@{domain}"


def closed_until(campaign: Campaign, policy: SendingPolicy, zone: str) -> datetime | None:
    """When the hours that the campaign keeps begin in a time zone; None within them."""
    if campaign.hours_from is None or campaign.hours_until is None:
        return None
    return opens_at(
        timezone.now(),
        zone,
        campaign.hours_from,
        campaign.hours_until,
        otherwise=policy.time_zone,
    )
