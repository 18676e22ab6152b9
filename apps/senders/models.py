"""SMTP relays: where a workspace's mail leaves."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Relay(models.Model):
    """An SMTP server that accepts mail for delivery. A workspace without one uses the sandbox."""

    class Security(models.TextChoices):
        TLS = "tls", _("TLS from the start (465)")
        STARTTLS = "starttls", _("STARTTLS (587)")
        NONE = "none", _("None")

    workspace = models.OneToOneField(Workspace, models.CASCADE, related_name="relay")
    host = models.CharField(_("host"), max_length=253)
    port = models.PositiveIntegerField(
        _("port"), default=587, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    security = models.CharField(
        _("security"), max_length=10, choices=Security, default=Security.STARTTLS
    )
    username = models.CharField(_("user name"), max_length=254, blank=True)
    password_encrypted = models.BinaryField(default=b"", editable=False)
    max_connections = models.PositiveSmallIntegerField(
        _("connections a worker"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(50)],
    )
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(port__gte=1, port__lte=65535), name="relay_port_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
