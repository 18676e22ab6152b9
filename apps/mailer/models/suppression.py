"""Addresses that are never mailed."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Suppression(models.Model):
    """What the workspace never mails, whatever its lists say.

    `email` is an address, "@domain" for all of a domain, or "#" and a keyed hash for somebody
    whose data were erased: a later import knows the person by it.
    """

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Bounced")
        COMPLAINED = "complained", _("Complained")
        MANUAL = "manual", _("Added by hand")
        ERASED = "erased", _("Erased")

    # The unique constraint has the index. One of the workspace alone would be read whole for
    # each address where the planner does not know yet how much is suppressed.
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="suppressions", db_index=False
    )
    email = models.CharField(_("email"), max_length=254)
    reason = models.CharField(max_length=12, choices=Reason)
    source = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "email"], name="suppression_unique"),
        ]
        indexes: ClassVar = [
            GinIndex(OpClass("email", name="gin_trgm_ops"), name="suppression_search"),
        ]

    def __str__(self) -> str:
        erased = self.reason == self.Reason.ERASED
        return gettext("somebody whose data were erased") if erased else self.email
