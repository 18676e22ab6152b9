"""How people come to be written to, and why they leave: sign-up forms, consents, reasons."""

from __future__ import annotations

import secrets
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.mailer.models.contacts import Contact, ContactList


def new_key() -> str:
    return secrets.token_urlsafe(16)


class SignupForm(models.Model):
    """A public form by which people subscribe to lists, once they have confirmed by mail.

    `key` is its address; `fields` are first_name, last_name and keys of custom fields.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="signup_forms")
    key = models.CharField(max_length=32, unique=True, default=new_key)
    name = models.CharField(max_length=100)
    title = models.CharField(max_length=150)
    intro = models.TextField(blank=True, default="")
    consent = models.TextField()
    thanks = models.TextField(blank=True, default="")
    fields = ArrayField(models.CharField(max_length=40), default=list)
    lists = models.ManyToManyField(ContactList, related_name="signup_forms")
    from_name = models.CharField(max_length=150, blank=True, default="")
    from_email = models.EmailField(max_length=254)
    language = models.CharField(max_length=8, default="en")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Signup(models.Model):
    """Somebody who filled in a form; once confirmed, the proof of their consent.

    It keeps the form's name and wording as the person saw them, whatever becomes of the form.
    """

    class Mail(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Accepted by the server")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_index=False)
    # The index for counting begins with it.
    form = models.ForeignKey(
        SignupForm, models.SET_NULL, null=True, related_name="signups", db_index=False
    )
    form_name = models.CharField(max_length=100)
    key = models.CharField(max_length=32, unique=True, default=new_key)
    email = models.CharField(max_length=254)
    values = models.JSONField(default=dict)
    consent = models.TextField()
    address = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    # The confirmation letter, and what the server said.
    mail = models.CharField(max_length=8, choices=Mail, default=Mail.QUEUED)
    reply = models.TextField(blank=True, default="")
    updated_at = models.DateTimeField(default=timezone.now)
    confirmed_at = models.DateTimeField(null=True)
    confirmed_address = models.GenericIPAddressField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "email"], name="signup_of_person"),
            models.Index(fields=["form", "confirmed_at"], name="signup_of_form"),
            models.Index(
                fields=["created_at"],
                name="signup_unconfirmed",
                condition=Q(confirmed_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.email


class LeavingReason(models.Model):
    """Why somebody wants no more letters, where they said so; the last word for each letter."""

    class Reason(models.TextChoices):
        TOO_MANY = "too_many", _("Too many letters")
        NOT_RELEVANT = "not_relevant", _("Not interesting any more")
        NEVER_ASKED = "never_asked", _("I never asked for them")
        OTHER = "other", _("Something else")

    LONGEST_COMMENT = 500

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_index=False)
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="leaving_reasons")
    campaign_id = models.BigIntegerField()
    reason = models.CharField(max_length=12, choices=Reason)
    comment = models.CharField(max_length=LONGEST_COMMENT, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["contact", "campaign_id"], name="leaving_reason_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="leaving_reason_newest"),
            models.Index(fields=["workspace", "reason", "-id"], name="leaving_reason_by_reason"),
        ]

    def __str__(self) -> str:
        return self.get_reason_display()
