"""What the DNS says of letters from a domain: asked by workers, never by a page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from django.conf import settings

from apps.accounts.models import Workspace
from apps.senders.models import DkimKey, Relay
from apps.senders.selectors import has_relay, return_path_domain, with_parents
from mailkit.authentication import Authentication, Key, Sender, check_sender
from mailkit.verify.dns import make_resolver

_SANDBOX = "127.0.0.1"


def look_up(
    workspace: Workspace, domain: str, keys: Iterable[DkimKey] | None = None
) -> Authentication:
    """Ask the DNS about SPF, DKIM and DMARC of letters whose From is of `domain`.

    keys: those to look for, which sign once they are found; by default those that sign such
    letters now, or wait. As in verification, the names of the sandbox exist for a workspace
    without a relay.
    """
    sandbox = not has_relay(workspace)
    nameservers = [(_SANDBOX, settings.SANDBOX_DNS_PORT)] if sandbox else None
    resolver = make_resolver(nameservers, timeout=2, lifetime=8)
    return asyncio.run(check_sender(sender_of(workspace, domain, keys), resolver))


def sender_of(workspace: Workspace, domain: str, keys: Iterable[DkimKey] | None = None) -> Sender:
    """`keys` as above. A domain that is no sandbox name has no sandbox return path: no letter
    leaves that way."""
    domain = domain.lower()
    hosts = Relay.objects.filter(workspace=workspace, enabled=True).values_list("host", flat=True)
    envelope = return_path_domain(workspace, f"postmaster@{domain}") or domain
    if is_of_sandbox(envelope) and not is_of_sandbox(domain):
        envelope = domain
    return Sender(
        domain=domain,
        envelope=envelope,
        hosts=tuple(sorted({*hosts})) or ((_SANDBOX,) if is_of_sandbox(domain) else ()),
        keys=tuple(
            Key(key.domain.name, key.selector, key.algorithm, key.record, key.active)
            for key in (_keys_of(workspace, domain) if keys is None else keys)
        ),
        starting=keys is not None,
    )


def is_of_sandbox(domain: str) -> bool:
    return settings.SANDBOX_DOMAIN in with_parents(domain)


def _keys_of(workspace: Workspace, domain: str) -> list[DkimKey]:
    """Of the nearest domain with a key that signs, else of the nearest one with keys."""
    keys = DkimKey.objects.filter(
        domain__workspace=workspace, domain__name__in=with_parents(domain), retired_at=None
    )
    rows = list(keys.select_related("domain").order_by("-algorithm", "pk"))
    signing = [key for key in rows if key.active] or rows
    nearest = max((len(key.domain.name) for key in signing), default=0)
    return [key for key in rows if len(key.domain.name) == nearest]
