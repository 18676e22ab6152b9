"""The ledger's partitions: one for each 1,000 campaigns, made ahead of time."""

from __future__ import annotations

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

CAMPAIGNS_IN_A_PARTITION = 1000


def ensure_partition(campaign_id: int) -> bool:
    """Make the partition that holds this campaign's rows where it is missing; whether it was."""
    start = campaign_id // CAMPAIGNS_IN_A_PARTITION * CAMPAIGNS_IN_A_PARTITION
    name = f"campaigns_delivery_p{start}"
    return attach(
        "campaigns_delivery",
        name,
        str(start),
        str(start + CAMPAIGNS_IN_A_PARTITION),
        before=without_statistics(name),
    )


def attach(table: str, name: str, start: str, end: str, *, before: str = "") -> bool:
    """Make the partition of a table from `start` up to `end`, both SQL, where it is missing.

    Whether it was. `before`: a statement about the new table. Attaching a ready-made table takes a
    weak lock on the whole one, so that writing goes on; CREATE TABLE … PARTITION OF would not.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if exists(cursor, name):
            return False
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
        if exists(cursor, name):
            return False
        cursor.execute(
            f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        )
        if before:
            cursor.execute(before)
        cursor.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})"
        )
    return True


def without_statistics(table: str) -> str:
    """The statement that keeps the planner from guessing by what it saw yesterday.

    A campaign that has just been prepared is in no statistics: the planner takes its million
    rows for one and walks through all of them. Without statistics it goes by the table's size,
    which is never out of date.
    """
    columns = ("campaign_id", "contact_id", "provider", "status", "token", "lease_until")
    actions = ", ".join(f"ALTER COLUMN {column} SET STATISTICS 0" for column in columns)
    return f"ALTER TABLE {table} {actions}"


def exists(cursor: CursorWrapper, name: str) -> bool:
    """Asks the catalogue itself: to_regclass may answer from before the wait for the lock."""
    cursor.execute(
        "SELECT FROM pg_class WHERE relname = %s AND relnamespace = current_schema()::regnamespace",
        [name],
    )
    return cursor.fetchone() is not None


def ensure_next_partitions() -> int:
    """The partition of the newest campaign and the one after it; returns how many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM campaigns_campaign")
        newest = cursor.fetchone()[0]
    return sum(
        ensure_partition(campaign_id) for campaign_id in (newest, newest + CAMPAIGNS_IN_A_PARTITION)
    )
