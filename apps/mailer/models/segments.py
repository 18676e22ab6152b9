"""Segments: contacts by rules instead of by membership."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Segment(models.Model):
    """`rules` as segments.rules reads them. `count` is what the last look found, None before."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="segments")
    name = models.CharField(_("name"), max_length=100)
    rules = models.JSONField()
    count = models.PositiveBigIntegerField(null=True)
    counted_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="segment_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name
