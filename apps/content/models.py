"""What letters are made from: templates, saved blocks, pictures. Each belongs to a workspace."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace


class Editor(models.TextChoices):
    """How a letter is made."""

    BUILDER = "builder", _("Drag and drop")
    MJML = "mjml", _("MJML")
    HTML = "html", _("HTML")
    RICH = "rich", _("Rich text")


class Template(models.Model):
    """A letter to begin others with. `design`, `html`: as those of a campaign."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="templates")
    name = models.CharField(_("name"), max_length=150)
    editor = models.CharField(max_length=7, choices=Editor, default=Editor.BUILDER)
    design = models.TextField(blank=True, default="")
    html = models.TextField(_("HTML"), blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["workspace", "-id"], name="template_newest")]

    def __str__(self) -> str:
        return self.name


class Block(models.Model):
    """A piece of a letter that is used again and again."""

    class Kind(models.TextChoices):
        MJML = "mjml", _("MJML, for the builder and MJML letters")
        HTML = "html", _("HTML, for HTML letters")

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="blocks")
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=4, choices=Kind, default=Kind.MJML)
    source = models.TextField(_("source"))
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="block_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class Picture(models.Model):
    """A picture of the media library, in a file named by its `key`, which nobody can guess.

    The file is our own encoding of what was uploaded; `sha256` is its hash.
    """

    class Format(models.TextChoices):
        PNG = "png", "PNG"
        JPEG = "jpg", "JPEG"
        GIF = "gif", "GIF"

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="pictures")
    key = models.CharField(max_length=22, unique=True)
    sha256 = models.CharField(max_length=64)
    format = models.CharField(max_length=3, choices=Format)
    name = models.CharField(_("name"), max_length=150)
    alt = models.CharField(_("alternative text"), max_length=300, blank=True, default="")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "sha256"], name="picture_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "-id"], name="picture_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """Below the site's address, and below the folder of pictures."""
        return f"{self.key}.{self.format}"

    @property
    def url(self) -> str:
        """For letters: where a mail program finds it."""
        return f"{settings.BASE_URL}/m/{self.path}"
