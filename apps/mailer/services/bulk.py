"""One action on many contacts: at once for a few, in the background for all that match a filter."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.mailer import selectors
from apps.mailer.models import BulkJob, Contact, ContactList, Suppression
from core import queues
from core.errors import Conflict

logger = logging.getLogger(__name__)

CHUNK = 2000
# A filter that no index serves in the order of keys is asked once for several chunks.
FOUND_AT_ONCE = 20 * CHUNK
LEASE = timedelta(seconds=60)
# Then the job queues up behind what else waits.
SLICE_SECONDS = 20.0
FILES_LAST = timedelta(days=7)
State, Action = BulkJob.State, BulkJob.Action
IN_MOTION = (State.QUEUED, State.RUNNING)


class LeaseLost(Exception):
    """The job was cancelled, or another worker took it over."""


class Failed(Exception):
    """The job cannot go on; the code says why."""


def start_job(
    *,
    workspace: Workspace,
    by: User | None,
    action: str,
    filter: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> BulkJob:
    """Ask for an action on the contacts that match now; `filter` is for selectors.contacts."""
    found = selectors.contacts(workspace, **(filter or {}))
    if action == Action.EXPORT_SUPPRESSION:
        expected = Suppression.objects.filter(workspace=workspace).count()
        newest = Suppression.objects.aggregate(newest=Max("pk"))["newest"]
    else:
        expected, _exact = selectors.number_of(found)
        newest = (
            Contact.objects.filter(workspace=workspace).order_by("-pk").values_list("pk").first()
        )
        newest = newest[0] if newest else 0
    job = BulkJob.objects.create(
        workspace=workspace,
        created_by=by,
        action=action,
        filter=dict(filter or {}),
        arguments=dict(arguments or {}),
        expected=expected,
        up_to=newest or 0,
        lease_until=timezone.now() + LEASE,
    )
    ring(job.pk)
    return job


def ring(job_id: int) -> None:
    from apps.mailer.tasks import run_bulk_job

    transaction.on_commit(lambda: queues.ring(run_bulk_job, job_id))


def cancel_job(*, job: BulkJob) -> None:
    """Stop before the next chunk; what is done stays. Raises Conflict where the job is over."""
    from apps.mailer.services import export

    cancelled = BulkJob.objects.filter(pk=job.pk, state__in=IN_MOTION).update(
        state=State.CANCELLED, token=None, lease_until=None, finished_at=timezone.now()
    )
    if not cancelled:
        raise Conflict(_("This work is over already."))
    export.clear(job.pk)


def apply(
    *,
    workspace: Workspace,
    action: str,
    ids: Sequence[int],
    arguments: Mapping[str, Any],
    source: str,
) -> int:
    """Do it to these contacts of the workspace now; returns how many it changed.

    Raises Failed("list_gone") where the list has been deleted.
    """
    with transaction.atomic():
        # In the order of imports, or both could deadlock.
        locked = list(
            Contact.objects.filter(workspace=workspace, pk__in=ids)
            .order_by("email")
            .select_for_update()
            .values_list("pk", flat=True)
        )
        return _ACTIONS[action](workspace, locked, arguments, source)


def _add_to_list(
    workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str
) -> int:
    chosen = ContactList.objects.filter(workspace=workspace, pk=arguments["list"])
    if not chosen.select_for_update(no_key=True).exists():
        raise Failed("list_gone")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO mailer_listmember (list_id, contact_id) "
            "SELECT %s, unnest(%s::bigint[]) ON CONFLICT DO NOTHING",
            [arguments["list"], ids],
        )
        return int(cursor.rowcount)


def _remove_from_list(
    workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str
) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM mailer_listmember WHERE contact_id = ANY(%s) AND list_id = "
            "(SELECT id FROM mailer_contactlist WHERE id = %s AND workspace_id = %s)",
            [ids, arguments["list"], workspace.pk],
        )
        return int(cursor.rowcount)


def _tag(workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailer_contact SET tags = tags || %s::varchar, updated_at = now() "
            "WHERE id = ANY(%s) AND NOT %s = ANY(tags)",
            [arguments["tag"], ids, arguments["tag"]],
        )
        return int(cursor.rowcount)


def _untag(workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailer_contact SET tags = array_remove(tags, %s::varchar), updated_at = now() "
            "WHERE id = ANY(%s) AND %s = ANY(tags)",
            [arguments["tag"], ids, arguments["tag"]],
        )
        return int(cursor.rowcount)


def _unsubscribe(
    workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str
) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mailer_suppression (workspace_id, email, reason, source, created_at)
            SELECT workspace_id, email, 'unsubscribed', %s, now()
            FROM mailer_contact WHERE id = ANY(%s) ORDER BY email
            ON CONFLICT DO NOTHING
            """,
            [source, ids],
        )
    return Contact.objects.filter(pk__in=ids, status=Contact.Status.SUBSCRIBED).update(
        status=Contact.Status.UNSUBSCRIBED, updated_at=timezone.now()
    )


def _delete(workspace: Workspace, ids: list[int], arguments: Mapping[str, Any], source: str) -> int:
    # Who said no, or whose mailbox is dead, must not come back subscribed with the next file.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mailer_suppression (workspace_id, email, reason, source, created_at)
            SELECT workspace_id, email, status, %s, now()
            FROM mailer_contact WHERE id = ANY(%s) AND status <> 'subscribed' ORDER BY email
            ON CONFLICT DO NOTHING
            """,
            [source, ids],
        )
    Contact.objects.filter(pk__in=ids).delete()
    return len(ids)


_ACTIONS: dict[str, Callable[[Workspace, list[int], Mapping[str, Any], str], int]] = {
    Action.ADD_TO_LIST: _add_to_list,
    Action.REMOVE_FROM_LIST: _remove_from_list,
    Action.TAG: _tag,
    Action.UNTAG: _untag,
    Action.UNSUBSCRIBE: _unsubscribe,
    Action.DELETE: _delete,
}


def run_job(job_id: int) -> None:
    """Go on from the checkpoint for a while, unless another worker holds the lease."""
    token = uuid.uuid4()
    now = timezone.now()
    free = Q(state=State.QUEUED) | Q(state=State.RUNNING, lease_until__lt=now)
    claimed = BulkJob.objects.filter(free, pk=job_id).update(
        state=State.RUNNING, token=token, lease_until=now + LEASE
    )
    if not claimed:
        return
    job = BulkJob.objects.select_related("workspace").get(pk=job_id)
    job.token = token
    try:
        over = _do_some(job)
    except LeaseLost:
        logger.info("bulk job %s: cancelled or taken over", job_id)
    except Failed as error:
        finish(job, State.FAILED, error_code=str(error))
    else:
        if over:
            finish(job, State.FINISHED)
        else:
            put_back(job)
            ring(job_id)


def _do_some(job: BulkJob) -> bool:
    """Work for SLICE_SECONDS; whether that was all. Raises LeaseLost and Failed."""
    from apps.mailer.services import export, suppression_files

    if job.makes_file:
        return export.write_some(job)
    if job.action == Action.SUPPRESS:
        return suppression_files.suppress_some(job)
    return _apply_some(job)


def held(job: BulkJob) -> QuerySet[BulkJob]:
    """The job's row, as long as this worker holds it."""
    return BulkJob.objects.filter(pk=job.pk, token=job.token, state=State.RUNNING)


def advance(job: BulkJob, *, checkpoint: int, done: int, changed: int, position: int = 0) -> None:
    """Note a chunk, in its transaction. Raises LeaseLost."""
    moved = held(job).update(
        checkpoint=checkpoint,
        done=F("done") + done,
        changed=F("changed") + changed,
        position=position,
        lease_until=timezone.now() + LEASE,
    )
    if not moved:
        raise LeaseLost
    job.checkpoint, job.position = checkpoint, position
    job.done += done
    job.changed += changed


def put_back(job: BulkJob) -> None:
    """Let another worker go on; the sweeper sees to it where nobody rings."""
    held(job).update(state=State.QUEUED, token=None, lease_until=timezone.now() + LEASE)


def keep_lease(job: BulkJob) -> None:
    """Raises LeaseLost."""
    if not held(job).update(lease_until=timezone.now() + LEASE):
        raise LeaseLost


def finish(job: BulkJob, state: str, **fields: Any) -> bool:
    """The job's end, unless it was cancelled or taken over meanwhile."""
    return bool(
        held(job).update(
            state=state, token=None, lease_until=None, finished_at=timezone.now(), **fields
        )
    )


def chunks_of_contacts(job: BulkJob) -> Iterator[list[int]]:
    """The keys of the contacts behind the job's checkpoint, chunk by chunk."""
    found = selectors.contacts(job.workspace, **job.filter).filter(pk__lte=job.up_to)
    keys = found.order_by("pk").values_list("pk", flat=True)
    while some := list(keys.filter(pk__gt=job.checkpoint)[:FOUND_AT_ONCE]):
        for first in range(0, len(some), CHUNK):
            yield some[first : first + CHUNK]


def _apply_some(job: BulkJob) -> bool:
    """Chunk after chunk for SLICE_SECONDS; whether that was all."""
    until = time.monotonic() + SLICE_SECONDS
    for ids in chunks_of_contacts(job):
        with transaction.atomic():
            changed = apply(
                workspace=job.workspace,
                action=job.action,
                ids=ids,
                arguments=job.arguments,
                source=f"user:{job.created_by_id}",
            )
            advance(job, checkpoint=ids[-1], done=len(ids), changed=changed)
        if time.monotonic() > until:
            return False
    return True


def ring_abandoned_jobs() -> int:
    """Start again what waits with nobody working on it; returns how many."""
    abandoned = BulkJob.objects.filter(
        state__in=IN_MOTION, lease_until__lt=timezone.now()
    ).values_list("pk", flat=True)
    for job_id in abandoned:
        # One that waits in a long queue is not rung for at each sweep.
        BulkJob.objects.filter(pk=job_id, state=State.QUEUED).update(
            lease_until=timezone.now() + LEASE
        )
        ring(job_id)
    return len(abandoned)


def remove_expired_files() -> int:
    """Remove files of jobs whose days are over, and uploads that are read; returns how many."""
    read = Q(action=Action.SUPPRESS, expires_at__isnull=False)
    over = BulkJob.objects.exclude(state__in=IN_MOTION)
    jobs = over.filter(Q(expires_at__lt=timezone.now()) | read)[:100]
    return sum(remove_file(job) for job in jobs)


def begin_exports_again(workspace: Workspace) -> None:
    """Where somebody may be in the rows that exports in motion have written already."""
    from apps.mailer.services import export

    exports = BulkJob.objects.filter(
        workspace=workspace,
        action__in=[Action.EXPORT, Action.EXPORT_SUPPRESSION],
        state__in=IN_MOTION,
    )
    for job_id in exports.values_list("pk", flat=True):
        # Without its token the worker that holds one notes nothing more.
        if exports.filter(pk=job_id).update(
            state=State.QUEUED,
            token=None,
            lease_until=timezone.now() + LEASE,
            **export.NOTHING_DONE,
        ):
            transaction.on_commit(partial(export.clear, job_id))
            ring(job_id)


def remove_file(job: BulkJob) -> int:
    """Remove a job's file; 1 if this call did it."""
    gone = (
        BulkJob.objects.filter(pk=job.pk, expires_at=job.expires_at)
        .exclude(file="")
        .update(file="", expires_at=None)
    )
    if gone:
        job.file.delete(save=False)
    else:
        BulkJob.objects.filter(pk=job.pk, file="").update(expires_at=None)
    return gone
