"""Where a workspace's mail leaves, in whose name, and how fast it may."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Relay(models.Model):
    """An SMTP server that accepts mail for delivery. A workspace without one uses the sandbox.

    Limits are messages; None is no limit. A failing relay is left alone until `retry_at`.
    """

    class Auth(models.TextChoices):
        AUTO = "auto", _("What the server offers")
        PLAIN = "plain", "PLAIN"
        LOGIN = "login", "LOGIN"
        CRAM_MD5 = "cram-md5", "CRAM-MD5"
        XOAUTH2 = "xoauth2", _("XOAUTH2 (the password is an access token)")

    class Security(models.TextChoices):
        TLS = "tls", _("TLS from the start (465)")
        STARTTLS = "starttls", _("STARTTLS (587)")
        NONE = "none", _("None")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="relays")
    name = models.CharField(_("name"), max_length=100, blank=True, default="")
    host = models.CharField(_("host"), max_length=253)
    port = models.PositiveIntegerField(
        _("port"), default=587, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    security = models.CharField(
        _("security"), max_length=10, choices=Security, default=Security.STARTTLS
    )
    auth = models.CharField(_("authentication"), max_length=8, choices=Auth, default=Auth.AUTO)
    username = models.CharField(_("user name"), max_length=254, blank=True)
    password_encrypted = models.BinaryField(default=b"", editable=False)
    max_connections = models.PositiveSmallIntegerField(
        _("connections a worker"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(50)],
    )
    max_messages = models.PositiveIntegerField(
        _("messages a connection"), default=1000, validators=[MinValueValidator(1)]
    )
    max_age_seconds = models.PositiveIntegerField(
        _("seconds a connection"), default=300, validators=[MinValueValidator(1)]
    )
    per_minute = models.PositiveIntegerField(_("messages a minute"), null=True, blank=True)
    per_hour = models.PositiveIntegerField(_("messages an hour"), null=True, blank=True)
    per_day = models.PositiveIntegerField(_("messages a day"), null=True, blank=True)
    weight = models.PositiveSmallIntegerField(
        _("weight"), default=1, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    enabled = models.BooleanField(_("in use"), default=True)
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    check_asked_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True, default="")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(port__gte=1, port__lte=65535), name="relay_port_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.host}:{self.port}"

    @property
    def being_checked(self) -> bool:
        return self.check_asked_at is not None and (
            self.checked_at is None or self.checked_at < self.check_asked_at
        )


class SendingDomain(models.Model):
    """A domain in whose name the workspace writes; its DKIM keys sign the letters."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="sending_domains")
    name = models.CharField(_("domain"), max_length=253)
    per_minute = models.PositiveIntegerField(_("messages a minute"), null=True, blank=True)
    per_hour = models.PositiveIntegerField(_("messages an hour"), null=True, blank=True)
    per_day = models.PositiveIntegerField(_("messages a day"), null=True, blank=True)
    # Where reports about its letters go: the domain itself or one below it; "" is INBOUND_DOMAIN.
    return_path = models.CharField(
        _("return-path domain"), max_length=253, blank=True, default="", db_default=""
    )
    # What was last seen in DNS, by record; shown with the records to publish.
    dns = models.JSONField(default=dict)
    # What mailkit.authentication found for letters from this domain.
    authentication = models.JSONField(default=dict, db_default={})
    checked_at = models.DateTimeField(null=True)
    check_asked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="sending_domain_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class DkimKey(models.Model):
    """A private key that signs, and its public part for DNS. The private one is never shown."""

    class Algorithm(models.TextChoices):
        RSA = "rsa-sha256", "RSA-2048"
        ED25519 = "ed25519-sha256", "Ed25519"

    domain = models.ForeignKey(SendingDomain, models.CASCADE, related_name="keys")
    selector = models.CharField(max_length=63)
    algorithm = models.CharField(max_length=16, choices=Algorithm)
    private_key_encrypted = models.BinaryField(editable=False)
    record = models.TextField()
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["domain", "selector"], name="dkim_selector_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.selector}._domainkey"


class WarmUp(models.Model):
    """How many messages a day a young domain may send to a provider ("" is each provider)."""

    domain = models.ForeignKey(SendingDomain, models.CASCADE, related_name="warm_ups")
    provider = models.CharField(_("provider"), max_length=16, blank=True, default="")
    start = models.PositiveIntegerField(
        _("messages on the first day"), default=200, validators=[MinValueValidator(1)]
    )
    growth_percent = models.PositiveSmallIntegerField(_("growth a day, %"), default=30)
    ceiling = models.PositiveIntegerField(
        _("until so many a day"), default=100_000, validators=[MinValueValidator(1)]
    )
    started_on = models.DateField(_("first day"))

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["domain", "provider"], name="warm_up_unique"),
        ]


class SentToday(models.Model):
    """Messages of a domain to a provider on a day (UTC): what the warm-up counts against."""

    pk = models.CompositePrimaryKey("domain_id", "provider", "day")
    domain = models.ForeignKey(SendingDomain, models.CASCADE, related_name="+")
    provider = models.CharField(max_length=16)
    day = models.DateField()
    number = models.PositiveIntegerField(default=0)


class ProviderLimit(models.Model):
    """A workspace's own limits for one mailbox provider, in place of the defaults."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="provider_limits")
    provider = models.CharField(_("provider"), max_length=16)
    connections = models.PositiveSmallIntegerField(_("connections"), null=True, blank=True)
    per_minute = models.PositiveIntegerField(_("messages a minute"), null=True, blank=True)
    per_hour = models.PositiveIntegerField(_("messages an hour"), null=True, blank=True)
    per_day = models.PositiveIntegerField(_("messages a day"), null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "provider"], name="provider_limit_unique"),
        ]


class SendingPolicy(models.Model):
    """How a workspace sends: how long it tries again, and when a campaign stops by itself.

    Percentages are of the letters that got an answer, once there are `least_sample` of them.
    """

    workspace = models.OneToOneField(Workspace, models.CASCADE, related_name="sending_policy")
    retry_for_hours = models.PositiveSmallIntegerField(
        _("hours to try again"),
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(120)],
    )
    hard_bounce_percent = models.FloatField(
        _("hard bounces, %"), default=8.0, validators=[MinValueValidator(0), MaxValueValidator(100)]
    )
    block_percent = models.FloatField(
        _("blocks, %"), default=10.0, validators=[MinValueValidator(0), MaxValueValidator(100)]
    )
    complaint_percent = models.FloatField(
        _("complaints, %"), default=0.3, validators=[MinValueValidator(0), MaxValueValidator(100)]
    )
    least_sample = models.PositiveIntegerField(
        _("letters before it counts"), default=200, validators=[MinValueValidator(1)]
    )
    forecast_percent = models.FloatField(
        _("expected bounces, %"),
        default=5.0,
        db_default=5.0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    time_zone = models.CharField(_("time zone"), max_length=50, default="UTC")
    updated_at = models.DateTimeField(default=timezone.now)
