"""What a task of the email queue does: a few seconds of a campaign, or one row of it."""

from __future__ import annotations

from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.services.ledger import endings, plans, queueing
from apps.campaigns.services.sending.slices import Slice


def send_batch(campaign_id: int) -> bool:
    """Send group after group for a few seconds; whether to go on with the campaign at once.

    A short slice keeps the queue fair: another campaign's task gets its turn in between. What
    cannot go on now (a limit, the hours, a relay that fails) is found by the sweeper later.
    """
    campaign = _campaign(campaign_id)
    if campaign is None:
        return False
    plans.discard_plans()
    queueing.queue_due(campaign_id)
    return Slice(campaign).run()


def send_one(campaign_id: int, contact_id: int) -> None:
    """Send one queued row, for a retry that a person asked for; should there be no way now, the
    campaign's other turns find it."""
    campaign = _campaign(campaign_id)
    if campaign is None:
        return
    row = Delivery.objects.filter(campaign=campaign_id, contact=contact_id)
    for provider in row.values_list("provider", flat=True):
        Slice(campaign).send_one(contact_id, provider)
    endings.finish(campaign_id)


def _campaign(campaign_id: int) -> Campaign | None:
    """None for a doorbell that rings after its campaign is gone."""
    found = Campaign.objects.select_related("workspace", "created_by")
    return found.filter(pk=campaign_id).first()
