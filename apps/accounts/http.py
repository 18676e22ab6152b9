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
    after = after_of(request)
    if after is not None:
        descending = rows.query.order_by and str(rows.query.order_by[0]).startswith("-")
        rows = rows.filter(**{f"{key}__{'lt' if descending else 'gt'}": after})
    found = list(rows[: size + 1])
    next_after = getattr(found[size - 1], key) if len(found) > size else None
    return page_of(request, found[:size], next_after)


def after_of(request: HttpRequest) -> int | None:
    """Where the page that was asked for begins; None for the first one."""
    after = request.GET.get("after", "")
    return int(after) if after.isascii() and after.isdigit() and len(after) < 19 else None


def page_of(request: HttpRequest, rows: list[Any], next_after: int | None) -> KeysetPage:
    """These rows with the addresses of the pages around them; None where they are the last."""
    query = request.GET.copy()
    query.pop("after", None)
    first_url = "" if after_of(request) is None else f"?{query.urlencode()}"
    if next_after is None:
        return KeysetPage(rows, first_url, "")
    query["after"] = str(next_after)
    return KeysetPage(rows, first_url, f"?{query.urlencode()}")
