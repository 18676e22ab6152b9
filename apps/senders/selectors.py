"""Where a workspace's mail goes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.senders.models import (
    DkimKey,
    Relay,
    SendingDomain,
    SendingPolicy,
    SentToday,
    WarmUp,
)
from core import secrets
from mailkit import dkim
from mailkit.smtp.endpoint import Auth, Endpoint, Security
from mailkit.warmup import Plan

SANDBOX_CONNECTIONS = 5
SANDBOX_RETURNS = "returns"


@dataclass(frozen=True, slots=True)
class Route:
    """How to hand a workspace's mail over: the endpoint, and what a process may do with it.

    `max_age` is in seconds, a connection's. `retry_at`: None for a healthy relay, else when the
    failing one may be tried again. Routes that differ in weight or health only are equal: they
    share their connections.
    """

    endpoint: Endpoint
    max_connections: int
    sandbox: bool
    relay_id: int | None = None
    max_messages: int = 1000
    max_age: float = 300.0
    weight: int = field(default=1, compare=False)
    retry_at: datetime | None = field(default=None, compare=False)


def has_relay(workspace: Workspace) -> bool:
    """Whether mail leaves the machine; without a relay it goes to the sandbox."""
    return Relay.objects.filter(workspace=workspace).exists()


def relays_of(workspace: Workspace) -> list[Relay]:
    return list(Relay.objects.filter(workspace=workspace).order_by("-enabled", "-weight", "pk"))


def routes_of(workspace: Workspace) -> list[Route]:
    """The relays in use, healthy ones first; empty where all are switched off.

    Without any relay it is the sandbox, from which nothing leaves the machine.
    """
    relays = relays_of(workspace)
    if not relays:
        return [
            Route(sandbox_endpoint(str(workspace.pk)), SANDBOX_CONNECTIONS, sandbox=True),
        ]
    in_use = [relay for relay in relays if relay.enabled]
    return [_route(relay) for relay in sorted(in_use, key=lambda relay: bool(relay.failing_since))]


def choose_route(routes: Sequence[Route], key: str) -> Route | None:
    """One of the healthy routes, by weight: the same key finds the same one while it is healthy.

    Weighted rendezvous hashing: a relay that fails or comes back moves only its own share.
    Where all fail it is one that may be tried again by now; None before that.
    """
    now = timezone.now()
    able = [route for route in routes if route.retry_at is None] or [
        route for route in routes if route.retry_at is not None and route.retry_at <= now
    ]
    return max(able, key=lambda route: _score(route, key), default=None)


def login_refused_everywhere(workspace: Workspace) -> bool:
    """Whether the last thing that each relay in use said was no to our login."""
    in_use = Relay.objects.filter(workspace=workspace, enabled=True)
    return not in_use.exclude(failures__gt=0, last_error__startswith="auth: ").exists()


def endpoint_of(relay: Relay) -> Endpoint:
    """Raises cryptography.fernet.InvalidToken where the password's key is gone."""
    return Endpoint(
        host=relay.host,
        port=relay.port,
        security=cast(Security, relay.security),
        local_hostname=settings.MAIL_HOSTNAME,
        username=relay.username,
        password=secrets.decrypt(relay.password_encrypted),
        auth=cast(Auth, relay.auth),
        public_only=not settings.PRIVATE_RELAYS,
    )


def _route(relay: Relay) -> Route:
    return Route(
        endpoint_of(relay),
        relay.max_connections,
        sandbox=False,
        relay_id=relay.pk,
        max_messages=relay.max_messages,
        max_age=float(relay.max_age_seconds),
        weight=relay.weight,
        retry_at=relay.retry_at,
    )


def _score(route: Route, key: str) -> float:
    digest = hashlib.blake2b(f"{route.relay_id}:{key}".encode(), digest_size=8).digest()
    unit = ((int.from_bytes(digest) >> 12) + 0.5) / 2**52  # between 0 and 1, neither of them
    return -route.weight / math.log(unit)


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


def with_parents(domain: str) -> list[str]:
    """A domain and all above it, the nearest first."""
    labels = domain.lower().split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def domains(workspace: Workspace) -> QuerySet[SendingDomain]:
    """By name, with their keys."""
    rows = SendingDomain.objects.filter(workspace=workspace).order_by("name")
    return rows.prefetch_related(Prefetch("keys", DkimKey.objects.order_by("-algorithm", "pk")))


def signing_keys(workspace: Workspace, from_email: str) -> tuple[dkim.DkimKey, ...]:
    """The keys in use of the From address's domain, else of its nearest parent that has some.

    Empty where the workspace has none. Raises cryptography.fernet.InvalidToken for a key that
    was encrypted with another secret.
    """
    keys = (
        DkimKey.objects.filter(
            domain__workspace=workspace,
            domain__name__in=with_parents(from_email.rpartition("@")[2]),
            active=True,
            retired_at=None,
        )
        .select_related("domain")
        .order_by("-algorithm", "pk")
    )
    nearest = max((len(key.domain.name) for key in keys), default=0)
    return tuple(
        dkim.DkimKey(
            domain=key.domain.name,
            selector=key.selector,
            algorithm=cast(dkim.Algorithm, key.algorithm),
            private_key=secrets.decrypt(key.private_key_encrypted),
        )
        for key in keys
        if len(key.domain.name) == nearest
    )


async def published_keys(name: str) -> list[str]:
    """What the sandbox's DNS has under the name of a key: the records of its domains are
    published there by themselves."""
    selector, _dot, domain = name.partition("._domainkey.")
    await sync_to_async(close_old_connections)()  # the server outlives a restart of the database
    keys = DkimKey.objects.filter(selector=selector, domain__name=domain)
    return [record async for record in keys.values_list("record", flat=True)]


def return_path_domain(workspace: Workspace, from_email: str) -> str:
    """Where reports about letters from this address go; "" is the address itself.

    A domain's own, else INBOUND_DOMAIN; while the sandbox delivers, a name in it.
    """
    names = with_parents(from_email.rpartition("@")[2])
    own = SendingDomain.objects.filter(workspace=workspace, name__in=names).exclude(return_path="")
    nearest = max(own.values_list("name", "return_path"), key=lambda row: len(row[0]), default=None)
    if nearest:
        return nearest[1]
    if settings.INBOUND_DOMAIN or has_relay(workspace):
        return str(settings.INBOUND_DOMAIN)
    return f"{SANDBOX_RETURNS}.{settings.SANDBOX_DOMAIN}"


def policy_of(workspace: Workspace) -> SendingPolicy:
    """How the workspace sends; a row with the defaults, not saved, where it has none."""
    found = SendingPolicy.objects.filter(workspace=workspace).first()
    return found or SendingPolicy(workspace=workspace)


def warm_ups(workspace: Workspace) -> QuerySet[WarmUp]:
    """The plans by domain, the one for each provider first."""
    found = WarmUp.objects.filter(domain__workspace=workspace)
    return found.select_related("domain").order_by("domain__name", "provider")


def plan_of_row(row: WarmUp) -> Plan:
    return Plan(row.start, row.growth_percent, row.ceiling, row.started_on)


def sent_on(domain: SendingDomain, day: date) -> dict[str, int]:
    """Messages that count against the domain's warm-up on a day (UTC), by provider."""
    found = SentToday.objects.filter(domain=domain, day=day)
    return dict(found.values_list("provider", "number"))
