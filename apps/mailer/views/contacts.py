"""The list of contacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.http import PAGE_SIZE, KeysetPage, WorkspaceRequest
from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.forms import BulkForm, ContactFilter
from apps.mailer.models import BulkJob, Contact, ContactField, ContactList, ListMember

# Beside the address, which always stands first. Custom fields are "field:" and their key.
COLUMNS = {
    "verdict": gettext_lazy("Verdict"),
    "status": gettext_lazy("Status"),
    "tags": gettext_lazy("Tags"),
    "lists": gettext_lazy("Lists"),
    "domain": gettext_lazy("Domain"),
    "created_at": gettext_lazy("Added"),
    "updated_at": gettext_lazy("Changed"),
    "verified_at": gettext_lazy("Checked"),
}
FIRST_COLUMNS = ["verdict", "status", "created_at"]
MOST_COLUMNS = 12
SORT_LABELS = {
    "newest": gettext_lazy("Newest first"),
    "email": gettext_lazy("By address"),
    "changed": gettext_lazy("Last changed first"),
}


@require_safe
def contacts(request: WorkspaceRequest) -> HttpResponse:
    form = ContactFilter(request.GET, workspace=request.workspace)
    chosen = form.filter()
    sort = request.GET.get("sort", "")
    sort = sort if sort in selectors.SORTS else "newest"
    found = selectors.contacts(request.workspace, **chosen)
    after = request.GET.get("after", "")
    shown_page = selectors.contact_page(
        found, sort=sort, after=after, size=PAGE_SIZE, filtered=bool(chosen)
    )
    page = _page(request, shown_page)
    offered = columns_offered(request.workspace)
    shown = columns_shown(request, offered)
    query = request.GET.copy()
    query.pop("after", None)
    return render(
        request,
        "mailer/contacts.html",
        {
            "form": form,
            "filtered": bool(chosen),
            "of_import": form.cleaned_data.get("of_import"),
            "page": page,
            "rows": _rows(page.rows, shown),
            "columns": [offered[key] for key in shown],
            "offered": [(key, label, key in shown) for key, label in offered.items()],
            "number": shown_page.number,
            "exact": shown_page.exact,
            "sort": sort,
            "sorts": SORT_LABELS,
            "query": query.urlencode(),
            "lists": ContactList.objects.filter(workspace=request.workspace).order_by("name"),
            "formats": BulkForm.base_fields["format"].choices,  # type: ignore[attr-defined]
            "actions": [one for one in BulkJob.Action.choices if one[0] in ACTIONS],
        },
    )


ACTIONS = {
    BulkJob.Action.ADD_TO_LIST, BulkJob.Action.REMOVE_FROM_LIST, BulkJob.Action.TAG,
    BulkJob.Action.UNTAG, BulkJob.Action.UNSUBSCRIBE, BulkJob.Action.DELETE,
    BulkJob.Action.EXPORT,
}  # fmt: skip


def _page(request: HttpRequest, page: selectors.ContactPage) -> KeysetPage:
    query = request.GET.copy()
    had_after = query.pop("after", None)
    first_url = f"?{query.urlencode()}" if had_after else ""
    next_url = ""
    if page.next_after:
        query["after"] = page.next_after
        next_url = f"?{query.urlencode()}"
    return KeysetPage(page.rows, first_url, next_url)


def columns_offered(workspace: Workspace) -> dict[str, Any]:
    custom = ContactField.objects.filter(workspace=workspace).order_by("label")
    fields = {f"field:{key}": label for key, label in custom.values_list("key", "label")[:200]}
    return COLUMNS | fields


def columns_shown(request: HttpRequest, offered: dict[str, Any]) -> list[str]:
    chosen = request.session.get("contact_columns", {}).get(_session_key(request), FIRST_COLUMNS)
    return [key for key in offered if key in chosen][:MOST_COLUMNS]


def _session_key(request: HttpRequest) -> str:
    return str(request.workspace.pk)  # type: ignore[attr-defined]


@require_POST
def columns(request: WorkspaceRequest) -> HttpResponse:
    """Remember the columns that a person wants to see."""
    offered = columns_offered(request.workspace)
    chosen = set(request.POST.getlist("columns"))
    remembered = request.session.get("contact_columns", {})
    remembered[_session_key(request)] = [key for key in offered if key in chosen][:MOST_COLUMNS]
    request.session["contact_columns"] = remembered
    return redirect(contacts_url(request))


def contacts_url(request: WorkspaceRequest) -> str:
    """The page of contacts with the filter that the form carries as `query`."""
    url = reverse("mailer:contacts", args=[request.workspace.slug])
    query = request.POST.get("query", "")[:2000]
    if not query or not query.isprintable():
        return url
    return f"{url}?{query}"


def _rows(found: Sequence[Contact], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Each contact with what stands in its cells: (column, value)."""
    lists: dict[int, list[str]] = {}
    if "lists" in shown:
        members = ListMember.objects.filter(contact__in=[one.pk for one in found])
        for contact_id, name in members.values_list("contact", "list__name").order_by("list__name"):
            lists.setdefault(contact_id, []).append(name)
    return [
        {
            "contact": one,
            "reason": selectors.reason_text(one.reason),
            "cells": [(key.partition(":")[0], _value(one, key, lists)) for key in shown],
        }
        for one in found
    ]


def _value(one: Contact, key: str, lists: dict[int, list[str]]) -> Any:
    if key == "lists":
        return lists.get(one.pk, [])
    if key.startswith("field:"):
        return one.fields.get(key.removeprefix("field:"), "")
    return getattr(one, key)
