"""Whom a campaign is for and whom it leaves out stays while it waits to begin."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from apps.campaigns.models import Campaign
from apps.mailer.models import ContactList, Segment
from core.errors import Conflict

WAITING = (Campaign.State.DRAFT, Campaign.State.SCHEDULED, Campaign.State.PREPARING)


def keep_segment(instance: Segment, origin: object, **_signal: Any) -> None:
    """Before a segment is deleted, by itself and not with its workspace. Raises Conflict."""
    if origin is instance:
        _keep(Q(segments=instance) | Q(excluded_segments=instance))


def keep_list(instance: ContactList, origin: object, **_signal: Any) -> None:
    """Before a list is deleted: a draft loses a list that it is for, but not one that it leaves
    out, since it would then go to those people. Raises Conflict."""
    if origin is instance:
        _keep(Q(excluded_lists=instance))


def _keep(used: Q) -> None:
    name = Campaign.objects.filter(used, state__in=WAITING).values_list("name", flat=True).first()
    if name is not None:
        raise Conflict(
            _("The campaign “%(name)s” uses it and has not begun: change that first.")
            % {"name": name}
        )
