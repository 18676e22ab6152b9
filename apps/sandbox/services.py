"""Writes to the sandbox's mail."""

from __future__ import annotations

from apps.accounts.models import Workspace
from apps.sandbox.models import Message


def delete_messages(*, workspace: Workspace) -> int:
    """Empty the workspace's inbox; returns how many messages went."""
    deleted, _ = Message.objects.filter(inbox=str(workspace.pk)).delete()
    return deleted
