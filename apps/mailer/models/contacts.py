"""Contacts, their fields and lists."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
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
    # What recipients read on the page where they choose; a list without one is not shown there.
    public_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="list_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class ContactField(models.Model):
    """A custom field of the workspace's contacts; `key` is its merge field.

    Contacts keep every value as text: numbers with a point, dates as 2026-01-31, `yes` or `no`.
    """

    class Kind(models.TextChoices):
        TEXT = "text", _("Text")
        NUMBER = "number", _("Number")
        DATE = "date", _("Date")
        YES_NO = "yes_no", _("Yes or no")
        CHOICE = "choice", _("Choice")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="contact_fields")
    key = models.CharField(max_length=40)
    label = models.CharField(max_length=100)
    kind = models.CharField(max_length=6, choices=Kind, default=Kind.TEXT, db_default=Kind.TEXT)
    choices = ArrayField(models.CharField(max_length=100), default=list, db_default=[])

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "key"], name="contact_field_unique"),
        ]

    def __str__(self) -> str:
        return self.label


class SearchText(Func):
    """What a search looks into: address and names in lower case, as the index has them."""

    template = "lower(%(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()

    def __init__(self) -> None:
        super().__init__("email", "first_name", "last_name")


class Contact(models.Model):
    """One address of a workspace. `check_due_at` is set while a check of it is due or running.

    What most contacts begin with is the database's default too: an import leaves it out.
    """

    class Status(models.TextChoices):
        SUBSCRIBED = "subscribed", _("Subscribed")
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Bounced")
        COMPLAINED = "complained", _("Complained")

    # Each index is written for each contact of an import: those of the constraint and of
    # contact_by_age begin with the workspace.
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="contacts", db_index=False
    )
    email = models.CharField(_("email"), max_length=254)
    domain = models.GeneratedField(
        expression=Func(F("email"), Value("@"), Value(-1), function="split_part"),
        output_field=models.CharField(max_length=254),
        db_persist=True,
    )
    first_name = models.CharField(_("first name"), max_length=500, blank=True, default="")
    last_name = models.CharField(_("last name"), max_length=500, blank=True, default="")
    fields = models.JSONField(default=dict)
    tags = ArrayField(models.CharField(max_length=50), default=list, db_default=[])
    status = models.CharField(
        max_length=12, choices=Status, default=Status.SUBSCRIBED, db_default=Status.SUBSCRIBED
    )
    lists = models.ManyToManyField(ContactList, through="ListMember", related_name="contacts")
    created_at = models.DateTimeField(default=timezone.now, db_default=Func(function="now"))
    updated_at = models.DateTimeField(default=timezone.now, db_default=Func(function="now"))
    # Who asked for fewer letters gets at most one in so many days: none until then, but from the
    # campaign that took the last turn.
    every_days = models.PositiveSmallIntegerField(null=True)
    quiet_until = models.DateTimeField(null=True)
    quiet_campaign = models.BigIntegerField(null=True)

    verdict = models.CharField(max_length=8, choices=Verdict, blank=True, default="", db_default="")
    reason = models.CharField(max_length=40, blank=True, default="", db_default="")
    evidence = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    verified_at = models.DateTimeField(null=True)
    # Looked up among what is due only, which contact_check_pending does.
    verification = models.ForeignKey(
        "Verification", models.SET_NULL, null=True, db_index=False, db_constraint=False
    )
    check_due_at = models.DateTimeField(null=True)
    check_attempts = models.PositiveSmallIntegerField(default=0, db_default=0)

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
            # Ascending, though pages begin with the newest: they are read backwards, and what is
            # new is written at the right end, which costs less and packs better.
            models.Index(fields=["workspace", "id"], name="contact_by_age"),
            models.Index(fields=["workspace", "updated_at", "id"], name="contact_by_change"),
            models.Index(
                fields=["id"], name="contact_seldom", condition=Q(every_days__isnull=False)
            ),
            models.Index(fields=["workspace", "verdict", "reason"], name="contact_verdict"),
            models.Index(fields=["workspace", "domain"], name="contact_domain"),
            # Nearly all are subscribed: without them it stays small, and an import leaves it be.
            models.Index(
                fields=["workspace", "status", "-id"],
                name="contact_not_subscribed",
                condition=~Q(status="subscribed"),
            ),
            GinIndex(fields=["tags"], name="contact_tags"),
            GinIndex(OpClass(SearchText(), name="gin_trgm_ops"), name="contact_search"),
        ]

    def __str__(self) -> str:
        return self.email


class ListMember(models.Model):
    pk = models.CompositePrimaryKey("list_id", "contact_id")
    # The primary key begins with it.
    list = models.ForeignKey(
        ContactList, models.CASCADE, related_name="memberships", db_index=False
    )
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(default=timezone.now, db_default=Func(function="now"))


class ContactEdit(models.Model):
    """What a person changed on a contact's page: {what: [before, after]}."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="edits")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    changes = models.JSONField()
