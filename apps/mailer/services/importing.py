"""The worker's side of an import: rows in chunks, each committed together with its checkpoint."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from apps.mailer.models import Import, RejectedRow, Verification
from apps.mailer.services import imports, verification
from core import queues
from mailkit.imports.readers import read_rows
from mailkit.imports.rows import ContactRow, Rejected, map_row
from mailkit.imports.table import FileFault

logger = logging.getLogger(__name__)

CHUNK_ROWS = 1000
LEASE = timedelta(seconds=30)


class LeaseLost(Exception):
    """The import was cancelled, or another worker took it over."""


@dataclass
class Chunk:
    """Consecutive rows: the first one of each address, how many repeat one, what is rejected."""

    contacts: dict[str, ContactRow] = field(default_factory=dict)
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.contacts) + self.duplicates + len(self.rejected)

    def add(self, row: ContactRow | Rejected) -> None:
        if isinstance(row, Rejected):
            self.rejected.append(row)
        elif row.email in self.contacts:
            self.duplicates += 1
        else:
            self.contacts[row.email] = row


def run_import(import_id: int) -> None:
    """Import from the checkpoint to the end, unless another worker holds the lease."""
    token = uuid.uuid4()
    now = timezone.now()
    free = Q(state=Import.State.QUEUED) | Q(state=Import.State.RUNNING, lease_until__lt=now)
    claimed = Import.objects.filter(free, pk=import_id).update(
        state=Import.State.RUNNING,
        token=token,
        lease_until=now + LEASE,
        started_at=Coalesce("started_at", Now()),
    )
    if not claimed:
        return
    job = Import.objects.select_related("workspace").filter(pk=import_id, token=token).first()
    if job is None:
        return
    checks = verification.verification_of(job)
    try:
        with _lease_kept(job):
            fault = _import_rows(job, checks)
    except LeaseLost:
        logger.info("import %s: cancelled or taken over", import_id)
        return
    _finish(job, fault)
    verification.finish_if_done(checks.pk)
    verification.ring(checks.pk)


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


def _import_rows(job: Import, checks: Verification) -> FileFault | None:
    """Commit chunk after chunk; returns why the rest cannot be read, if it cannot."""
    mapping = {int(index): target for index, target in job.mapping.items()}
    path = Path(job.file.path)
    if not path.exists():
        return FileFault("file_missing")
    with closing(read_rows(path, imports.source_of(job), skip=job.checkpoint)) as rows:
        chunk = Chunk()
        for row in rows:
            if isinstance(row, FileFault):
                _commit(job, checks, chunk)
                return row
            chunk.add(map_row(row, mapping))
            if chunk.rows == CHUNK_ROWS:
                _commit(job, checks, chunk)
                chunk = Chunk()
        _commit(job, checks, chunk)
    return None


def _commit(job: Import, checks: Verification, chunk: Chunk) -> None:
    """One transaction: contacts, membership, rejected rows, counters, checkpoint and lease."""
    if not chunk.rows:
        return
    with transaction.atomic():
        created, updated, unchanged, to_check = _upsert(job, checks, list(chunk.contacts.values()))
        RejectedRow.objects.bulk_create(
            RejectedRow(
                of_import=job, number=row.number, line=row.line,
                reason=row.reason[:60], email=row.raw_email[:500],
            )
            for row in chunk.rejected
        )  # fmt: skip
        known_in_file = len(chunk.contacts) - created - updated - unchanged
        moved = _held(job).update(
            checkpoint=F("checkpoint") + chunk.rows,
            created=F("created") + created,
            updated=F("updated") + updated,
            unchanged=F("unchanged") + unchanged,
            duplicate=F("duplicate") + chunk.duplicates + known_in_file,
            rejected=F("rejected") + len(chunk.rejected),
            lease_until=timezone.now() + LEASE,
        )
        if not moved:
            raise LeaseLost
        if to_check:
            # A run may have finished while the import was cancelled or had failed.
            Verification.objects.filter(pk=checks.pk).update(
                total=F("total") + to_check, state=Verification.State.RUNNING, finished_at=None
            )
    if to_check:
        verification.ring_if_idle(checks.pk)


def _upsert(job: Import, checks: Verification, rows: list[ContactRow]) -> tuple[int, int, int, int]:
    """Write contacts that this import meets for the first time.

    A value in the file replaces the stored one, an empty cell leaves it; subscription, verdict
    and suppression are never touched. Returns (created, updated, unchanged, to check).
    """
    if not rows:
        return 0, 0, 0, 0
    # One order for all imports, or two files with the same addresses would deadlock.
    rows = sorted(rows, key=lambda row: row.email)
    parameters: dict[str, Any] = {
        "workspace": job.workspace_id,
        "list": job.list_id,
        "import": job.pk,
        "verification": checks.pk,
        "level": checks.level,
        "stale": verification.STALE_AFTER,
        "emails": [row.email for row in rows],
        "first_names": [row.first_name for row in rows],
        "last_names": [row.last_name for row in rows],
        "fields": [json.dumps(row.fields, ensure_ascii=False) for row in rows],
    }
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT, parameters)
        created, updated = _counts(cursor.fetchall())
        cursor.execute(_MEET, parameters)
        # These are locked by now, in one order. Touching others as well could deadlock.
        parameters["met"] = met = [contact_id for (contact_id,) in cursor.fetchall()]
        cursor.execute(_JOIN_LIST, parameters)
        cursor.execute(_MARK_FOR_CHECK, parameters)
        cursor.execute(_TO_CHECK, parameters)
        (to_check,) = cursor.fetchone()
        return created, updated, len(met) - created - updated, to_check


def _counts(flags: Iterable[tuple[bool]]) -> tuple[int, int]:
    created = [is_new for (is_new,) in flags]
    return sum(created), len(created) - sum(created)


# Rows whose contact this import has met before are duplicates in the file: left out here.
# xmax is 0 for a row that the statement inserted.
_UPSERT = """
INSERT INTO mailer_contact AS known
    (workspace_id, email, first_name, last_name, fields, status, verdict, reason, evidence,
     verification_id, check_due_at, check_attempts, created_at, updated_at)
SELECT %(workspace)s, row.email, row.first_name, row.last_name, row.fields::jsonb,
       'subscribed', '', '', '{}', %(verification)s, now(), 0, now(), now()
FROM unnest(%(emails)s::text[], %(first_names)s::text[], %(last_names)s::text[],
            %(fields)s::text[]) AS row (email, first_name, last_name, fields)
WHERE NOT EXISTS (
    SELECT FROM mailer_contact met
    JOIN mailer_importedcontact seen
      ON seen.contact_id = met.id AND seen.of_import_id = %(import)s
    WHERE met.workspace_id = %(workspace)s AND met.email = row.email)
ORDER BY row.email
ON CONFLICT (workspace_id, email) DO UPDATE SET
    first_name = coalesce(nullif(excluded.first_name, ''), known.first_name),
    last_name = coalesce(nullif(excluded.last_name, ''), known.last_name),
    fields = known.fields || excluded.fields,
    updated_at = now()
WHERE (coalesce(nullif(excluded.first_name, ''), known.first_name),
       coalesce(nullif(excluded.last_name, ''), known.last_name),
       known.fields || excluded.fields)
      IS DISTINCT FROM (known.first_name, known.last_name, known.fields)
RETURNING xmax = 0
"""
_MEET = """
INSERT INTO mailer_importedcontact (of_import_id, contact_id)
SELECT %(import)s, id FROM mailer_contact
WHERE workspace_id = %(workspace)s AND email = ANY(%(emails)s)
ON CONFLICT DO NOTHING
RETURNING contact_id
"""
_JOIN_LIST = """
INSERT INTO mailer_listmember (list_id, contact_id)
SELECT %(list)s, unnest(%(met)s::bigint[])
ON CONFLICT DO NOTHING
"""
# What waits in a run at least as thorough is left to it: both runs get that answer.
_MARK_FOR_CHECK = """
UPDATE mailer_contact
SET verification_id = %(verification)s, check_due_at = now(), check_attempts = 0
WHERE id = ANY(%(met)s)
  AND (verdict IN ('', 'unknown') OR verified_at < now() - %(stale)s)
  AND (check_due_at IS NULL OR NOT EXISTS (
      SELECT FROM mailer_verification other
      WHERE other.id = verification_id AND (other.level = 'full' OR %(level)s = 'quick')))
"""
_TO_CHECK = """
SELECT count(*) FROM mailer_contact
WHERE id = ANY(%(met)s) AND check_due_at IS NOT NULL AND check_attempts = 0
"""


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
