"""One contact: its subscription, its fields, its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.mailer.models import (
    Contact,
    ContactEdit,
    ContactList,
    LeavingReason,
    ListMember,
    Suppression,
)
from apps.mailer.services import suppression
from core.errors import Conflict
from mailkit.imports.rows import clean_value


def unsubscribe(*, contact: Contact, source: str) -> bool:
    """Take the contact off every mailing, at once and for good; works twice.

    Whether the contact was subscribed until now.
    """
    with transaction.atomic():
        suppression.suppress(
            workspace=contact.workspace,
            email=contact.email,
            reason=Suppression.Reason.UNSUBSCRIBED,
            source=source,
        )
        subscribed = Contact.objects.filter(pk=contact.pk, status=Contact.Status.SUBSCRIBED)
        return bool(
            subscribed.update(status=Contact.Status.UNSUBSCRIBED, updated_at=timezone.now())
        )


def mark_bounced(workspace: Workspace, contact_ids: Sequence[int]) -> int:
    """Mail no more to mailboxes that do not exist, as a server has said; how many these are."""
    return Contact.objects.filter(
        workspace=workspace, pk__in=contact_ids, status=Contact.Status.SUBSCRIBED
    ).update(status=Contact.Status.BOUNCED, updated_at=timezone.now())


def mark_complained(*, contact: Contact, source: str) -> bool:
    """Mail no more to somebody who calls it spam, whatever list the address is on; works twice.

    Whether the contact had not complained before.
    """
    with transaction.atomic():
        suppression.suppress(
            workspace=contact.workspace,
            email=contact.email,
            reason=Suppression.Reason.COMPLAINED,
            source=source,
        )
        others = Contact.objects.filter(pk=contact.pk).exclude(status=Contact.Status.COMPLAINED)
        return bool(others.update(status=Contact.Status.COMPLAINED, updated_at=timezone.now()))


def resubscribe(*, contact: Contact, by: User | None = None) -> None:
    """Undo an unsubscription. A bounced or complained contact stays as it is."""
    with transaction.atomic():
        Suppression.objects.filter(
            workspace=contact.workspace_id,
            email=contact.email,
            reason=Suppression.Reason.UNSUBSCRIBED,
        ).delete()
        changed = Contact.objects.filter(pk=contact.pk, status=Contact.Status.UNSUBSCRIBED).update(
            status=Contact.Status.SUBSCRIBED, updated_at=timezone.now()
        )
        if changed:
            ContactEdit.objects.create(
                contact=contact,
                created_by=by,
                changes={"status": [Contact.Status.UNSUBSCRIBED, Contact.Status.SUBSCRIBED]},
            )


def choose_lists(
    *, contact: Contact, shown: Iterable[ContactList], wanted: Iterable[ContactList]
) -> list[int]:
    """Make the contact a member of the wanted ones among the lists shown; which lists it left."""
    shown_ids = {one.pk for one in shown}
    wanted_ids = {one.pk for one in wanted} & shown_ids
    with transaction.atomic():
        current = Contact.objects.select_for_update().get(pk=contact.pk)
        before = set(current.lists.values_list("pk", flat=True))
        left = (before & shown_ids) - wanted_ids
        after = (before - left) | wanted_ids
        changes = _set_lists(
            current, list(ContactList.objects.filter(workspace=contact.workspace_id, pk__in=after))
        )
        if changes:
            Contact.objects.filter(pk=contact.pk).update(updated_at=timezone.now())
            ContactEdit.objects.create(contact=current, created_by=None, changes=changes)
    return sorted(left)


def write_at_most(*, contact: Contact, every_days: int | None) -> bool:
    """At most one letter in so many days, counted from now; None for all. Whether it is new."""
    now = timezone.now()
    with transaction.atomic():
        current = Contact.objects.select_for_update().get(pk=contact.pk)
        if current.every_days == every_days:
            return False
        Contact.objects.filter(pk=contact.pk).update(
            every_days=every_days,
            quiet_until=now + timedelta(days=every_days) if every_days else None,
            quiet_campaign=None,
            updated_at=now,
        )
        before, after = (str(days or "") for days in (current.every_days, every_days))
        ContactEdit.objects.create(contact=current, changes={"every_days": [before, after]})
    return True


def give_reason(*, contact: Contact, campaign_id: int, reason: str, comment: str) -> None:
    """Note why the person leaves; a second answer to the same letter replaces the first."""
    LeavingReason.objects.update_or_create(
        contact=contact,
        campaign_id=campaign_id,
        defaults={
            "workspace_id": contact.workspace_id,
            "reason": reason,
            "comment": clean_value(comment)[: LeavingReason.LONGEST_COMMENT],
            "created_at": timezone.now(),
        },
    )


def edit_contact(
    *,
    contact: Contact,
    by: User,
    seen: datetime,
    first_name: str,
    last_name: str,
    tags: Sequence[str],
    fields: Mapping[str, str],
    lists: Iterable[ContactList],
) -> bool:
    """Write what a person changed, and note it; whether there was anything.

    `fields` are custom keys, "" for no value; keys that are not named stay. Raises Conflict where
    somebody else has changed the contact since it was `seen`.
    """
    kept = {**contact.fields, **fields}
    after = {
        "first_name": clean_value(first_name),
        "last_name": clean_value(last_name),
        "tags": list(tags),
        "fields": {key: value for key, value in kept.items() if value != ""},
    }
    with transaction.atomic():
        current = Contact.objects.select_for_update().filter(pk=contact.pk, updated_at=seen).first()
        if current is None:
            raise Conflict(
                _("Somebody else has changed this contact meanwhile: look again and repeat.")
            )
        changes = _changes(current, after) | _set_lists(current, list(lists))
        if not changes:
            return False
        Contact.objects.filter(pk=current.pk).update(**after, updated_at=timezone.now())
        ContactEdit.objects.create(contact=current, created_by=by, changes=changes)
    return True


def _changes(before: Contact, after: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in ("first_name", "last_name"):
        if getattr(before, name) != after[name]:
            found[name] = [getattr(before, name), after[name]]
    if before.tags != after["tags"]:
        found["tags"] = [", ".join(before.tags), ", ".join(after["tags"])]
    for key in {**before.fields, **after["fields"]}:
        values = [str(before.fields.get(key, "")), str(after["fields"].get(key, ""))]
        if values[0] != values[1]:
            found[key] = values
    return found


def _set_lists(contact: Contact, chosen: list[ContactList]) -> dict[str, list[str]]:
    """Make the contact a member of these lists and no others."""
    before = {one.pk: one.name for one in contact.lists.all()}
    after = {one.pk: one.name for one in chosen}
    if before.keys() == after.keys():
        return {}
    ListMember.objects.filter(contact=contact, list__in=before.keys() - after.keys()).delete()
    ListMember.objects.bulk_create(
        [ListMember(list_id=pk, contact=contact) for pk in after.keys() - before.keys()],
        ignore_conflicts=True,
    )
    return {"lists": [", ".join(sorted(before.values())), ", ".join(sorted(after.values()))]}
