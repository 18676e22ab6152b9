"""What the sandbox's SMTP server received."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Message(models.Model):
    """One message for one recipient. `inbox` is the id of the workspace that sent it, or empty.

    Rows are written by the sandbox server itself (apps.sandbox.store), not through this model.
    """

    inbox = models.CharField(max_length=50, default="", db_default="")
    envelope_from = models.CharField(max_length=320)
    recipient = models.CharField(max_length=320)
    message_id = models.CharField(max_length=998)
    subject = models.TextField()
    data = models.BinaryField()
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sandbox_message"
        indexes: ClassVar = [
            models.Index(fields=["inbox", "-id"], name="sandbox_message_newest"),
            models.Index(fields=["message_id"], name="sandbox_message_message_id"),
        ]

    def __str__(self) -> str:
        return f"{self.recipient}: {self.subject}"
