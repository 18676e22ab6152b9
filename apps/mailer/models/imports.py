"""Uploaded files and what became of their rows."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.mailer.models.contacts import Contact, ContactList


class Import(models.Model):
    """One uploaded file. Rows up to `checkpoint` are committed; a lease says who goes on."""

    class State(models.TextChoices):
        UPLOADED = "uploaded", _("Waiting for column mapping")
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Importing")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    class Level(models.TextChoices):
        FULL = "full", _("Full: DNS and mailbox check")
        QUICK = "quick", _("Quick: DNS only")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="imports")
    list = models.ForeignKey(ContactList, models.CASCADE, null=True, related_name="imports")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)

    file = models.FileField(upload_to="imports/%Y/%m/", max_length=300)
    name = models.CharField(_("file name"), max_length=255)
    source = models.JSONField(default=dict)
    mapping = models.JSONField(default=dict)
    level = models.CharField(max_length=5, choices=Level, default=Level.FULL)

    state = models.CharField(max_length=10, choices=State, default=State.UPLOADED)
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, blank=True, default="")
    error_line = models.PositiveBigIntegerField(null=True)
    error_detail = models.CharField(max_length=500, blank=True, default="")

    checkpoint = models.PositiveBigIntegerField(default=0)
    created = models.PositiveBigIntegerField(default=0)
    updated = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    duplicate = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="import_newest"),
            models.Index(
                fields=["lease_until"],
                name="import_in_motion",
                condition=Q(state__in=["queued", "running"]),
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="import_rows_accounted",
                condition=Q(
                    checkpoint=F("created")
                    + F("updated")
                    + F("unchanged")
                    + F("duplicate")
                    + F("rejected")
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ImportedContact(models.Model):
    """A contact that an import has met: the second row of the same address is a duplicate."""

    pk = models.CompositePrimaryKey("of_import_id", "contact_id")
    of_import = models.ForeignKey(Import, models.CASCADE)
    contact = models.ForeignKey(Contact, models.CASCADE)


class RejectedRow(models.Model):
    of_import = models.ForeignKey(Import, models.CASCADE, related_name="rejected_rows")
    number = models.PositiveBigIntegerField()
    line = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=60)
    email = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["of_import", "number"], name="rejected_row_unique"),
        ]
