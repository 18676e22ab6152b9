"""A workspace's relays: setting them up, and noting whether they can be reached."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from typing import Any, cast

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import (
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Value,
)
from django.db.models.functions import Least, Power
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.senders.faults import LONGEST, UNREADABLE_PASSWORD, fault_of
from apps.senders.models import Relay
from apps.senders.selectors import endpoint_of
from core import queues, secrets
from core.errors import Conflict, InvalidInput, NotAllowed
from mailkit.networks import is_public_address
from mailkit.smtp.endpoint import MAIL_PORTS, Auth, Endpoint, Security, Timeouts
from mailkit.smtp.session import Session

FAILING_AFTER = 3  # failures in a row
FIRST_REST = timedelta(seconds=30)  # doubles with each failure after it
LONGEST_REST = timedelta(minutes=15)
CHECK_TIMEOUTS = Timeouts(connect=15, banner=30, ehlo=15, starttls=15, auth=30, quit=2)
CHECK_IS_LOST_AFTER = timedelta(minutes=3)

_HEALTHY = {"failures": 0, "failing_since": None, "retry_at": None, "last_error": ""}
_UNCHECKED = {"check_asked_at": None, "checked_at": None}


def save_relay(
    *,
    workspace: Workspace,
    by: Membership,
    relay_id: int | None = None,
    host: str,
    port: int,
    security: str,
    username: str,
    password: str | None,
    name: str = "",
    auth: str = "auto",
    max_connections: int = 5,
    max_messages: int = 1000,
    max_age_seconds: int = 300,
    weight: int = 1,
    per_minute: int | None = None,
    per_hour: int | None = None,
    per_day: int | None = None,
) -> Relay:
    """Create a relay, or change the one of `relay_id`. `password` None keeps the stored one.

    A changed host, port or security forgets the stored password: it must not be sent to a
    server for which it was not given. What was known of the relay's health is forgotten too.
    Raises NotAllowed, InvalidInput; Conflict where the relay is gone.
    """
    require_owner(workspace, by)
    host = host.strip().lower()
    _check_endpoint(host, port, security, auth, username, password or "")
    _check_destination(host, port)
    if 0 in (per_minute, per_hour, per_day):
        raise InvalidInput(_("A limit is at least 1. Leave it empty where there is none."))
    with transaction.atomic():
        relay = _locked(workspace, relay_id) if relay_id else Relay(workspace=workspace)
        if (relay.host, relay.port, relay.security) != (host, port, security):
            relay.password_encrypted = b""
        if password is not None:
            relay.password_encrypted = secrets.encrypt(password)
        values: dict[str, Any] = {
            "name": name.strip(),
            "host": host,
            "port": port,
            "security": security,
            "auth": auth,
            "username": username,
            "max_connections": max_connections,
            "max_messages": max_messages,
            "max_age_seconds": max_age_seconds,
            "weight": weight,
            "per_minute": per_minute,
            "per_hour": per_hour,
            "per_day": per_day,
            "updated_at": timezone.now(),
        }
        for field, value in (values | _UNCHECKED | _HEALTHY).items():
            setattr(relay, field, value)
        try:
            relay.full_clean(exclude=_UNCHECKED.keys() | _HEALTHY.keys())
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages)) from error
        relay.save()
    return relay


def switch_relay(*, workspace: Workspace, by: Membership, relay_id: int, on: bool) -> None:
    """Use the relay or leave it alone; switched on it is taken for healthy. Raises NotAllowed."""
    require_owner(workspace, by)
    Relay.objects.filter(workspace=workspace, pk=relay_id, enabled=not on).update(
        enabled=on, updated_at=timezone.now(), **_HEALTHY
    )


def delete_relay(*, workspace: Workspace, by: Membership, relay_id: int) -> None:
    """Without the last one mail goes to the sandbox. Raises NotAllowed."""
    require_owner(workspace, by)
    Relay.objects.filter(workspace=workspace, pk=relay_id).delete()


def ask_for_check(*, workspace: Workspace, by: Membership, relay_id: int) -> None:
    """Have a worker connect and log in; the relay's `checked_at` and `last_error` will tell.

    Asking again while an answer is awaited changes nothing. Raises NotAllowed.
    """
    require_owner(workspace, by)
    _ask(Relay.objects.filter(workspace=workspace, pk=relay_id))


# Health.


def note_relay(relay_id: int | None, error: str) -> None:
    """Count a failure before MAIL FROM, or with "" that the relay took a connection and login.

    Three failures in a row make the relay a failing one: left alone for 30 seconds, which
    double with each failure after that time, up to 15 minutes. Failures noted during the rest
    come from attempts begun before it and change nothing. None stands for the sandbox.
    """
    if relay_id is None:
        return
    relay = Relay.objects.filter(pk=relay_id)
    if not error:
        relay.filter(Q(failures__gt=0) | Q(failing_since__isnull=False)).update(**_HEALTHY)
        return
    now = timezone.now()
    failure = {"failures": F("failures") + 1, "last_error": error[:LONGEST]}
    next_rest = Least(
        Value(LONGEST_REST.total_seconds()),
        FIRST_REST.total_seconds() * Power(2.0, Least(F("failures") + 1 - FAILING_AFTER, 10)),
    ) * Value(timedelta(seconds=1), output_field=DurationField())
    next_try = ExpressionWrapper(now + next_rest, output_field=DateTimeField())
    if relay.filter(retry_at__lte=now).update(retry_at=next_try, **failure):
        return
    relay.filter(failing_since=None).update(**failure)
    relay.filter(failing_since=None, failures__gte=FAILING_AFTER).update(
        failing_since=now, retry_at=now + FIRST_REST
    )


_AWAITING = Q(check_asked_at__isnull=False) & (
    Q(checked_at=None) | Q(checked_at__lt=F("check_asked_at"))
)


def ring_due_checks() -> int:
    """Have failing relays whose rest is over looked at, and those whose check was lost.

    Returns how many.
    """
    rested = Q(enabled=True, retry_at__lte=timezone.now())
    return _ask(Relay.objects.filter(rested | _AWAITING))


def check_relay(relay_id: int) -> None:
    """Connect, greet, start TLS, log in and say good-bye; note what came of it.

    Settings that were changed meanwhile are left without a verdict.
    """
    relay = Relay.objects.filter(pk=relay_id).first()
    if relay is None:
        return
    try:
        error = asyncio.run(_try(endpoint_of(relay)))
    except InvalidToken:
        error = UNREADABLE_PASSWORD
    noted = Relay.objects.filter(pk=relay_id, updated_at=relay.updated_at).update(
        checked_at=timezone.now(), last_error=error
    )
    if noted:
        note_relay(relay_id, error)


async def _try(endpoint: Endpoint) -> str:
    opened = await Session.open(endpoint, CHECK_TIMEOUTS)
    if not isinstance(opened, Session):
        return fault_of(opened)
    await opened.close()
    return ""


def _ask(relays: QuerySet[Relay]) -> int:
    """Ring for those that nobody is looking at; how many."""
    from apps.senders.tasks import check_relay as task

    now = timezone.now()
    idle = ~_AWAITING | Q(check_asked_at__lt=now - CHECK_IS_LOST_AFTER)
    asked = 0
    for relay in relays.filter(idle):
        if Relay.objects.filter(idle, pk=relay.pk).update(check_asked_at=now):
            asked += 1
            queues.ring(task, relay.pk)
    return asked


# What a relay may be.


def require_owner(workspace: Workspace, by: Membership) -> None:
    if not by.is_owner or by.workspace_id != workspace.pk:
        raise NotAllowed(_("Only an owner of the workspace can change its SMTP relays."))


def _locked(workspace: Workspace, relay_id: int) -> Relay:
    relay = Relay.objects.select_for_update().filter(workspace=workspace, pk=relay_id).first()
    if relay is None:
        raise Conflict(_("The relay was removed meanwhile."))
    return relay


def _check_endpoint(
    host: str, port: int, security: str, auth: str, username: str, password: str
) -> None:
    try:
        Endpoint(
            host=host,
            port=port,
            security=cast(Security, security),  # full_clean checks the choices
            local_hostname=settings.MAIL_HOSTNAME,
            username=username,
            password=password,
            auth=cast(Auth, auth),
        )
    except ValueError as error:
        message = _("The host, user name or password holds a character that cannot be sent.")
        raise InvalidInput(message) from error


def _check_destination(host: str, port: int) -> None:
    """Say early what every connection is checked for (Endpoint.public_only)."""
    if settings.PRIVATE_RELAYS:
        return
    if port not in MAIL_PORTS:
        raise InvalidInput(_("Use one of the mail ports 25, 465, 587 or 2525."))
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = _("The host %(host)s was not found in DNS: check its spelling.")
        raise InvalidInput(message % {"host": host}) from error
    if not all(is_public_address(str(address[4][0])) for address in found):
        raise InvalidInput(
            _("The host %(host)s is not a public address. The operator can allow private ones.")
            % {"host": host}
        )
