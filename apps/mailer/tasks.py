"""Tasks of the import queue. Messages carry ids; the rows say what is left to do."""

from __future__ import annotations

from apps.mailer.services import bulk, importing, reverify, verification
from core.celery import app


@app.task(name="apps.mailer.tasks.import_contacts_async")
def import_contacts_async(import_id: int) -> None:
    """Import some of the file whose turn it is, from its checkpoint on."""
    importing.run_next_import(import_id)


@app.task(
    name="apps.mailer.tasks.validate_contact_batch", soft_time_limit=4 * 60, time_limit=5 * 60
)
def validate_contact_batch(verification_id: int) -> None:
    """Choose and check a batch of contacts, and ask for the next batch if there is one."""
    to_choose = reverify.choose_members(verification_id)
    if verification.validate_batch(verification_id) or to_choose:
        verification.ring(verification_id)


@app.task(name="apps.mailer.tasks.run_bulk_job")
def run_bulk_job(job_id: int) -> None:
    """Go on with an action on many contacts; asks for itself where more is left."""
    bulk.run_job(job_id)
