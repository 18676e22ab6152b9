"""Mailboxes elsewhere: what came into them is stored here, then deleted there."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.returns.models import InboundMessage, Mailbox
from apps.returns.services import receiving
from apps.returns.services.notices import require_owner
from core import queues, secrets
from core.errors import Conflict, InvalidInput
from mailkit.mailbox import Access, MailboxError, open_mailbox
from mailkit.networks import is_public_address

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=2)
LEASE = timedelta(minutes=5)  # longer than the task may take
AT_ONCE = 200
MAIL_PORTS = frozenset({143, 993, 110, 995})
UNREADABLE = "The saved password cannot be read any more. Enter it again."


def ring_due() -> int:
    """Ring for the mailboxes that are to be emptied now; how many."""
    from apps.returns.tasks import empty_mailbox

    due = Mailbox.objects.filter(enabled=True, next_poll_at__lte=timezone.now())
    ids = list(due.values_list("pk", flat=True)[:100])
    for mailbox_id in ids:
        queues.ring(empty_mailbox, mailbox_id)
    return len(ids)


def empty(mailbox_id: int) -> int:
    """Store what is in a mailbox that is due, then delete it there; how many were new.

    A worker that dies in between leaves both: what is fetched again is known by its octets.
    """
    now = timezone.now()
    due = Mailbox.objects.filter(pk=mailbox_id, enabled=True, next_poll_at__lte=now)
    if not due.update(next_poll_at=now + LEASE):
        return 0
    mailbox = Mailbox.objects.select_related("workspace").get(pk=mailbox_id)
    new, error = 0, ""
    try:
        with open_mailbox(_access(mailbox)) as box:
            for name, data in box.messages(AT_ONCE):
                stored = receiving.store(source=InboundMessage.MAILBOX, data=data, mailbox=mailbox)
                new += stored is not None
                box.delete(name)
    except (MailboxError, OSError, UnicodeError) as fault:  # the last of a host that is no name
        error = str(fault)
    except InvalidToken:
        error = UNREADABLE
    finished = timezone.now()
    Mailbox.objects.filter(pk=mailbox_id).update(
        polled_at=finished,
        next_poll_at=finished if new == AT_ONCE and not error else finished + EVERY,
        last_error=error[:500],
        fetched=F("fetched") + new,
    )
    return new


def _access(mailbox: Mailbox) -> Access:
    return Access(
        mailbox.protocol,
        mailbox.host,
        _resolved(mailbox.host),
        mailbox.port,
        mailbox.security,
        mailbox.username,
        secrets.decrypt(mailbox.password_encrypted),
    )


def _resolved(host: str) -> str:
    """The address to connect to: what was checked is what is used. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not settings.PRIVATE_RELAYS and not all(map(is_public_address, addresses)):
        raise OSError(f"{host} is not a public address")
    return addresses[0]


def save_mailbox(
    *,
    workspace: Workspace,
    by: Membership,
    mailbox_id: int | None = None,
    protocol: str,
    host: str,
    port: int,
    security: str,
    username: str,
    password: str | None,
    enabled: bool = True,
) -> Mailbox:
    """Create a mailbox or change one; `password` None keeps the stored one.

    A changed host, port or security forgets the password: it was given for another server.
    Raises NotAllowed, InvalidInput; Conflict where the mailbox is gone.
    """
    require_owner(workspace, by)
    host = host.strip().lower()
    if not settings.PRIVATE_RELAYS:
        if port not in MAIL_PORTS:
            raise InvalidInput(_("Use one of the ports 993, 143, 995 or 110."))
        try:
            _resolved(host)
        except (OSError, UnicodeError) as error:
            message = _("The host %(host)s was not found, or it is not a public one.")
            raise InvalidInput(message % {"host": host}) from error
    if any(character in username + (password or "") for character in "\r\n\0"):
        raise InvalidInput(_("The user name or password holds a character that cannot be sent."))
    with transaction.atomic():
        mailbox = _locked(workspace, mailbox_id) if mailbox_id else Mailbox(workspace=workspace)
        if (mailbox.host, mailbox.port, mailbox.security) != (host, port, security):
            mailbox.password_encrypted = b""
        if password is not None:
            mailbox.password_encrypted = secrets.encrypt(password)
        if not mailbox.password_encrypted:
            raise InvalidInput(_("Enter the password of the mailbox."))
        mailbox.protocol, mailbox.host, mailbox.port = protocol, host, port
        mailbox.security, mailbox.username, mailbox.enabled = security, username, enabled
        mailbox.next_poll_at, mailbox.last_error = timezone.now(), ""
        try:
            mailbox.full_clean(exclude=["password_encrypted", "polled_at"])
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages)) from error
        mailbox.save()
        transaction.on_commit(lambda: _ring(mailbox.pk))
    return mailbox


def delete_mailbox(*, workspace: Workspace, by: Membership, mailbox_id: int) -> None:
    """What was fetched stays. Raises NotAllowed."""
    require_owner(workspace, by)
    Mailbox.objects.filter(workspace=workspace, pk=mailbox_id).delete()


def _ring(mailbox_id: int) -> None:
    from apps.returns.tasks import empty_mailbox

    queues.ring(empty_mailbox, mailbox_id)


def _locked(workspace: Workspace, mailbox_id: int) -> Mailbox:
    mailbox = Mailbox.objects.select_for_update().filter(workspace=workspace, pk=mailbox_id).first()
    if mailbox is None:
        raise Conflict(_("The mailbox was removed meanwhile."))
    return mailbox
