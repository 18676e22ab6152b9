"""Uploaded files and what became of their rows."""

from __future__ import annotations

import builtins
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.mailer.models.contacts import Contact, ContactList


def _nothing_written() -> builtins.list[int]:
    return [0, 0]


class Import(models.Model):
    """One uploaded file. `checkpoint` rows of it are committed; a lease says who goes on.

    Several writers share the rows of a file: `written_up_to` has, for each of them, the number of
    the row up to which its rows are committed.
    """

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

    class Policy(models.TextChoices):
        OVERWRITE = "overwrite", _("Overwrite: a value in the file replaces the stored one")
        FILL = "fill", _("Fill the gaps: only what is empty is filled")
        KEEP = "keep", _("Keep: contacts that are known stay as they are")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="imports")
    list = models.ForeignKey(ContactList, models.CASCADE, null=True, related_name="imports")
    more_lists = models.ManyToManyField(ContactList, related_name="more_imports")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)

    file = models.FileField(upload_to="imports/%Y/%m/", max_length=300)
    name = models.CharField(_("file name"), max_length=255)
    source = models.JSONField(default=dict)
    mapping = models.JSONField(default=dict)
    level = models.CharField(max_length=5, choices=Level, default=Level.FULL)
    # What the contacts that are known already take from the file.
    policy = models.CharField(
        max_length=9, choices=Policy, default=Policy.OVERWRITE, db_default=Policy.OVERWRITE
    )
    tags = ArrayField(models.CharField(max_length=50), default=builtins.list, db_default=[])

    state = models.CharField(max_length=10, choices=State, default=State.UPLOADED)
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    # When a worker took it last: workspaces take turns by it.
    worked_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, blank=True, default="")
    error_line = models.PositiveBigIntegerField(null=True)
    error_detail = models.CharField(max_length=500, blank=True, default="")

    checkpoint = models.PositiveBigIntegerField(default=0)
    written_up_to = models.JSONField(default=_nothing_written)
    created = models.PositiveBigIntegerField(default=0)
    updated = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    duplicate = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)

    # Contacts of the file that get no mail, each counted once, and stay as they are.
    met_unsubscribed = models.PositiveBigIntegerField(default=0, db_default=0)
    met_bounced = models.PositiveBigIntegerField(default=0, db_default=0)
    met_complained = models.PositiveBigIntegerField(default=0, db_default=0)
    met_suppressed = models.PositiveBigIntegerField(default=0, db_default=0)
    # Cells left out because they do not fit their field: key to [how many, first line, value].
    unfit = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="import_newest"),
            models.Index(fields=["workspace", "worked_at"], name="import_turns"),
            # Those whose file is still there.
            models.Index(fields=["finished_at"], name="import_files", condition=~Q(file="")),
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
    # The database looks up both ends of every row otherwise, a quarter of the time that an
    # import takes. A row whose contact is gone is met by nobody: all reads join the contact.
    of_import = models.ForeignKey(Import, models.CASCADE, db_index=False, db_constraint=False)
    contact = models.ForeignKey(Contact, models.DO_NOTHING, db_index=False, db_constraint=False)


class RememberedMapping(models.Model):
    """How a file with these headers was imported last: what the next such file is offered."""

    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="remembered_mappings", db_index=False
    )
    headers_hash = models.CharField(max_length=64)
    mapping = models.JSONField(default=dict)
    policy = models.CharField(max_length=9, choices=Import.Policy)
    level = models.CharField(max_length=5, choices=Import.Level)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "headers_hash"], name="remembered_mapping_unique"
            ),
        ]

    def __str__(self) -> str:
        return self.headers_hash


class RejectedRow(models.Model):
    """`cells` as they stand in the file, bounded and without what no database takes."""

    of_import = models.ForeignKey(Import, models.CASCADE, related_name="rejected_rows")
    number = models.PositiveBigIntegerField()
    line = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=60)
    email = models.CharField(max_length=500, blank=True, default="")
    cells = models.JSONField(default=list, db_default=Value([], models.JSONField()))

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["of_import", "number"], name="rejected_row_unique"),
        ]
