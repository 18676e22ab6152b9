"""Reads of the sandbox's mail. Each workspace has its own inbox."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from apps.accounts.models import Workspace
from apps.sandbox.models import Message


def messages(workspace: Workspace, *, search: str = "") -> QuerySet[Message]:
    """The workspace's messages, newest first, without their bodies."""
    found = Message.objects.filter(inbox=str(workspace.pk)).defer("data").order_by("-id")
    if search:
        found = found.filter(Q(recipient__icontains=search) | Q(subject__icontains=search))
    return found


def newest_id(workspace: Workspace) -> int:
    """The id of the newest message, 0 in an empty inbox."""
    return messages(workspace).values_list("id", flat=True).first() or 0
