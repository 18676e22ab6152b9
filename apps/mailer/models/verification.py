"""Checks of addresses and what is known of their domains."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.mailer.models.contacts import ContactList
from apps.mailer.models.imports import Import


class Verification(models.Model):
    """One run of checks over some contacts; done when all are chosen and none of them waits for
    a first answer.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="verifications")
    of_import = models.OneToOneField(Import, models.CASCADE, null=True, related_name="verification")
    # The list that it was asked for, where it belongs to no import.
    of_list = models.ForeignKey(
        ContactList, models.SET_NULL, null=True, related_name="verifications"
    )
    level = models.CharField(max_length=5, choices=Import.Level)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    # Members of the list are chosen in the order of their ids, in the background: up to this one
    # so far, None when that is done. Those are left out whose verdict is newer than `older_than`.
    chosen_up_to = models.BigIntegerField(null=True)
    older_than = models.DateTimeField(null=True)
    total = models.PositiveBigIntegerField(default=0)
    # Of a list's run: how many have a first answer.
    checked = models.PositiveBigIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)


class DomainFact(models.Model):
    """What DNS and its mail server said of a domain, shared by all workspaces until it expires."""

    pk = models.CompositePrimaryKey("domain", "sandbox")
    domain = models.CharField(max_length=254)
    # The sandbox's DNS and the Internet's do not mix.
    sandbox = models.BooleanField(default=False)
    status = models.CharField(max_length=20)
    hosts = ArrayField(models.CharField(max_length=254), default=list)
    # Who runs these hosts: a key of mailkit.providers.
    provider = models.CharField(max_length=16, default="", db_default="")
    expires_at = models.DateTimeField()
    # What its server did with a made-up address, until when that is believed.
    catch_all = models.BooleanField(null=True)
    catch_all_until = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="domain_fact_expiry")]
