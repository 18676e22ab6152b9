"""Reads of contacts, lists and suppression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import (
    BigIntegerField,
    BooleanField,
    DateTimeField,
    Func,
    IntegerField,
    Q,
    QuerySet,
    TextField,
)
from django.db.models.expressions import RawSQL

from apps.accounts.models import Workspace
from apps.mailer.models import (
    Contact,
    ContactList,
    DomainFact,
    SearchText,
    Suppression,
)
from mailkit import providers

# Beyond this many, counting costs more than the figure is worth. So many are sorted by their keys.
COUNTED = 10_000
# Up to so many, as the planner expects, are all fetched and sorted. Of more, those of the first
# page are soon met along an index of the order; the newest are so in any case, as rows lie by key.
SORTED_AT_MOST = 50_000
# How contacts may be sorted: the columns of an index of the workspace's contacts.
SORTS = {
    "newest": ("-id",),
    "email": ("email",),
    "changed": ("-updated_at", "-id"),
}
# The same orders in a form that no index serves.
_SORTED: dict[str, tuple[Any, ...]] = {
    "newest": (
        Func("id", template="(%(expressions)s + 0)", output_field=BigIntegerField()).desc(),
    ),
    "email": (Func("email", template="(%(expressions)s || '')", output_field=TextField()),),
    "changed": (
        Func(
            "updated_at",
            template="(%(expressions)s + interval '0')",
            output_field=DateTimeField(),
        ).desc(),
        "-id",
    ),
}
# Shorter words have no trigram of their own but at the beginning of a word.
_TRIGRAM = 3


@dataclass(frozen=True, slots=True)
class ContactPage:
    """`next_after` continues where the rows end; empty on the last page.

    `number` of contacts match in all, or more where it is not `exact`; 0 where nobody asked.
    """

    rows: list[Contact]
    next_after: str
    number: int
    exact: bool


def lists_with_counts(workspace: Workspace) -> QuerySet[ContactList]:
    """The workspace's lists by name, each with `members`, which is counted to COUNTED + 1."""
    members = RawSQL(
        "(SELECT count(*) FROM (SELECT 1 FROM mailer_listmember member"
        " WHERE member.list_id = mailer_contactlist.id LIMIT %s) AS found)",
        [COUNTED + 1],
        output_field=IntegerField(),
    )
    return (
        ContactList.objects.filter(workspace=workspace).annotate(members=members).order_by("name")
    )


def contacts(
    workspace: Workspace,
    *,
    search: str = "",
    list_id: int | None = None,
    tag: str = "",
    verdict: str = "",
    reason: str = "",
    status: str = "",
    provider: str = "",
    domain: str = "",
    import_id: int | None = None,
    ids: Sequence[int] | None = None,
) -> QuerySet[Contact]:
    """Contacts, newest first. `verdict` "none" takes those not verified yet.

    Each word of `search` is part of the address or of a name; one of less than three characters
    begins a word of them.
    """
    found = Contact.objects.filter(workspace=workspace)
    for word in search.lower().split():
        found = found.alias(text=SearchText())
        if len(word) < _TRIGRAM:
            found = found.filter(Q(text__startswith=word) | Q(text__contains=f" {word}"))
        else:
            found = found.filter(text__contains=word)
    if list_id is not None:
        found = found.filter(memberships__list=list_id)
    if tag:
        found = found.filter(tags__contains=[tag])
    if verdict:
        found = found.filter(verdict="" if verdict == "none" else verdict)
    if reason:
        found = found.filter(reason=reason)
    if status:
        found = found.filter(status=status)
    if provider:
        found = _of_provider(found, provider)
    if domain:
        found = found.filter(domain=domain.lower().lstrip("@"))
    if import_id is not None:
        found = found.filter(importedcontact__of_import=import_id)
    if ids is not None:
        found = found.filter(pk__in=ids)
    return found.order_by("-id")


def _of_provider(found: QuerySet[Contact], provider: str) -> QuerySet[Contact]:
    """By the provider's own domains and those that DNS leads to it.

    As a list and not as a join: the planner would not know how many contacts these have.
    """
    facts = DomainFact.objects.filter(sandbox=False)
    if provider == providers.OTHER:
        own = [domain for one in providers.PROVIDERS.values() for domain in one.domains]
        hosted = facts.exclude(provider__in=["", providers.OTHER]).values_list("domain", flat=True)
        return found.exclude(domain__in=[*own, *hosted])
    known = providers.PROVIDERS.get(provider)
    theirs = facts.filter(provider=provider).values_list("domain", flat=True)
    return found.filter(domain__in=[*(known.domains if known else ()), *theirs])


def contact_page(
    found: QuerySet[Contact],
    *,
    sort: str = "newest",
    after: str = "",
    size: int = 50,
    filtered: bool = True,
) -> ContactPage:
    """The rows behind `after`, the `next_after` of the page before; nonsense is ignored.

    Everybody, not `filtered`, is neither counted nor sorted.
    """
    if sort not in SORTS:
        sort = "newest"
    order = SORTS[sort]
    number, exact = 0, False
    if filtered:
        keys = list(found.order_by().values_list("pk", flat=True)[: COUNTED + 1])
        number, exact = min(len(keys), COUNTED), len(keys) <= COUNTED
        # The planner, taking them for evenly spread, would look for these among everybody.
        if exact:
            found, order = Contact.objects.filter(_one_of(keys)), _SORTED[sort]
        elif sort != "newest" and _expected(found) <= SORTED_AT_MOST:
            order = _SORTED[sort]
    rows = list(_behind(found.order_by(*order), sort, after).defer("evidence")[: size + 1])
    next_after = _cursor(rows[size - 1], sort) if len(rows) > size else ""
    return ContactPage(rows[:size], next_after, number, exact)


def _one_of(keys: list[int]) -> RawSQL:
    """As one parameter: ten thousand of them take the ORM longer than the database."""
    return RawSQL("mailer_contact.id = ANY(%s)", [keys], output_field=BooleanField())


def _cursor(row: Contact, sort: str) -> str:
    if sort == "email":
        return row.email
    if sort == "changed":
        return f"{row.updated_at.astimezone(UTC).isoformat()}/{row.pk}"
    return str(row.pk)


def _behind(found: QuerySet[Contact], sort: str, after: str) -> QuerySet[Contact]:
    if not after or "\0" in after:
        return found
    if sort == "email":
        return found.filter(email__gt=after)
    moment, _slash, number = after.rpartition("/")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return found
    if sort == "newest":
        return found if moment else found.filter(pk__lt=int(number))
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return found
    if at.tzinfo is None:
        return found
    # The first condition is one that an index can begin at.
    return found.filter(updated_at__lte=at).filter(Q(updated_at__lt=at) | Q(pk__lt=int(number)))


def number_of(found: QuerySet[Any]) -> tuple[int, bool]:
    """How many rows, and whether that is exact: beyond 10,000 it is what the planner expects."""
    counted = found.order_by()[: COUNTED + 1].count()
    return (counted, True) if counted <= COUNTED else (_expected(found), False)


def _expected(found: QuerySet[Any]) -> int:
    plan = json.loads(found.order_by().explain(format="json"))
    return max(COUNTED, int(plan[0]["Plan"]["Plan Rows"]))


def suppressions(workspace: Workspace, *, search: str = "") -> QuerySet[Suppression]:
    """The suppression list by address. A search finds no erased person."""
    found = Suppression.objects.filter(workspace=workspace)
    for word in search.lower().split():
        found = found.filter(email__contains=word)
    if search:
        found = found.exclude(reason=Suppression.Reason.ERASED)
    return found.order_by("email")


def suppression_of(contact: Contact) -> Suppression | None:
    """The entry that keeps a contact from being mailed: of its address, else of its domain."""
    return (
        Suppression.objects.filter(
            workspace=contact.workspace_id,
            email__in=[contact.email, f"@{contact.email.rpartition('@')[2]}"],
        )
        .order_by("-email")
        .first()
    )
