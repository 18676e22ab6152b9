"""Where campaigns use pictures, for the media library (apps.content.services.pictures)."""

from __future__ import annotations

from django.db.models import Q
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Variant


def used_in(workspace: Workspace, key: str) -> list[str]:
    """The campaigns whose letters hold a picture's key, as places for people; at most 20."""
    holds = Q(html__contains=key) | Q(design__contains=key)
    variants = Variant.objects.filter(holds, campaign__workspace=workspace)
    found = Campaign.objects.filter(
        holds | Q(pk__in=variants.values("campaign")), workspace=workspace
    )
    names = found.order_by("-id").values_list("name", flat=True)[:20]
    return [_("campaign “%(name)s”") % {"name": name} for name in names]
