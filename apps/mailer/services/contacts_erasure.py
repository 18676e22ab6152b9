"""Everything that is kept about one person: to hand out, and to forget."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from apps.mailer import people, selectors
from apps.mailer.models import BulkJob, Contact, Import, RejectedRow, Suppression
from apps.mailer.selectors.consent import consents_of
from apps.mailer.services import bulk, imports, signup_forms
from core.secrets import keyed_hash

# Stands in place of the address in rows that are kept for their numbers.
ERASED = "erased"


def personal_data(*, contact: Contact) -> dict[str, Any]:
    """All that the workspace keeps about the person, as JSON takes it."""
    entry = selectors.suppression_of(contact)
    return {
        "email": contact.email,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "fields": contact.fields,
        "tags": contact.tags,
        "lists": list(contact.lists.order_by("name").values_list("name", flat=True)),
        "status": contact.status,
        "at_most_every_days": contact.every_days,
        "created_at": contact.created_at.isoformat(),
        "updated_at": contact.updated_at.isoformat(),
        "verification": {
            "verdict": contact.verdict,
            "reason": contact.reason,
            "evidence": contact.evidence,
            "verified_at": contact.verified_at.isoformat() if contact.verified_at else None,
        },
        "suppression": entry and {
            "entry": entry.email,
            "reason": entry.reason,
            "source": entry.source,
            "created_at": entry.created_at.isoformat(),
        },
        "consents": [
            {
                "at": one.confirmed_at.isoformat() if one.confirmed_at else None,
                "form": one.form_name,
                "wording": one.consent,
                "asked_at": one.created_at.isoformat(),
                "asked_from": one.address,
                "confirmed_from": one.confirmed_address,
                "values": one.values,
            }
            for one in consents_of(contact)
        ],
        "history": [
            {"at": one.at.isoformat(), "kind": one.kind, "what": one.title, **one.data}
            for one in selectors.whole_timeline(contact)
        ],
    }  # fmt: skip


def erased_key(email: str) -> str:
    """How the suppression list knows somebody whose data were erased."""
    return "#" + keyed_hash("erased", email)


def erase(*, contact: Contact) -> None:
    """Forget the person: all that stays is a keyed hash by which a later import knows them.

    Files of ended exports and imports of the workspace are removed, since the person may be in
    them; exports in motion begin again.
    """
    workspace, email = contact.workspace, contact.email
    with transaction.atomic():
        Suppression.objects.get_or_create(
            workspace=workspace,
            email=erased_key(email),
            defaults={"reason": Suppression.Reason.ERASED},
        )
        Suppression.objects.filter(workspace=workspace, email=email).delete()
        for eraser in people.erasers:
            eraser(contact)
        signup_forms.forget_person(contact)
        # A rejected cell may hold more than the address, and the row more of the person.
        rejected = RejectedRow.objects.filter(of_import__workspace=workspace)
        rejected.alias(row=Cast("cells", TextField())).filter(
            Q(email__icontains=email) | Q(row__icontains=email)
        ).update(email=ERASED, cells=[])
        BulkJob.objects.filter(workspace=workspace, filter__search__icontains=email).update(
            filter={"search": ERASED}
        )
        contact.delete()
        bulk.begin_exports_again(workspace)
    for upload in Import.objects.filter(workspace=workspace, state__in=imports.ENDED):
        imports.forget_file(upload)
    for job in BulkJob.objects.filter(workspace=workspace, expires_at__isnull=False).exclude(
        action=BulkJob.Action.SUPPRESS
    ):
        bulk.remove_file(job)
