"""The worker's side of an import: rows in chunks that two writers share.

Each share is committed together with how far its writer has come, so that an import that died goes
on where it stopped.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Func, JSONField, Max, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from psycopg.errors import UniqueViolation

from apps.mailer.models import Import, Verification
from apps.mailer.services import verification
from apps.mailer.services.importing_chunks import WRITERS, Share, chunks_of
from apps.mailer.services.importing_writes import Targets, targets_of, write
from core import queues
from mailkit.imports.table import FileFault

logger = logging.getLogger(__name__)

CHUNK_ROWS = 8000
ANALYSE_FROM = 20_000
# A smaller file is written by the one that reads it: threads and connections cost more.
SMALL_FILE = 1 << 20
# Shares that wait for one writer while it writes another.
WAITING_SHARES = 1
LEASE = timedelta(seconds=30)
# Then others may have their turn. Each turn reads on from the beginning of the file up to the
# checkpoint: the longer that took, the longer the turn lasts.
TURN_SECONDS = 5.0
TURN_PER_SKIPPING = 4.0
# New objects between two rounds of the garbage collector. Rows make many that live for a chunk
# and refer to nothing: the usual 700 take two fifths of the time of reading.
COLLECTED_AFTER = 50_000


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
        with _seldom_collected(), _lease_kept(job):
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
def _seldom_collected() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(COLLECTED_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


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
    began, ends = time.monotonic(), None
    rows, analyse_at = 0, ANALYSE_FROM
    with closing(chunks_of(job, CHUNK_ROWS)) as chunks, _writers(job, checks) as writers:
        for chunk in chunks:
            ends = ends or time.monotonic() + max(
                TURN_SECONDS, TURN_PER_SKIPPING * (time.monotonic() - began)
            )
            if chunk.until:
                for writer, share in zip(writers, chunk.shares, strict=True):
                    writer.write(share, chunk.until)
            rows += chunk.rows
            if rows >= analyse_at:
                _refresh_statistics()
                analyse_at = 2 * rows
            if chunk.fault:
                return True, chunk.fault
            if time.monotonic() > ends and _others_wait(job):
                return False, None
    return True, None


@contextmanager
def _writers(job: Import, checks: Verification) -> Iterator[list[Writer]]:
    """Writers that have written everything when the block ends, unless it ends by an error."""
    targets = targets_of(job, checks)
    try:
        small = not job.file or job.file.size < SMALL_FILE
    except FileNotFoundError:
        small = True
    kind = Writer if small else ThreadedWriter
    with ExitStack() as stack:
        writers = [kind(job, checks, targets, index) for index in range(WRITERS)]
        for writer in writers:
            stack.callback(writer.close)
        yield writers
        for writer in writers:
            writer.wait()


class Writer:
    """Commits one share after another."""

    def __init__(self, job: Import, checks: Verification, targets: Targets, index: int) -> None:
        self._job, self._checks, self._targets, self._index = job, checks, targets, index

    def write(self, share: Share, until: int) -> None:
        """One transaction: contacts, membership, rejected rows, counters, position and lease.

        `until`: the number of the last row of the share's chunk. Raises LeaseLost.
        """
        to_check = None
        while to_check is None:
            try:
                with transaction.atomic():
                    to_check = self._write(share, until)
            except IntegrityError as error:
                # Another import has brought one of these addresses meanwhile: it is known now.
                if not isinstance(error.__cause__, UniqueViolation):
                    raise
                if not _held(self._job).exists():
                    raise LeaseLost from error
        if to_check:
            verification.ring_if_idle(self._checks.pk)

    def wait(self) -> None:
        """Until all is written; raises what went wrong."""

    def close(self) -> None:
        """Write nothing more."""

    def _write(self, share: Share, until: int) -> int:
        job, written = self._job, write(self._targets, share)
        # The writers of an import meet here: what others wait for comes last.
        unfit = {"unfit": _with_unfit(job, share)} if share.unfit else {}
        moved = _held(job).update(
            written_up_to=Func(
                F("written_up_to"),
                Value(f"{{{self._index}}}"),
                Value(until, JSONField()),
                function="jsonb_set",
            ),
            checkpoint=F("checkpoint") + share.rows,
            created=F("created") + written.created,
            updated=F("updated") + written.updated,
            unchanged=F("unchanged") + written.unchanged,
            duplicate=F("duplicate") + share.duplicates + written.duplicate,
            rejected=F("rejected") + len(share.rejected),
            met_unsubscribed=F("met_unsubscribed") + written.met["unsubscribed"],
            met_bounced=F("met_bounced") + written.met["bounced"],
            met_complained=F("met_complained") + written.met["complained"],
            met_suppressed=F("met_suppressed") + written.met["suppressed"],
            lease_until=timezone.now() + LEASE,
            **unfit,
        )
        if not moved:
            raise LeaseLost
        if written.to_check:
            # A run may have finished while the import was cancelled or had failed.
            Verification.objects.filter(pk=self._checks.pk).update(
                total=F("total") + written.to_check,
                state=Verification.State.RUNNING,
                finished_at=None,
            )
        return written.to_check


class ThreadedWriter(Writer):
    """Does it in a thread and on a connection of its own, while more is read."""

    def __init__(self, job: Import, checks: Verification, targets: Targets, index: int) -> None:
        super().__init__(job, checks, targets, index)
        self._thread = ThreadPoolExecutor(1, f"writer {index} of import {job.pk}")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def write(self, share: Share, until: int) -> None:
        self._settle(WAITING_SHARES)
        self._waiting.append(self._thread.submit(self._write_in_turn, share, until))

    def wait(self) -> None:
        self._settle(0)

    def close(self) -> None:
        for one in self._waiting:
            one.cancel()
        self._thread.submit(lambda: connection.close())  # the thread's own connection
        self._thread.shutdown()

    def _write_in_turn(self, share: Share, until: int) -> None:
        """Nothing after a share that failed: its position would cover that one's rows."""
        if self._failed:
            return
        self._failed = True
        super().write(share, until)
        self._failed = False

    def _settle(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()


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


def _with_unfit(job: Import, share: Share) -> dict[str, list[Any]]:
    """The import's unfit cells and the share's; its row stays locked until the commit."""
    row = _held(job).select_for_update().values_list("unfit", flat=True).first()
    if row is None:
        raise LeaseLost
    total = dict(row)
    for key, (count, line, value) in share.unfit.items():
        known, first, shown = total.get(key, (0, line, value))
        total[key] = [known + count, *min((first, shown), (line, value))]
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
