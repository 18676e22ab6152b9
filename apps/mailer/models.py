"""The audience: contacts, lists, suppression, imports and verification."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Verdict(models.TextChoices):
    VALID = "valid", _("Valid")
    RISKY = "risky", _("Risky")
    INVALID = "invalid", _("Invalid")
    UNKNOWN = "unknown", _("Unknown")


class ContactList(models.Model):
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="lists")
    name = models.CharField(_("name"), max_length=100)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="list_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class ContactField(models.Model):
    """A custom field of the workspace's contacts; `key` is its merge field."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="contact_fields")
    key = models.CharField(max_length=40)
    label = models.CharField(max_length=100)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="contact_field_unique"),
        ]

    def __str__(self) -> str:
        return self.label


class Contact(models.Model):
    """One address of a workspace. `check_due_at` is set while a check of it is due or running."""

    class Status(models.TextChoices):
        SUBSCRIBED = "subscribed", _("Subscribed")
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Bounced")
        COMPLAINED = "complained", _("Complained")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="contacts")
    email = models.CharField(_("email"), max_length=254)
    domain = models.GeneratedField(
        expression=Func(F("email"), Value("@"), Value(-1), function="split_part"),
        output_field=models.CharField(max_length=254),
        db_persist=True,
    )
    first_name = models.CharField(_("first name"), max_length=500, blank=True, default="")
    last_name = models.CharField(_("last name"), max_length=500, blank=True, default="")
    fields = models.JSONField(default=dict)
    status = models.CharField(max_length=12, choices=Status, default=Status.SUBSCRIBED)
    lists = models.ManyToManyField(ContactList, through="ListMember", related_name="contacts")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    verdict = models.CharField(max_length=8, choices=Verdict, blank=True, default="")
    reason = models.CharField(max_length=40, blank=True, default="")
    evidence = models.JSONField(default=dict)
    verified_at = models.DateTimeField(null=True)
    verification = models.ForeignKey("Verification", models.SET_NULL, null=True)
    check_due_at = models.DateTimeField(null=True)
    check_attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "email"], name="contact_email_unique"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["check_due_at"],
                name="contact_check_due",
                condition=Q(check_due_at__isnull=False),
            ),
            models.Index(
                fields=["verification", "domain"],
                name="contact_check_pending",
                condition=Q(check_due_at__isnull=False),
            ),
            models.Index(fields=["workspace", "-id"], name="contact_newest"),
        ]

    def __str__(self) -> str:
        return self.email


class ListMember(models.Model):
    pk = models.CompositePrimaryKey("list_id", "contact_id")
    list = models.ForeignKey(ContactList, models.CASCADE, related_name="memberships")
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=timezone.now, db_default=Func(function="now"))


class Suppression(models.Model):
    """An address that the workspace never mails, whatever its lists say."""

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Bounced")
        COMPLAINED = "complained", _("Complained")
        MANUAL = "manual", _("Added by hand")

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

    def __str__(self) -> str:
        return self.email


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


class Verification(models.Model):
    """One run of checks over some contacts; done when none of them waits for a first answer."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="verifications")
    of_import = models.OneToOneField(Import, models.CASCADE, null=True, related_name="verification")
    level = models.CharField(max_length=5, choices=Import.Level)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    total = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)


class DomainFact(models.Model):
    """What DNS said of a domain, shared by all workspaces until it expires."""

    pk = models.CompositePrimaryKey("domain", "sandbox")
    domain = models.CharField(max_length=254)
    # The sandbox's DNS and the Internet's do not mix.
    sandbox = models.BooleanField(default=False)
    status = models.CharField(max_length=20)
    hosts = ArrayField(models.CharField(max_length=254), default=list)
    # Who runs these hosts: a key of mailkit.providers.
    provider = models.CharField(max_length=16, default="", db_default="")
    expires_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="domain_fact_expiry")]
