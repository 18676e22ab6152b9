"""Checking the contacts of a list again, without an import."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from apps.mailer.checks import MONTH
from apps.mailer.models import ContactList, Import, Verification
from apps.mailer.services import verification
from core.errors import Conflict, InvalidInput

MOST_MONTHS = 60


def verify_list(*, contact_list: ContactList, level: str, months: int = 0) -> Verification:
    """Check a list's contacts whose verdict is older than `months` (0: all of them).

    Contacts that have no verdict yet are checked too; those that another run is checking are
    left to it. Raises InvalidInput, and Conflict while the list is being checked.
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
            workspace=contact_list.workspace, of_list=contact_list, level=level
        )
        total = _make_due(run, contact_list, months)
        if not total:
            raise InvalidInput(_("No contact of this list needs a check: all are recent enough."))
        Verification.objects.filter(pk=run.pk).update(total=total)
        transaction.on_commit(lambda: verification.ring(run.pk))
    run.refresh_from_db()
    return run


def _make_due(run: Verification, contact_list: ContactList, months: int) -> int:
    parameters: dict[str, Any] = {
        "run": run.pk,
        "list": contact_list.pk,
        "workspace": contact_list.workspace_id,
        "age": months * MONTH,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS MATERIALIZED (
                SELECT contact.id FROM mailer_contact contact
                JOIN mailer_listmember member ON member.contact_id = contact.id
                WHERE member.list_id = %(list)s AND contact.workspace_id = %(workspace)s
                  AND contact.check_due_at IS NULL
                  AND (contact.verified_at IS NULL OR contact.verified_at <= now() - %(age)s)
                ORDER BY contact.email FOR NO KEY UPDATE OF contact)  -- the order of imports
            UPDATE mailer_contact
            SET verification_id = %(run)s, check_due_at = now(), check_attempts = 0
            FROM locked WHERE mailer_contact.id = locked.id
            """,
            parameters,
        )
        return int(cursor.rowcount)
