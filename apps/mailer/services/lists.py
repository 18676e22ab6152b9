"""Contact lists."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.deletion import ProtectedError
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.mailer.models import ContactList, Import, Verification
from core.errors import Conflict, InvalidInput
from mailkit.imports.rows import clean_value


def create_list(*, workspace: Workspace, name: str) -> ContactList:
    """Raises InvalidInput for an empty, overlong or taken name."""
    name = " ".join(name.split())
    if not name or len(name) > 100:
        raise InvalidInput(_("Give the list a name of at most 100 characters."))
    try:
        with transaction.atomic():
            return ContactList.objects.create(workspace=workspace, name=name)
    except IntegrityError as error:
        raise InvalidInput(
            _("There is already a list named “%(name)s”.") % {"name": name}
        ) from error


def get_or_create_list(*, workspace: Workspace, name: str) -> ContactList:
    existing = ContactList.objects.filter(workspace=workspace, name=" ".join(name.split())).first()
    return existing or create_list(workspace=workspace, name=name)


def show_to_recipients(*, contact_list: ContactList, name: str) -> None:
    """Under this name, where recipients choose their lists; an empty one hides it."""
    ContactList.objects.filter(pk=contact_list.pk).update(
        public_name=clean_value(" ".join(name.split()))[:100]
    )


def delete_list(*, contact_list: ContactList) -> None:
    """Delete the list with its imports and their files; its contacts and their checks stay.

    Raises Conflict while an import fills it.
    """
    busy = [Import.State.QUEUED, Import.State.RUNNING]
    filling = Q(list=contact_list) | Q(more_lists=contact_list)
    if Import.objects.filter(filling, state__in=busy).exists():
        raise Conflict(_("An import is filling this list: wait for it, or cancel it first."))
    files = [job.file for job in contact_list.imports.all()]
    try:
        with transaction.atomic():
            # Whoever chooses it for a campaign meanwhile waits, and finds it gone.
            ContactList.objects.select_for_update().filter(pk=contact_list.pk).first()
            Verification.objects.filter(of_import__list=contact_list).update(of_import=None)
            contact_list.delete()
    except (IntegrityError, ProtectedError) as error:
        raise Conflict(_("This list is in use.")) from error
    for file in files:
        file.delete(save=False)
