"""Setting up and removing a workspace's relay."""

from __future__ import annotations

import ipaddress
import socket
from typing import cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.senders.models import Relay
from core import secrets
from core.errors import InvalidInput, NotAllowed
from mailkit.smtp.endpoint import Endpoint, Security

MAIL_PORTS = {25, 465, 587, 2525}


def save_relay(
    *,
    workspace: Workspace,
    by: Membership,
    host: str,
    port: int,
    security: str,
    username: str,
    password: str | None,
    max_connections: int,
) -> Relay:
    """Create or change the relay. `password` None keeps the stored one.

    A changed host, port or security forgets the stored password: it must not be sent to a
    server for which it was not given. Raises NotAllowed, InvalidInput.
    """
    _require_owner(workspace, by)
    host = host.strip().lower()
    _check_endpoint(host, port, security, username, password or "")
    _check_destination(host, port)
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)
        relay = Relay.objects.filter(workspace=workspace).first() or Relay(workspace=workspace)
        if (relay.host, relay.port, relay.security) != (host, port, security):
            relay.password_encrypted = b""
        relay.host, relay.port, relay.security = host, port, security
        relay.username = username
        relay.max_connections = max_connections
        if password is not None:
            relay.password_encrypted = secrets.encrypt(password)
        relay.updated_at = timezone.now()
        try:
            relay.full_clean()
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages)) from error
        relay.save()
    return relay


def delete_relay(*, workspace: Workspace, by: Membership) -> None:
    """Back to the sandbox. Raises NotAllowed."""
    _require_owner(workspace, by)
    Relay.objects.filter(workspace=workspace).delete()


def _require_owner(workspace: Workspace, by: Membership) -> None:
    if not by.is_owner or by.workspace_id != workspace.pk:
        raise NotAllowed(_("Only an owner of the workspace can change its SMTP relay."))


def _check_endpoint(host: str, port: int, security: str, username: str, password: str) -> None:
    try:
        Endpoint(
            host=host,
            port=port,
            security=cast(Security, security),  # full_clean checks the choice
            local_hostname=settings.MAIL_HOSTNAME,
            username=username,
            password=password,
        )
    except ValueError as error:
        message = _("The host, user name or password holds a character that cannot be sent.")
        raise InvalidInput(message) from error


def _check_destination(host: str, port: int) -> None:
    """Refuse to be a way into the operator's own network (PRIVATE_RELAYS allows it)."""
    if settings.PRIVATE_RELAYS:
        return
    if port not in MAIL_PORTS:
        raise InvalidInput(_("Use one of the mail ports 25, 465, 587 or 2525."))
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = _("The host %(host)s was not found in DNS: check its spelling.")
        raise InvalidInput(message % {"host": host}) from error
    if not all(ipaddress.ip_address(address[4][0]).is_global for address in found):
        raise InvalidInput(
            _("The host %(host)s is not a public address. The operator can allow private ones.")
            % {"host": host}
        )
