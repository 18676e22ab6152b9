"""What comes back: messages and notices as they were received, and what they say of letters."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Mailbox(models.Model):
    """A mailbox elsewhere that is emptied: what was stored here is deleted there."""

    class Protocol(models.TextChoices):
        IMAP = "imap", "IMAP"
        POP3 = "pop3", "POP3"

    class Security(models.TextChoices):
        TLS = "tls", _("TLS from the start (993, 995)")
        STARTTLS = "starttls", _("STARTTLS (143, 110)")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="mailboxes")
    protocol = models.CharField(_("protocol"), max_length=4, choices=Protocol, default="imap")
    host = models.CharField(_("host"), max_length=253)
    port = models.PositiveIntegerField(
        _("port"), default=993, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    security = models.CharField(_("security"), max_length=8, choices=Security, default="tls")
    username = models.CharField(_("user name"), max_length=254)
    password_encrypted = models.BinaryField(default=b"", editable=False)
    enabled = models.BooleanField(_("in use"), default=True)
    next_poll_at = models.DateTimeField(default=timezone.now)
    polled_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True, default="")
    fetched = models.PositiveBigIntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["next_poll_at"], name="mailbox_due", condition=Q(enabled=True)),
        ]

    def __str__(self) -> str:
        return f"{self.username} ({self.host})"


class Webhook(models.Model):
    """An address at which a provider of relays tells what became of letters.

    `key` is the part of it that nobody can guess; the secret proves the sender where the provider
    signs with one.
    """

    class Provider(models.TextChoices):
        SES = "ses", "Amazon SES"
        MAILGUN = "mailgun", "Mailgun"
        SENDGRID = "sendgrid", "SendGrid"
        POSTMARK = "postmark", "Postmark"
        BREVO = "brevo", "Brevo"
        UNISENDER = "unisender", "UniSender Go"

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="webhooks")
    provider = models.CharField(max_length=9, choices=Provider)
    key = models.CharField(max_length=43, unique=True)
    secret_encrypted = models.BinaryField(default=b"", editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    received_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "provider"], name="webhook_unique"),
        ]


class InboundMessage(models.Model):
    """A message or notice as it was received. `due_at` is set until it is read and applied.

    `digest` tells a repetition; `workspace` is None where only the recipient's token tells it.
    """

    SMTP, MAILBOX, WEBHOOK = "smtp", "mailbox", "webhook"

    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="+")
    mailbox = models.ForeignKey(Mailbox, models.SET_NULL, null=True, related_name="+")
    webhook = models.ForeignKey(Webhook, models.SET_NULL, null=True, related_name="+")
    source = models.CharField(max_length=7)
    sender = models.CharField(max_length=320, blank=True, default="")
    recipient = models.CharField(max_length=320, blank=True, default="")
    digest = models.CharField(max_length=64, unique=True)
    data = models.BinaryField()
    size = models.PositiveBigIntegerField()
    received_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    kind = models.CharField(max_length=12, blank=True, default="")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["due_at"], name="inbound_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["received_at"], name="inbound_received"),
        ]


class Report(models.Model):
    """What was reported of one letter, in the server's words, and what followed from it."""

    class Kind(models.TextChoices):
        BOUNCE = "bounce", _("Bounced")
        DELAYED = "delayed", _("Delayed")
        COMPLAINT = "complaint", _("Complaint")
        AUTO_REPLY = "auto_reply", _("Automatic reply")
        CHALLENGE = "challenge", _("Asks for confirmation")
        UNSUBSCRIBE = "unsubscribe", _("Unsubscribed by mail")
        OTHER = "other", _("Other mail")

    class Effect(models.TextChoices):
        NONE = "none", _("Noted")
        FAILED = "failed", _("The letter failed")
        SUPPRESSED = "suppressed", _("The contact gets no more mail")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_index=False)
    # No constraints, like events: reports outlive contacts.
    campaign_id = models.BigIntegerField(null=True)
    contact_id = models.BigIntegerField(null=True)
    message = models.ForeignKey(InboundMessage, models.SET_NULL, null=True, related_name="reports")
    source = models.CharField(max_length=9)
    # Tells a repetition: the message and the recipient in it, or the provider's own number.
    key = models.CharField(max_length=80)
    kind = models.CharField(max_length=11, choices=Kind)
    fault = models.CharField(max_length=16, blank=True, default="")
    code = models.PositiveSmallIntegerField(null=True)
    status = models.CharField(max_length=11, blank=True, default="")
    recipient = models.CharField(max_length=320, blank=True, default="")
    text = models.TextField(blank=True, default="")
    effect = models.CharField(max_length=10, choices=Effect, default=Effect.NONE)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="report_unique"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="report_newest"),
            models.Index(fields=["workspace", "kind", "-id"], name="report_newest_of_kind"),
            models.Index(fields=["campaign_id", "contact_id"], name="report_of_letter"),
            models.Index(fields=["contact_id", "-at"], name="report_of_contact"),
        ]
