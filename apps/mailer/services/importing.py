"""The worker's side of an import: rows in chunks, each committed together with its checkpoint."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from psycopg.errors import UniqueViolation

from apps.mailer.models import Import, Verification
from apps.mailer.services import verification
from apps.mailer.services.importing_chunks import Chunk, chunks_of
from apps.mailer.services.importing_writes import Targets, targets_of, write
from core import queues
from mailkit.imports.table import FileFault

logger = logging.getLogger(__name__)

CHUNK_ROWS = 8000
ANALYSE_FROM = 20_000
LEASE = timedelta(seconds=30)
# Then others may have their turn. Each turn reads on from the beginning of the file up to the
# checkpoint: the longer that took, the longer the turn lasts.
TURN_SECONDS = 5.0
TURN_PER_SKIPPING = 4.0


class LeaseLost(Exception):
    """The import was cancelled, or another worker took it over."""


def run_next_import(import_id: int) -> None:
    """Work on the import whose turn it is: a message says that one waits, whichever it names."""
    for candidate in _in_turn() or [import_id]:
        if run_import(candidate):
            return


def _in_turn() -> list[int]:
    """What waits: first of the workspaces that have fewest workers, then that waited longest."""
    now = timezone.now()
    moving = list(
        Import.objects.filter(state__in=[Import.State.QUEUED, Import.State.RUNNING])
        .order_by("lease_until")
        .values_list("pk", "workspace_id", "state", "lease_until")
    )
    last: dict[int, datetime | None] = dict(
        Import.objects.filter(workspace__in={workspace for _, workspace, _, _ in moving})
        .order_by()
        .values_list("workspace")
        .annotate(Max("worked_at"))
    )
    busy: dict[int, int] = {}
    waiting = []
    for pk, workspace, state, lease_until in moving:
        if state == Import.State.RUNNING and lease_until and lease_until >= now:
            busy[workspace] = busy.get(workspace, 0) + 1
        else:
            waiting.append((pk, workspace))

    def turn(one: tuple[int, int]) -> tuple[int, float]:
        worked_at = last.get(one[1])
        return busy.get(one[1], 0), worked_at.timestamp() if worked_at else 0.0

    return [pk for pk, _workspace in sorted(waiting, key=turn)]


def run_import(import_id: int) -> bool:
    """Import from the checkpoint on, unless another worker holds the lease.

    To the end, or until others wait and the turn is over; then it waits in the queue again.
    Whether it could be worked on.
    """
    token = uuid.uuid4()
    now = timezone.now()
    free = Q(state=Import.State.QUEUED) | Q(state=Import.State.RUNNING, lease_until__lt=now)
    claimed = Import.objects.filter(free, pk=import_id).update(
        state=Import.State.RUNNING,
        token=token,
        lease_until=now + LEASE,
        worked_at=now,
        started_at=Coalesce("started_at", Now()),
    )
    if not claimed:
        return False
    job = Import.objects.select_related("workspace").filter(pk=import_id, token=token).first()
    if job is None:
        return False
    checks = verification.verification_of(job)
    try:
        with _lease_kept(job):
            over, fault = _import_rows(job, checks)
    except LeaseLost:
        logger.info("import %s: cancelled or taken over", import_id)
        return True
    if over:
        _finish(job, fault)
        verification.finish_if_done(checks.pk)
    else:
        _give_way(job)
    verification.ring(checks.pk)
    return True


@contextmanager
def _lease_kept(job: Import) -> Iterator[None]:
    """Renew the lease meanwhile: parsing a workbook or skipping what is done may outlast it."""
    over = threading.Event()

    def renew() -> None:
        try:
            while not over.wait(LEASE.total_seconds() / 3):
                _held(job).update(lease_until=timezone.now() + LEASE)
        finally:
            connection.close()

    thread = threading.Thread(target=renew, name=f"lease of import {job.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _held(job: Import) -> QuerySet[Import]:
    """The import's row, as long as this worker holds it."""
    return Import.objects.filter(pk=job.pk, token=job.token, state=Import.State.RUNNING)


def _import_rows(job: Import, checks: Verification) -> tuple[bool, FileFault | None]:
    """Commit chunk after chunk; whether that was all, and why the rest cannot be read."""
    targets = targets_of(job, checks)
    began, ends = time.monotonic(), None
    rows, analyse_at = 0, ANALYSE_FROM
    with closing(chunks_of(job, CHUNK_ROWS)) as chunks:
        for chunk in chunks:
            ends = ends or time.monotonic() + max(
                TURN_SECONDS, TURN_PER_SKIPPING * (time.monotonic() - began)
            )
            _commit(job, checks, targets, chunk)
            rows += chunk.rows
            if rows >= analyse_at:
                _refresh_statistics()
                analyse_at = 2 * rows
            if chunk.fault:
                return True, chunk.fault
            if time.monotonic() > ends and _others_wait(job):
                return False, None
    return True, None


def _refresh_statistics() -> None:
    """Of how many contacts a workspace has.

    Where PostgreSQL takes a workspace for a small one, it reads all of it to find a chunk's
    addresses; autovacuum comes too late for a file that is read within a minute.
    """
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE mailer_contact (workspace_id)")


def _others_wait(job: Import) -> bool:
    others = Import.objects.filter(state=Import.State.QUEUED)
    checks = Verification.objects.filter(state=Verification.State.RUNNING)
    return others.exists() or checks.exclude(workspace=job.workspace_id).exists()


def _give_way(job: Import) -> None:
    """Wait behind the others for the next turn."""
    from apps.mailer.tasks import import_contacts_async

    waits = _held(job).update(state=Import.State.QUEUED, token=None, lease_until=timezone.now())
    if waits:
        queues.ring(import_contacts_async, job.pk)


def _commit(job: Import, checks: Verification, targets: Targets, chunk: Chunk) -> None:
    """One transaction: contacts, membership, rejected rows, counters, checkpoint and lease."""
    if not chunk.rows:
        return
    to_check = None
    while to_check is None:
        try:
            with transaction.atomic():
                to_check = _write_chunk(job, checks, targets, chunk)
        except IntegrityError as error:
            # Another import has brought one of these addresses meanwhile: it is known now.
            if not isinstance(error.__cause__, UniqueViolation):
                raise
            if not _held(job).exists():
                raise LeaseLost from error
    if to_check:
        verification.ring_if_idle(checks.pk)


def _write_chunk(job: Import, checks: Verification, targets: Targets, chunk: Chunk) -> int:
    written = write(targets, chunk)
    unfit = _added(job.unfit, chunk.unfit)
    moved = _held(job).update(
        checkpoint=F("checkpoint") + chunk.rows,
        created=F("created") + written.created,
        updated=F("updated") + written.updated,
        unchanged=F("unchanged") + written.unchanged,
        duplicate=F("duplicate") + chunk.duplicates + written.duplicate,
        rejected=F("rejected") + len(chunk.rejected),
        met_unsubscribed=F("met_unsubscribed") + written.met["unsubscribed"],
        met_bounced=F("met_bounced") + written.met["bounced"],
        met_complained=F("met_complained") + written.met["complained"],
        met_suppressed=F("met_suppressed") + written.met["suppressed"],
        unfit=unfit,
        lease_until=timezone.now() + LEASE,
    )
    if not moved:
        raise LeaseLost
    if written.to_check:
        # A run may have finished while the import was cancelled or had failed.
        Verification.objects.filter(pk=checks.pk).update(
            total=F("total") + written.to_check,
            state=Verification.State.RUNNING,
            finished_at=None,
        )
    job.unfit = unfit
    return written.to_check


def _added(
    before: dict[str, list[Any]], more: dict[str, tuple[int, int, str]]
) -> dict[str, list[Any]]:
    total = dict(before)
    for key, (count, line, value) in more.items():
        known, line, value = total.get(key, (0, line, value))
        total[key] = [known + count, line, value]
    return total


def _finish(job: Import, fault: FileFault | None) -> None:
    outcome = Import.State.FAILED if fault else Import.State.FINISHED
    _held(job).update(
        state=outcome,
        token=None,
        lease_until=None,
        finished_at=timezone.now(),
        error_code=fault.code if fault else "",
        error_line=fault.line if fault else None,
        error_detail=fault.detail[:500] if fault else "",
    )


def ring_abandoned_imports() -> int:
    """Start again what waits with nobody working on it; returns how many."""
    from apps.mailer.tasks import import_contacts_async

    abandoned = Import.objects.filter(
        state__in=[Import.State.QUEUED, Import.State.RUNNING],
        lease_until__lt=timezone.now() - timedelta(seconds=5),
    ).values_list("pk", flat=True)
    for import_id in abandoned:
        queues.ring(import_contacts_async, import_id)
    return len(abandoned)
