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
from apps.content.models import Editor
from apps.mailer.models import Contact, ContactList, Segment, Verdict


def only_valid() -> list[str]:
    return [Verdict.VALID.value]


class WinnerBy(models.TextChoices):
    OPENS = "opens", _("Most opens")
    CLICKS = "clicks", _("Most clicks")
    HAND = "hand", _("Chosen by hand")


class Campaign(models.Model):
    """A letter to the contacts of some lists and segments, without those of the excluded ones.

    Its content is frozen by the launch.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SCHEDULED = "scheduled", _("Scheduled")
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
    preheader = models.CharField(_("preheader"), max_length=200, blank=True, default="")
    # How the letter is made, and what its HTML is made from: MJML, or the HTML of a rich text.
    # Empty where the HTML is written by hand.
    editor = models.CharField(max_length=7, choices=Editor, default=Editor.HTML)
    design = models.TextField(blank=True, default="")
    html = models.TextField(_("HTML"), blank=True)
    text = models.TextField(_("plain text"), blank=True)
    # Parameters for the addresses of links, such as utm_source, by their names.
    utm = models.JSONField(default=dict, blank=True)
    view_online = models.BooleanField(_("link to view it in a browser"), default=False)
    lists = models.ManyToManyField(ContactList, related_name="campaigns", verbose_name=_("lists"))
    segments = models.ManyToManyField(Segment, related_name="campaigns", verbose_name=_("segments"))
    excluded_lists = models.ManyToManyField(
        ContactList, related_name="excluding_campaigns", verbose_name=_("lists to leave out")
    )
    excluded_segments = models.ManyToManyField(
        Segment, related_name="excluding_campaigns", verbose_name=_("segments to leave out")
    )
    include_verdicts = ArrayField(
        models.CharField(max_length=8, choices=Verdict), default=only_valid
    )
    # Reasons of verification whose contacts are left out, whatever their verdict.
    left_out_reasons = ArrayField(models.CharField(max_length=40), default=list, db_default=[])

    track_opens = models.BooleanField(_("count opens"), default=True)
    track_clicks = models.BooleanField(_("count clicks"), default=True)
    # Only to those of an earlier campaign who were sent it and have not opened it.
    not_opened = models.ForeignKey("self", models.SET_NULL, null=True, related_name="resends")

    # When to begin; in each recipient's own time zone if asked for. Hours of the day, 0 to 24,
    # outside of which nothing is handed over; None is any time.
    scheduled_at = models.DateTimeField(null=True)
    recipient_time = models.BooleanField(default=False)
    hours_from = models.PositiveSmallIntegerField(null=True)
    hours_until = models.PositiveSmallIntegerField(null=True)

    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    audience = models.PositiveBigIntegerField(default=0)
    # Up to how many percent of bounces an owner accepted beyond the limit, at the last launch.
    bounces_accepted = models.PositiveSmallIntegerField(null=True)
    bounces_accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    bounces_accepted_at = models.DateTimeField(null=True)
    pause_reason = models.CharField(max_length=300, blank=True, default="")
    # Providers left out for now, each with its reason.
    paused_providers = models.JSONField(default=dict)
    # What the counters said when a person last let it go on: [provider, status, fault, rows].
    resumed_at = models.JSONField(default=list)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    launched_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The test of its variants: how many percent of the audience get them, None without variants;
    # the rest waits for the winner. Since when no test letter is left to send, and what was chosen.
    test_share = models.PositiveSmallIntegerField(_("test share"), null=True)
    winner_by = models.CharField(max_length=6, choices=WinnerBy, default=WinnerBy.OPENS)
    winner_after = models.PositiveIntegerField(_("minutes until the winner is chosen"), default=240)
    tested_at = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True)  # when its owners were asked to choose
    winner = models.PositiveSmallIntegerField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
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
            models.Index(
                fields=["scheduled_at"],
                name="campaign_scheduled",
                condition=Q(state="scheduled"),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_draft(self) -> bool:
        return self.state == self.State.DRAFT

    @property
    def is_scheduled(self) -> bool:
        return self.state == self.State.SCHEDULED

    @property
    def has_begun(self) -> bool:
        return not (self.is_draft or self.is_scheduled)

    @property
    def in_motion(self) -> bool:
        return self.state in {self.State.PREPARING, self.State.SENDING, self.State.CANCELLING}


class CampaignLink(models.Model):
    """Where a tracked link of a campaign leads: fixed when the campaign is compiled."""

    pk = models.CompositePrimaryKey("campaign_id", "number")
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="links")
    number = models.PositiveIntegerField()
    url = models.TextField()


class Attachment(models.Model):
    """A file in all letters of a campaign, those of its variants too. Frozen by the launch.

    `key` names the file in the storage; where contents (`sha256`) are equal, campaigns of a
    workspace share one. It is removed some time after the last row that names it.
    """

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="attachments")
    key = models.CharField(max_length=22)
    sha256 = models.CharField(max_length=64)
    name = models.CharField(_("name"), max_length=150)
    content_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["campaign", "sha256"], name="attachment_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["key"], name="attachment_key"),
            models.Index(fields=["sha256"], name="attachment_equal"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return self.name


class Variant(models.Model):
    """One of two to four variants of a campaign's letter, numbered from 1 without gaps.

    What is empty is as in the campaign, and without an editor all of the letter is; the first one
    is the campaign's own letter. Frozen by the launch like the campaign. The counts are those that
    the winner was chosen by.
    """

    MOST, NAMES = 4, "ABCD"

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="variants")
    number = models.PositiveSmallIntegerField()
    subject = models.CharField(_("subject"), max_length=500, blank=True, default="")
    from_name = models.CharField(_("sender name"), max_length=150, blank=True, default="")
    from_email = models.EmailField(_("sender address"), max_length=254, blank=True, default="")
    # As those of a campaign; without an editor the letter is the campaign's.
    editor = models.CharField(max_length=7, choices=Editor, blank=True, default="")
    design = models.TextField(blank=True, default="")
    html = models.TextField(_("HTML"), blank=True, default="")
    text = models.TextField(_("plain text"), blank=True, default="")
    letters = models.PositiveBigIntegerField(default=0)
    accepted = models.PositiveBigIntegerField(default=0)
    opened = models.PositiveBigIntegerField(default=0)
    clicked = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["campaign", "number"], name="variant_number"),
            models.CheckConstraint(
                condition=Q(number__gte=1, number__lte=4), name="variant_up_to_four"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """A to D."""
        return self.NAMES[self.number - 1]


class Delivery(models.Model):
    """The ledger: one row per campaign and contact, partitioned by ranges of campaign_id.

    queued → handing_off → sent | deferred | failed | unknown, with suppressed and
    cancelled before the hand-off; waiting → queued, once the winner of a test is chosen.
    Written by services.ledger alone, by conditional updates.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waits for the winner")
        QUEUED = "queued", _("Queued")
        HANDING_OFF = "handing_off", _("Being handed over")
        SENT = "sent", _("Accepted by the server")
        DEFERRED = "deferred", _("Waiting for another attempt")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")
        SUPPRESSED = "suppressed", _("Suppressed")
        CANCELLED = "cancelled", _("Cancelled")

    IN_MOTION: ClassVar = ("waiting", "queued", "handing_off", "deferred")

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
    provider = models.CharField(max_length=16, default="other")
    status = models.CharField(max_length=11, choices=Status, default=Status.QUEUED)
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    stage = models.CharField(max_length=10, blank=True, default="")
    code = models.PositiveSmallIntegerField(null=True)
    fault = models.CharField(max_length=16, blank=True, default="")
    reply = models.TextField(blank=True, default="")
    relay_id = models.BigIntegerField(null=True)
    # Which variant of the letter, counted from 1; 0 where the campaign has only one.
    variant = models.PositiveSmallIntegerField(default=0)
    opened_at = models.DateTimeField(null=True)
    clicked_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [
            # By provider: the rows of one that is told to wait are not in the others' way.
            models.Index(
                fields=["campaign", "provider", "contact"],
                name="delivery_queued",
                condition=Q(status="queued"),
            ),
            # Of the deferred rows alone: with stale statistics the planner would look for the
            # queued ones in it too, and walk through the whole campaign.
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
                # Not by status: the planner would read all of it to find some rows by their keys.
                condition=Q(lease_until__isnull=False),
            ),
            models.Index(
                fields=["campaign", "contact"],
                name="delivery_undecided",
                condition=Q(status="waiting"),
            ),
            # What a variant's figures are counted from; campaigns without variants have no rows.
            models.Index(
                fields=["campaign", "variant"],
                include=["status", "opened_at", "clicked_at"],
                name="delivery_variant",
                condition=Q(variant__gt=0),
            ),
            # What segments ask for: who opened or clicked in these campaigns since then. Rows come
            # in by an open or a click alone, never by sending.
            models.Index(
                fields=["campaign", "opened_at", "contact"],
                name="delivery_opened",
                condition=Q(opened_at__isnull=False),
            ),
            models.Index(
                fields=["campaign", "clicked_at", "contact"],
                name="delivery_clicked",
                condition=Q(clicked_at__isnull=False),
            ),
            # Few among the final rows, and those that people look for.
            models.Index(
                fields=["campaign", "status", "contact"],
                name="delivery_troubled",
                condition=Q(status__in=["failed", "unknown"]),
            ),
            models.Index(
                fields=["campaign", "status", "contact"],
                name="delivery_left_out",
                condition=Q(status__in=["suppressed", "cancelled"]),
            ),
        ]


class Tally(models.Model):
    """How many rows of the ledger there are, by what became of them: the sum of `number`.

    Written by a trigger in each transaction that changes the ledger, so that it cannot drift;
    added up now and then (services.tally). Rows that are being handed over count as queued here:
    they are few, and an index finds them.
    """

    campaign = models.ForeignKey(
        Campaign, models.DO_NOTHING, db_constraint=False, related_name="tallies"
    )
    provider = models.CharField(max_length=16)
    status = models.CharField(max_length=11)
    fault = models.CharField(max_length=16)
    number = models.BigIntegerField()


class Engagement(models.Model):
    """When a contact opened letters and clicked in them, newest first, the last 20 of each.

    A trigger of the ledger writes it. At least k opens since a moment is then one comparison,
    `opened[k] >= moment`, where a count of the ledger's rows would group millions of them. The
    database deletes a row with its contact.
    """

    KEPT = 20

    contact = models.OneToOneField(
        Contact, models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="+"
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    opened = ArrayField(models.DateTimeField(), default=list, db_default=[])
    clicked = ArrayField(models.DateTimeField(), default=list, db_default=[])


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
    variant = models.PositiveSmallIntegerField(default=0, db_default=0)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    code = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    @property
    def variant_name(self) -> str:
        """A to D; empty for the campaign's own letter."""
        return Variant(number=self.variant).name if self.variant else ""
