"""Sign-up forms as a workspace makes them; what the public does with them is apps.tracking's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.mailer.models import Contact, ContactList, Signup, SignupForm
from core.errors import Conflict


@dataclass(frozen=True, slots=True)
class Content:
    """What a person writes into a form's page, cleaned."""

    name: str
    title: str
    intro: str
    consent: str
    thanks: str
    fields: Sequence[str]
    lists: Sequence[ContactList]
    from_name: str
    from_email: str
    language: str

    def columns(self) -> dict[str, object]:
        return {
            name: getattr(self, name)
            for name in (
                *("name", "title", "intro", "consent", "thanks", "fields"),
                *("from_name", "from_email", "language"),
            )
        }


def create_form(*, workspace: Workspace, by: User, content: Content) -> SignupForm:
    with transaction.atomic():
        form = SignupForm.objects.create(workspace=workspace, created_by=by, **content.columns())
        form.lists.set(content.lists)
    return form


def update_form(*, form: SignupForm, seen: datetime, content: Content) -> None:
    """Raises Conflict where somebody else has changed the form since it was `seen`.

    Consents given before keep the wording that they were given to.
    """
    with transaction.atomic():
        changed = SignupForm.objects.filter(pk=form.pk, updated_at=seen).update(
            **content.columns(), updated_at=timezone.now()
        )
        if not changed:
            raise Conflict(
                _("Somebody else has changed this form meanwhile: look again and repeat.")
            )
        form.lists.set(content.lists)


def delete_form(*, form: SignupForm) -> None:
    """Its page and its unanswered letters stop working; consents stay."""
    form.delete()


def forget_person(contact: Contact) -> None:
    """All sign-ups of somebody whose data are erased."""
    Signup.objects.filter(workspace=contact.workspace_id, email=contact.email).delete()
