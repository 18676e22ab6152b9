"""What is done to many contacts at once, in the background."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class BulkJob(models.Model):
    """One action on everything that a filter matches, chunk by chunk in the order of ids.

    Rows up to `checkpoint` are done; `up_to` is the newest row when the job was asked for. A
    lease says who goes on. `filter` holds the arguments of the selector of these rows,
    `arguments` those of the action. `done` counts rows looked at, `changed` those that it changed.
    """

    class Action(models.TextChoices):
        ADD_TO_LIST = "add_to_list", _("Add to a list")
        REMOVE_FROM_LIST = "remove_from_list", _("Remove from a list")
        TAG = "tag", _("Add a tag")
        UNTAG = "untag", _("Remove a tag")
        UNSUBSCRIBE = "unsubscribe", _("Unsubscribe")
        DELETE = "delete", _("Delete")
        EXPORT = "export", _("Export")
        SUPPRESS = "suppress", _("Suppress a file")
        EXPORT_SUPPRESSION = "export_suppression", _("Export the suppression list")

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="bulk_jobs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=20, choices=Action)
    filter = models.JSONField(default=dict)
    arguments = models.JSONField(default=dict)

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, blank=True, default="")

    expected = models.PositiveBigIntegerField(default=0)
    up_to = models.PositiveBigIntegerField(default=0)
    checkpoint = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    changed = models.PositiveBigIntegerField(default=0)
    # How many bytes of an export's spooled rows are those of the rows done.
    position = models.PositiveBigIntegerField(default=0, db_default=0)

    # Uploaded for the job, or made by it.
    file = models.FileField(upload_to="jobs/%Y/%m/", max_length=300, blank=True)
    name = models.CharField(max_length=255, blank=True, default="")
    expires_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="bulk_job_newest"),
            models.Index(
                fields=["lease_until"],
                name="bulk_job_in_motion",
                condition=Q(state__in=["queued", "running"]),
            ),
            models.Index(
                fields=["expires_at"],
                name="bulk_job_expiry",
                condition=Q(expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.get_action_display()

    @property
    def in_motion(self) -> bool:
        return self.state in {self.State.QUEUED, self.State.RUNNING}

    @property
    def makes_file(self) -> bool:
        return self.action in {self.Action.EXPORT, self.Action.EXPORT_SUPPRESSION}

    @property
    def has_result(self) -> bool:
        """Whether there is a file to download."""
        return bool(self.makes_file and self.file and self.state == self.State.FINISHED)
