"""Campaigns and the ledger of their deliveries."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, ContactList, Verdict


def only_valid() -> list[str]:
    return [Verdict.VALID.value]


class Campaign(models.Model):
    """A letter to the contacts of some lists. Its content is frozen by the launch."""

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        PREPARING = "preparing", _("Preparing")
        SENDING = "sending", _("Sending")
        PAUSED = "paused", _("Paused")
        CANCELLING = "cancelling", _("Cancelling")
        CANCELLED = "cancelled", _("Cancelled")
        FINISHED = "finished", _("Finished")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="campaigns")
    name = models.CharField(_("name"), max_length=150)
    subject = models.CharField(_("subject"), max_length=500, blank=True)
    from_name = models.CharField(_("sender name"), max_length=150, blank=True)
    from_email = models.EmailField(_("sender address"), max_length=254, blank=True)
    reply_to = models.EmailField(_("reply to"), max_length=254, blank=True)
    html = models.TextField(_("HTML"), blank=True)
    text = models.TextField(_("plain text"), blank=True)
    lists = models.ManyToManyField(ContactList, related_name="campaigns", verbose_name=_("lists"))
    include_verdicts = ArrayField(
        models.CharField(max_length=8, choices=Verdict), default=only_valid
    )

    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    audience = models.PositiveBigIntegerField(default=0)
    pause_reason = models.CharField(max_length=300, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    launched_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # When a row of the ledger last changed, and what the monitor saw then.
    moved_at = models.DateTimeField(null=True)
    progress = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="campaign_newest"),
            models.Index(
                fields=["state"],
                name="campaign_in_motion",
                condition=Q(state__in=["preparing", "sending", "cancelling"]),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_draft(self) -> bool:
        return self.state == self.State.DRAFT

    @property
    def in_motion(self) -> bool:
        return self.state in {self.State.PREPARING, self.State.SENDING, self.State.CANCELLING}


class Delivery(models.Model):
    """The ledger: one row per campaign and contact, partitioned by ranges of campaign_id.

    queued → claimed → handing_off → sent | deferred | failed | unknown, with suppressed and
    cancelled before the hand-off. Written by services.ledger alone, by conditional updates.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        CLAIMED = "claimed", _("Taken by a worker")
        HANDING_OFF = "handing_off", _("Being handed over")
        SENT = "sent", _("Accepted by the server")
        DEFERRED = "deferred", _("Waiting for another attempt")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")
        SUPPRESSED = "suppressed", _("Suppressed")
        CANCELLED = "cancelled", _("Cancelled")

    IN_MOTION: ClassVar = ("queued", "claimed", "handing_off", "deferred")

    pk = models.CompositePrimaryKey("campaign_id", "contact_id")
    # No constraints: erasing a contact must not touch the ledger of past campaigns, and a check
    # for each row would double the time that a launch takes. Only drafts can be deleted.
    campaign = models.ForeignKey(
        Campaign, models.DO_NOTHING, db_constraint=False, related_name="deliveries"
    )
    contact = models.ForeignKey(
        Contact, models.DO_NOTHING, db_constraint=False, related_name="deliveries"
    )
    email = models.CharField(max_length=254)
    status = models.CharField(max_length=11, choices=Status, default=Status.QUEUED)
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    stage = models.CharField(max_length=10, blank=True, default="")
    code = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True, default="")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["campaign", "contact"],
                name="delivery_queued",
                condition=Q(status="queued"),
            ),
            # Of the deferred rows alone: with stale statistics the planner would look for the
            # queued and the claimed ones in it too, and walk through the whole campaign.
            models.Index(
                fields=["campaign"],
                name="delivery_waiting",
                condition=Q(status="deferred"),
            ),
            models.Index(
                fields=["next_attempt_at"],
                name="delivery_deferred",
                condition=Q(status="deferred"),
            ),
            models.Index(
                fields=["lease_until"],
                name="delivery_leased",
                condition=Q(status__in=["claimed", "handing_off"]),
            ),
        ]


class TestSend(models.Model):
    """A campaign's letter sent to one address for a look, outside the ledger."""

    # pytest would otherwise take the class for a test.
    __test__ = False

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Accepted by the server")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="test_sends")
    to = models.EmailField(max_length=254)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    code = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
