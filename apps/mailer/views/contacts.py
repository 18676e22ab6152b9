"""The list of contacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.http import PAGE_SIZE, KeysetPage, WorkspaceRequest
from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.forms import BulkForm, ContactFilter
from apps.mailer.models import (
    BulkJob,
    Contact,
    ContactField,
    ListMember,
    Verdict,
)
from core.templatetags.ui import badge

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
            "rows": _rows(request, page.rows, shown),
            "columns": [offered[key] for key in shown],
            "offered": [(key, label, key in shown) for key, label in offered.items()],
            "number": shown_page.number,
            "exact": shown_page.exact,
            "sort": sort,
            "sorts": SORT_LABELS,
            "query": query.urlencode(),
            "lists": form.lists,
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


@dataclass(frozen=True, slots=True)
class Row:
    """A contact of the page; each cell is its class and what stands in it."""

    key: str
    url: str
    email: str
    name: str
    cells: list[tuple[str, Any]]


def _rows(request: WorkspaceRequest, found: Sequence[Contact], shown: Sequence[str]) -> list[Row]:
    lists: dict[int, list[str]] = {}
    if "lists" in shown:
        members = ListMember.objects.filter(contact__in=[one.pk for one in found])
        for contact_id, name in members.values_list("contact", "list__name").order_by("list__name"):
            lists.setdefault(contact_id, []).append(name)
    # Most rows have the same few: drawing them anew for each is half of the page's time.
    verdict, status, day = cache(_verdict), cache(_status), cache(_day)
    makers: dict[str, Callable[[Contact], tuple[str, Any]]] = {
        "verdict": lambda one: ("", verdict(one.verdict, one.reason)),
        "status": lambda one: ("", status(one.status)),
        "tags": lambda one: ("", _labels(one.tags)),
        "lists": lambda one: ("", _labels(lists.get(one.pk, []))),
        "domain": lambda one: ("text-anywhere", one.domain),
    }

    def cell(one: Contact, key: str) -> tuple[str, Any]:
        if make := makers.get(key):
            return make(one)
        if key.startswith("field:"):
            return "text-anywhere", one.fields.get(key.removeprefix("field:"), "")
        moment = getattr(one, key)
        return "text-secondary text-nowrap", moment and day(timezone.localdate(moment))

    base = reverse("mailer:contacts", args=[request.workspace.slug])
    return [
        Row(
            key=str(one.pk),
            url=f"{base}{one.pk}/",
            email=one.email,
            name=f"{one.first_name} {one.last_name}".strip(),
            cells=[cell(one, key) for key in shown],
        )
        for one in found
    ]


def _verdict(verdict: str, reason: str) -> SafeString:
    if not verdict:
        return format_html('<span class="text-secondary">{}</span>', gettext("Not verified yet"))
    return format_html(
        '{}<div class="text-secondary small d-none d-lg-block">{}</div>',
        badge(verdict, str(Verdict(verdict).label)),
        selectors.reason_text(reason),
    )


def _status(status: str) -> SafeString:
    return badge(status, str(Contact.Status(status).label))


def _day(day: date) -> str:
    return date_format(day, "DATE_FORMAT")


def _labels(names: Sequence[str]) -> SafeString:
    labels = ((one,) for one in names)
    return format_html_join(" ", '<span class="badge bg-secondary-lt">{}</span>', labels)
