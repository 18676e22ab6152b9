"""Where a workspace's mail goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from django.conf import settings

from apps.accounts.models import Workspace
from apps.senders.models import Relay
from core import secrets
from mailkit.smtp.endpoint import Endpoint, Security

SANDBOX_CONNECTIONS = 5


@dataclass(frozen=True, slots=True)
class Route:
    """How to hand a workspace's mail over: the endpoint and how many connections a process."""

    endpoint: Endpoint
    max_connections: int
    sandbox: bool


def relay_of(workspace: Workspace) -> Relay | None:
    return Relay.objects.filter(workspace=workspace).first()


def route_of(workspace: Workspace) -> Route:
    """The workspace's relay; without one the sandbox, from which nothing leaves the machine."""
    relay = relay_of(workspace)
    if relay is None:
        return Route(sandbox_endpoint(str(workspace.pk)), SANDBOX_CONNECTIONS, sandbox=True)
    endpoint = Endpoint(
        host=relay.host,
        port=relay.port,
        security=cast(Security, relay.security),
        local_hostname=settings.MAIL_HOSTNAME,
        username=relay.username,
        password=secrets.decrypt(relay.password_encrypted),
    )
    return Route(endpoint, relay.max_connections, sandbox=False)


def sandbox_endpoint(inbox: str = "") -> Endpoint:
    """The sandbox's SMTP server; mail sent with an inbox's credentials shows in that inbox."""
    return Endpoint(
        host="127.0.0.1",
        port=settings.SANDBOX_SMTP_PORT,
        security="none",
        local_hostname=settings.MAIL_HOSTNAME,
        username=inbox,
        password=sandbox_password(inbox) if inbox else "",
    )


def sandbox_password(inbox: str) -> str:
    return secrets.keyed_hash("sandbox", inbox)
