"""Stopping a campaign in which too much goes wrong."""

from __future__ import annotations

from django.utils.functional import lazy

from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.campaigns.services import launch
from apps.senders import stops
from apps.senders.models import SendingPolicy

# In the language of whoever is told.
_explained = lazy(stops.explain, str)


def watch(campaign: Campaign, policy: SendingPolicy) -> None:
    """Stop it, or its letters to some providers, where too many bounce, are blocked or bring
    complaints."""
    tallied = selectors.tallied(campaign)
    # Read after the counters: who lets it go on meanwhile has seen as much.
    found = Campaign.objects.filter(pk=campaign.pk)
    resumed = found.values_list("resumed_at", flat=True).first() or []  # none: it is gone
    since = {(p, s, f): number for p, s, f, number in resumed}
    for stop in stops.verdict(tallied.by_kind, policy, since):
        launch.pause_by_itself(campaign.pk, _explained(stop.stored()), stop.provider)
