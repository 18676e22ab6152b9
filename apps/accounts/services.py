"""Opening accounts."""

from __future__ import annotations

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, User, Workspace
from core.errors import InvalidInput, NotAllowed
from mailkit.addresses import Fault, parse_address


def open_account(
    *, email: str, password: str, workspace_name: str, operator: bool = False
) -> Workspace:
    """A workspace with its owner, who is made where the address is new. Raises InvalidInput.

    An existing person keeps their password. An operator may use every page, the admin included.
    """
    address = parse_address(email)
    if isinstance(address, Fault):
        raise InvalidInput(_("“%(email)s” is not an email address.") % {"email": email[:100]})
    name = " ".join(workspace_name.split())
    if not name or len(name) > 100:
        raise InvalidInput(_("Give the workspace a name of at most 100 characters."))
    with transaction.atomic():
        user = User.objects.filter(email=address.email).first()
        if user is None:
            user = User.objects.create_user(
                address.email, password, is_staff=operator, is_superuser=operator
            )
        return add_workspace(owner=user, name=name)


def add_workspace(*, owner: User, name: str) -> Workspace:
    """A new workspace with one member."""
    with transaction.atomic():
        workspace = Workspace.objects.create(name=name, slug=_free_slug(name))
        Membership.objects.create(workspace=workspace, user=owner, role=Membership.Role.OWNER)
    return workspace


def change_workspace(
    *, workspace: Workspace, by: Membership, name: str, postal_address: str
) -> None:
    """Change what a workspace is called and where its owner is. Raises NotAllowed, InvalidInput."""
    if not by.is_owner or by.workspace_id != workspace.pk:
        raise NotAllowed(_("Only an owner of the workspace can change this."))
    name, postal_address = (" ".join(text.split()) for text in (name, postal_address))
    if not name or len(name) > 100:
        raise InvalidInput(_("Give the workspace a name of at most 100 characters."))
    if len(postal_address) > 300:
        raise InvalidInput(_("The postal address is too long: at most 300 characters."))
    Workspace.objects.filter(pk=workspace.pk).update(name=name, postal_address=postal_address)


def _free_slug(name: str) -> str:
    base = slugify(name)[:40] or "workspace"
    taken = set(Workspace.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    numbered = (f"{base}-{number}" for number in range(2, len(taken) + 3))
    return next(slug for slug in (base, *numbered) if slug not in taken)
