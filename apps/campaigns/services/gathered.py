"""The contacts of a campaign's segments, each query run once, in tables of the transaction.

They lie on disk, so that memory does not grow with them, and give the ledger's chunks their keys.
"""

from __future__ import annotations

from django.db import connection

from apps.accounts.models import Workspace
from apps.campaigns.targets import Ids, Targets
from apps.mailer.segments.counting import limited

TAKEN, EXCLUDED = "campaigns_taken", "campaigns_excluded"
# One value by its key for each contact, whatever the planner believes of the table's size.
NOT_EXCLUDED = (
    f"AND (SELECT one.contact_id FROM {EXCLUDED} one WHERE one.contact_id = contact.id) IS NULL"
)


def gather(workspace: Workspace, targets: Targets) -> None:
    """Needs a transaction, and `forget` at its end. Raises InvalidInput for outdated rules."""
    if targets.segments:
        _keep(TAKEN, Targets(segments=targets.segments).taken(workspace))
    if targets.excluding:
        _keep(EXCLUDED, targets.left_out(workspace))


def _keep(table: str, ids: Ids) -> None:
    with limited() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS "
            f"SELECT DISTINCT contact_id FROM ({ids.sql}) AS found (contact_id)",
            ids.params,
        )
        cursor.execute(f"CREATE UNIQUE INDEX ON {table} (contact_id)")
        cursor.execute(f"ANALYZE {table}")


def forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TAKEN}, {EXCLUDED}")
