"""The list of addresses that are never mailed."""

from __future__ import annotations

from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.mailer.models import Suppression
from core.errors import InvalidInput
from mailkit.addresses import Fault, parse_address


def suppress(*, workspace: Workspace, email: str, reason: str, source: str) -> Suppression:
    """Add an address; one that is there keeps its first reason. Raises InvalidInput."""
    address = parse_address(email)
    if isinstance(address, Fault):
        raise InvalidInput(_("“%(email)s” is not an email address.") % {"email": email[:100]})
    entry, _created = Suppression.objects.get_or_create(
        workspace=workspace,
        email=address.email,
        defaults={"reason": reason, "source": source[:200]},
    )
    return entry


def remove(*, suppression: Suppression) -> None:
    """Allow mail to the address again, as far as its contact is subscribed."""
    suppression.delete()
