"""Tasks of the default queue. Messages carry ids; the rows say what is left to do."""

from __future__ import annotations

from apps.returns.services import mailboxes, reading
from core.celery import app


@app.task(name="apps.returns.tasks.read_inbound", soft_time_limit=60, time_limit=90)
def read_inbound(message_id: int) -> None:
    """Apply what a stored message says of a letter."""
    reading.read(message_id)


@app.task(name="apps.returns.tasks.empty_mailbox", soft_time_limit=240, time_limit=270)
def empty_mailbox(mailbox_id: int) -> None:
    """Fetch what came into a mailbox elsewhere."""
    mailboxes.empty(mailbox_id)
