"""Checking the contacts of a list again, without an import."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.mailer.checks import MONTH
from apps.mailer.models import ContactList, Import, Verification
from apps.mailer.services import verification
from core.errors import Conflict, InvalidInput

MOST_MONTHS = 60
# Members looked at in one transaction.
CHUNK = 5000


def verify_list(*, contact_list: ContactList, level: str, months: int = 0) -> Verification:
    """Ask for a check of a list's contacts whose verdict is older than `months` (0: of all).

    Contacts that have no verdict yet are checked too; those that another run is checking are
    left to it. They are chosen in the background: `choose_members`. Raises InvalidInput, and
    Conflict while the list is being checked.
    """
    if level not in Import.Level.values or not 0 <= months <= MOST_MONTHS:
        raise InvalidInput(_("Choose a level, and at most 60 months."))
    with transaction.atomic():
        # The list's row is held, so that of two clicks the second one finds the run.
        ContactList.objects.select_for_update().get(pk=contact_list.pk)
        running = Verification.objects.filter(
            of_list=contact_list, state=Verification.State.RUNNING
        )
        if running.exists():
            raise Conflict(_("This list is being checked already."))
        run = Verification.objects.create(
            workspace=contact_list.workspace,
            of_list=contact_list,
            level=level,
            chosen_up_to=0,
            older_than=timezone.now() - months * MONTH,
        )
        transaction.on_commit(lambda: verification.ring(run.pk))
    return run


def choose_members(verification_id: int) -> bool:
    """Make the next CHUNK of a run's list due; whether more members are left.

    Killed, it has done nothing: the next call does the same chunk. While another worker chooses,
    it is left to that one.
    """
    with transaction.atomic():
        run = (
            Verification.objects.select_for_update(skip_locked=True)
            .filter(pk=verification_id, chosen_up_to__isnull=False)
            .first()
        )
        if run is None:
            return False
        last, number = _make_due(run)
        Verification.objects.filter(pk=run.pk).update(chosen_up_to=last, total=F("total") + number)
    return last is not None


def _make_due(run: Verification) -> tuple[int | None, int]:
    """The last member looked at, None where none is left, and how many are due now."""
    parameters: dict[str, Any] = {
        "run": run.pk,
        "list": run.of_list_id,  # None, and so without members, once the list is deleted
        "workspace": run.workspace_id,
        "after": run.chosen_up_to,
        "older_than": run.older_than,
        "chunk": CHUNK,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH chunk AS MATERIALIZED (
                SELECT contact_id FROM mailer_listmember
                WHERE list_id = %(list)s AND contact_id > %(after)s
                ORDER BY contact_id LIMIT %(chunk)s
            ), locked AS MATERIALIZED (
                SELECT contact.id FROM mailer_contact contact
                JOIN chunk ON chunk.contact_id = contact.id
                WHERE contact.workspace_id = %(workspace)s AND contact.check_due_at IS NULL
                  AND (contact.verified_at IS NULL OR contact.verified_at <= %(older_than)s)
                ORDER BY contact.email FOR NO KEY UPDATE OF contact  -- the order of imports
            ), due AS (
                UPDATE mailer_contact
                SET verification_id = %(run)s, check_due_at = now(), check_attempts = 0
                FROM locked WHERE mailer_contact.id = locked.id
                RETURNING 1
            )
            SELECT (SELECT max(contact_id) FROM chunk), (SELECT count(*) FROM due)
            """,
            parameters,
        )
        last, number = cursor.fetchone()
        return last, number
