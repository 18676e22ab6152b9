"""Tasks of campaigns. Messages carry ids and may be lost, repeated or late: the rows decide."""

from __future__ import annotations

from apps.campaigns.services import (
    attachments,
    confirmations,
    launch,
    monitoring,
    notices,
    outside,
    partitions,
    testing,
)
from apps.campaigns.services.sending import batches, connections
from core import queues
from core.celery import app


@app.task(name="apps.campaigns.tasks.send_campaign")
def send_campaign(campaign_id: int) -> None:
    """Take the audience into the ledger and ask for sending."""
    launch.prepare_campaign(campaign_id)


@app.task(name="apps.campaigns.tasks.send_email_batch", soft_time_limit=14 * 60, time_limit=15 * 60)
def send_email_batch(campaign_id: int) -> None:
    """Send for a few seconds, then queue up behind the others for the rest."""
    if batches.send_batch(campaign_id):
        queues.ring(send_email_batch, campaign_id)


@app.task(
    name="apps.campaigns.tasks.send_single_email", soft_time_limit=14 * 60, time_limit=15 * 60
)
def send_single_email(
    test_send_id: int | None = None,
    campaign_id: int | None = None,
    contact_id: int | None = None,
    signup_id: int | None = None,
) -> None:
    """Send one test letter, one row of the ledger that a person wants sent again, or the letter
    that asks to confirm a sign-up."""
    if test_send_id is not None:
        testing.send_test_letter(test_send_id)
    elif campaign_id is not None and contact_id is not None:
        batches.send_one(campaign_id, contact_id)
    elif signup_id is not None:
        confirmations.send_confirmation(signup_id)


@app.task(name="apps.campaigns.tasks.monitor_campaign_progress")
def monitor_campaign_progress() -> None:
    """Note what the ledger says of each campaign in motion; keep partitions ahead."""
    monitoring.note_progress()
    partitions.ensure_next_partitions()


@app.task(name="apps.campaigns.tasks.cleanup_stuck_campaigns")
def cleanup_stuck_campaigns() -> None:
    """Start again the campaigns whose rows have stopped moving."""
    monitoring.restart_stuck_campaigns()


@app.task(name="apps.campaigns.tasks.cleanup_smtp_connections")
def cleanup_smtp_connections() -> None:
    """Have every process close its idle SMTP connections."""
    connections.close_idle_everywhere()


@app.task(name="apps.campaigns.tasks.notify_owners")
def notify_owners(campaign_id: int, provider: str = "") -> None:
    """Write to a workspace's owners that a campaign stopped by itself, and why."""
    notices.tell_owners(campaign_id, provider)


@app.task(name="apps.campaigns.tasks.look_outside", soft_time_limit=120, time_limit=150)
def look_outside(campaign_id: int) -> None:
    """Ask the links, the pictures and the domain of a draft's letter."""
    outside.look(campaign_id)


@app.task(name="apps.campaigns.tasks.ask_for_winner")
def ask_for_winner(campaign_id: int) -> None:
    """Write to a workspace's owners that it is time to choose the winner of a test."""
    notices.ask_for_winner(campaign_id)


@app.task(name="apps.campaigns.tasks.remove_orphaned_attachments")
def remove_orphaned_attachments() -> None:
    """Remove the attached files whose campaigns are gone."""
    attachments.remove_orphans()
