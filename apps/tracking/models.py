"""What recipients, their mail programs and their mail servers did with letters."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Event(models.Model):
    """One thing that happened to a letter, never changed but for `machine`; partitioned by month.

    Its key is the moment in milliseconds and a number that tells those of the same moment apart:
    an event that comes a second time under the same key is the same event.
    """

    class Kind(models.TextChoices):
        OPEN = "open", _("Opened")
        CLICK = "click", _("Clicked")
        UNSUBSCRIBE = "unsubscribe", _("Unsubscribed")
        BOUNCE = "bounce", _("Bounced")
        COMPLAINT = "complaint", _("Complained")

    pk = models.CompositePrimaryKey("at", "number")
    at = models.DateTimeField()
    number = models.BigIntegerField()
    # No constraints: events outlive contacts, and come in by the thousand.
    workspace_id = models.BigIntegerField()
    campaign_id = models.BigIntegerField()
    contact_id = models.BigIntegerField()
    kind = models.CharField(max_length=12, choices=Kind)
    # Of a click, the number of the link; 0 otherwise.
    link = models.PositiveIntegerField(default=0, db_default=0)
    # What tells that no person did it: a code, empty for people.
    machine = models.CharField(max_length=16, default="", db_default="", blank=True)
    # Of the delivery: what reports break events down by.
    variant = models.PositiveSmallIntegerField(default=0, db_default=0)
    provider = models.CharField(max_length=16, default="other", db_default="other")
    # Where known: desktop, phone, tablet; an ISO 3166 country.
    device = models.CharField(max_length=16, default="", db_default="", blank=True)
    country = models.CharField(max_length=2, default="", db_default="", blank=True)
    agent = models.CharField(max_length=300, default="", db_default="", blank=True)
    address = models.GenericIPAddressField(null=True)
    # Of a bounce its class, of an unsubscription its reason.
    detail = models.CharField(max_length=40, default="", db_default="", blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["campaign_id", "contact_id", "at"], name="event_of_letter"),
        ]
