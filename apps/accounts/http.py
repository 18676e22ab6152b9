"""What views share: the request that the middlewares prepare, and keyset paging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from apps.accounts.models import Membership, User, Workspace

PAGE_SIZE = 50


class WorkspaceRequest(HttpRequest):
    """A request of a member of `workspace`, as WorkspaceMiddleware leaves it. Annotations only."""

    user: User  # never anonymous inside a workspace
    workspace: Workspace
    membership: Membership
    htmx: HtmxDetails


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """One page of rows with the addresses of the first page ('' when this is it) and the next."""

    rows: list[Any]
    first_url: str
    next_url: str


def keyset_page(
    request: HttpRequest, rows: QuerySet[Any], *, key: str = "id", size: int = PAGE_SIZE
) -> KeysetPage:
    """The rows after `?after=<key>`; `rows` must be ordered by `key`, either way, and by it alone.

    Other parameters of the query stay in the links. An `after` that is no number is ignored.
    """
    after = request.GET.get("after", "")
    is_number = after.isascii() and after.isdigit() and len(after) < 19
    if is_number:
        descending = rows.query.order_by and str(rows.query.order_by[0]).startswith("-")
        rows = rows.filter(**{f"{key}__{'lt' if descending else 'gt'}": int(after)})
    found = list(rows[: size + 1])
    query = request.GET.copy()
    query.pop("after", None)
    first_url = f"?{query.urlencode()}" if is_number else ""
    next_url = ""
    if len(found) > size:
        query["after"] = str(getattr(found[size - 1], key))
        next_url = f"?{query.urlencode()}"
    return KeysetPage(found[:size], first_url, next_url)
