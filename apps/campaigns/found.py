"""The letters of a campaign that fit some filters, a page at a time, however many there are.

Nothing is counted and nothing sorted: rows are read in the order of an index, and at most LOOKED_AT
of them for one page. Where few rows fit, a page can be short and still have a next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.backends.utils import CursorWrapper

from apps.campaigns.models import Campaign, Delivery
from apps.campaigns.selectors import NO_FAULT, TROUBLED, tallied
from apps.mailer.models import Contact, SearchText

LOOKED_AT = 100_000
# So many rows in motion, which have indexes in other orders, are sorted.
SORTED = 20_000
# So many contacts that fit a search are looked up; where more fit, the next letters do too.
LOOKED_UP = 1000
_IN_MOTION = {"queued", "deferred", "handing_off", "waiting"}
# What has an index in the order of contacts.
_ORDERED = {"failed", "unknown", "suppressed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Filters:
    """A fault is one of what failed, waits or is unknown; `search` a part of an address."""

    status: str = ""
    fault: str = ""
    provider: str = ""
    search: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows by contact id; the next page begins after `next_after`, None where there is none."""

    rows: list[Delivery]
    next_after: int | None


def find(
    campaign: Campaign, filters: Filters, *, after: int = 0, size: int, looked_at: int | None = None
) -> Found:
    number = _number(campaign, filters)
    if number == 0:
        return Found([], None)
    walk: list[str] = []
    fits: list[str] = []
    values: dict[str, Any] = {
        "campaign": campaign.pk,
        "after": after,
        "size": size + 1,
        "looked_at": looked_at or LOOKED_AT,
        "status": filters.status,
        "troubled": list(TROUBLED),
        "fault": "" if filters.fault == NO_FAULT else filters.fault,
        "provider": filters.provider,
        "search": f"%{_escaped(filters.search)}%",
    }
    if filters.status:
        (walk if filters.status in _ORDERED else fits).append("status = %(status)s")
    elif filters.fault:
        fits.append("status = ANY(%(troubled)s)")
    if filters.fault:
        fits.append("fault = %(fault)s")
    if filters.provider:
        fits.append("provider = %(provider)s")
    if filters.search:
        values["contacts"] = _contacts(campaign, filters.search)
        if values["contacts"]:
            walk.append("contact_id = ANY(%(contacts)s)")
        else:
            fits.append("email ILIKE %(search)s")
    if filters.status in _IN_MOTION and number is not None and number <= SORTED:
        rows = _sorted(filters.status, [*walk, *fits], values)
        return Found(rows[:size], rows[size - 1].contact_id if len(rows) > size else None)
    rows, last = _walk(walk, fits, values)
    if len(rows) > size:
        return Found(rows[:size], rows[size - 1].contact_id)
    all_here = number is not None and not after and not filters.search and len(rows) >= number
    return Found(rows, None if all_here else last)


def _number(campaign: Campaign, filters: Filters) -> int | None:
    """How many letters the ledger's counters know by status, fault and provider."""
    found = tallied(campaign)
    if filters.status == Delivery.Status.HANDING_OFF:
        return found.counts[filters.status]
    fault = "" if filters.fault == NO_FAULT else filters.fault
    statuses = (
        {filters.status} if filters.status else set(TROUBLED if filters.fault else found.counts)
    )
    return sum(
        number
        for (provider, status, reason), number in found.by_kind.items()
        if status in statuses
        and (not filters.fault or reason == fault)
        and filters.provider in ("", provider)
    )


def _contacts(campaign: Campaign, search: str) -> list[int]:
    """Those whose address has it now, by an index; none where too many do, or nobody."""
    found = (
        Contact.objects.filter(workspace=campaign.workspace_id)
        .alias(text=SearchText())
        .filter(text__contains=search.lower(), email__icontains=search)
        .values_list("pk", flat=True)[: LOOKED_UP + 1]
    )
    ids = list(found) if len(search) > 2 else []
    return ids if len(ids) <= LOOKED_UP else []


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _sorted(status: str, fits: list[str], values: dict[str, Any]) -> list[Delivery]:
    """OFFSET keeps the planner, which knows nothing of the ledger's keys, at the leases' index."""
    source = "campaigns_delivery"
    if status == Delivery.Status.HANDING_OFF:
        source = (
            "(SELECT * FROM campaigns_delivery WHERE lease_until IS NOT NULL "
            "ORDER BY lease_until OFFSET 0) AS held"
        )
    where = " AND ".join(["campaign_id = %(campaign)s", "contact_id > %(after)s", *fits])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM {source} WHERE {where} ORDER BY contact_id LIMIT %(size)s",
            values,
        )
        return _rows(cursor)


_FIELDS = [field for field in Delivery._meta.concrete_fields if field.column]
_COLUMNS = ", ".join(str(field.column) for field in _FIELDS)


def _rows(cursor: CursorWrapper) -> list[Delivery]:
    """A raw query set knows no keys of two columns."""
    names = [field.attname for field in _FIELDS]
    return [Delivery.from_db(DEFAULT_DB_ALIAS, names, row) for row in cursor.fetchall()]


def _walk(
    walk: list[str], fits: list[str], values: dict[str, Any]
) -> tuple[list[Delivery], int | None]:
    """The next rows that fit, and the last one that was looked at where there may be more."""
    where = " AND ".join(["campaign_id = %(campaign)s", "contact_id > %(after)s", *walk])
    looked_at = f"FROM campaigns_delivery WHERE {where} ORDER BY campaign_id, contact_id"
    with transaction.atomic(), connection.cursor() as cursor:
        # Without statistics of the keys the planner takes a million rows for few, and sorts them.
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(
            f"SELECT {_COLUMNS} FROM (SELECT * {looked_at} LIMIT %(looked_at)s) AS looked_at "
            f"WHERE {' AND '.join(fits) or 'true'} ORDER BY contact_id LIMIT %(size)s",
            values,
        )
        rows, last = _rows(cursor), None
        if len(rows) < values["size"]:
            cursor.execute(
                f"SELECT contact_id {looked_at} OFFSET %(looked_at)s - 1 LIMIT 1", values
            )
            last = cursor.fetchone()
        cursor.execute("SET LOCAL enable_sort = on")
    return rows, last[0] if last else None
