"""Tasks of operations: the canary and the sweeper."""

from __future__ import annotations

from collections.abc import Callable

from apps.campaigns.services import confirmations, monitoring
from apps.mailer.services import bulk, importing, imports, verification
from apps.returns.services import mailboxes, receiving
from apps.senders.services import domains, relays
from apps.tracking.services import counting, partitions
from core.celery import app


@app.task(name="test_celery", ignore_result=False)
def test_celery() -> str:
    """The canary: an answer shows that the pool of the queue it was sent to is alive."""
    return "ok"


# In this order, letters first.
SWEEPS: tuple[Callable[[], object], ...] = (
    monitoring.sweep,
    confirmations.sweep,
    importing.ring_abandoned_imports,
    verification.ring_due_checks,
    bulk.ring_abandoned_jobs,
    bulk.remove_expired_files,
    imports.remove_old_files,
    domains.ring_due_checks,
    relays.ring_due_checks,
    partitions.ensure_next_months,
    counting.fold,
    receiving.ring_due,
    receiving.remove_old,
    mailboxes.ring_due,
)


@app.task(name="apps.ops.tasks.sweep_due_work")
def sweep_due_work() -> None:
    """Ring for every row that is due and has nobody working on it.

    One that fails (a file that cannot be deleted, say) does not keep the others from their turn.
    """
    failed = []
    for sweep in SWEEPS:
        try:
            sweep()
        except Exception as error:  # noqa: BLE001 - raised below, with its own trace
            failed.append(error)
    if failed:
        raise ExceptionGroup("sweeps failed", failed)
