"""What recipients, their mail programs and their mail servers did with letters."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.campaigns.models import Campaign


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


class Letter(models.Model):
    """How often a letter was opened and clicked in, and how often by its person: as a whole (`link`
    0, where a click is an open too), and by link.

    A trigger of the events writes it: the step between none and one is what makes a count of
    people exact, whatever is called a machine later.
    """

    pk = models.CompositePrimaryKey("campaign_id", "contact_id", "link")
    campaign_id = models.BigIntegerField()
    contact_id = models.BigIntegerField()
    link = models.IntegerField()
    opens = models.IntegerField()
    people_opens = models.IntegerField()
    clicks = models.IntegerField()
    people_clicks = models.IntegerField()
    variant = models.PositiveSmallIntegerField()
    provider = models.CharField(max_length=16)


class Count(models.Model):
    """What reports add up: events of a campaign by one property of theirs, and in campaign 0
    those of the whole workspace.

    `axis` is hour (UTC, YYYYMMDDHH), link, provider, device, country, variant, machine or detail,
    or variant_link ("variant link", letters and people alone); of a workspace hour or provider_day
    ("YYYYMMDD provider"). `kind` is one of events, or sent,
    failed and hard (no such mailbox) of the ledger. `events` includes those of `machines`;
    `letters` had any such event, `people` one by a person (by link, provider and variant).

    Triggers append to it in each transaction that changes the events or the ledger, so that it
    cannot drift; services.counting folds what was appended into one row a key.
    """

    workspace_id = models.BigIntegerField()
    campaign_id = models.BigIntegerField()
    kind = models.CharField(max_length=12)
    axis = models.CharField(max_length=12)
    key = models.CharField(max_length=40, db_collation="C")
    events = models.BigIntegerField(default=0, db_default=0)
    machines = models.BigIntegerField(default=0, db_default=0)
    people = models.BigIntegerField(default=0, db_default=0)
    letters = models.BigIntegerField(default=0, db_default=0)
    folded = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["campaign_id", "workspace_id", "axis", "key"], name="count_of_campaign"
            ),
            models.Index(fields=["id"], name="count_unfolded", condition=Q(folded=False)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["campaign_id", "axis", "key", "kind", "workspace_id"],
                name="count_folded",
                condition=Q(folded=True),
            ),
        ]


class ReportShare(models.Model):
    """A campaign's report for whoever has the link, until it expires or is taken back."""

    campaign = models.OneToOneField(Campaign, models.CASCADE, related_name="report_share")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
