"""What is known of domains: asked once, kept until it expires, shared by all workspaces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Collate
from django.utils import timezone
from dns.asyncresolver import Resolver

from apps.mailer.models import DomainFact
from apps.mailer.services import arrays
from mailkit.providers import provider_of
from mailkit.verify.dns import DomainFacts, DomainStatus, make_resolver
from mailkit.verify.dns_bulk import lookup_domains

_FACTS_LAST = {
    "mx": timedelta(hours=24),
    "implicit_mx": timedelta(hours=24),
    "null_mx": timedelta(hours=24),
    "bad_mx": timedelta(hours=1),
    "no_mx": timedelta(hours=1),
    "nxdomain": timedelta(hours=1),
    "servfail": timedelta(minutes=2),
    "timeout": timedelta(minutes=2),
}
_CATCH_ALL_LASTS = timedelta(days=7)
_BEING_ASKED = "asking"
_ASKING_LASTS = timedelta(seconds=75)


@dataclass(frozen=True, slots=True)
class Known:
    """catch_all: what its server does with a made-up address; None where that is not known."""

    facts: DomainFacts
    provider: str
    catch_all: bool | None


def known_domains(
    domains: Sequence[str], sandbox: bool, runner: asyncio.Runner
) -> dict[str, Known]:
    """Facts of the domains, asking DNS only about those that nobody knows or is asking about.

    A domain that another worker is asking about is left out.
    """
    ours = _reserve(domains, sandbox)
    known = _known_to_all([domain for domain in domains if domain not in ours], sandbox)
    if ours:
        for facts in runner.run(lookup_domains(list(ours), resolver_for(sandbox))):
            provider = provider_of(facts.domain, facts.hosts)
            known[facts.domain] = Known(facts, provider, ours[facts.domain])
        _keep([known[domain] for domain in ours], sandbox)
    return known


def keep_catch_all(found: Mapping[str, bool], sandbox: bool) -> None:
    """Remember what servers did with made-up addresses."""
    if not found:
        return
    until = timezone.now() + _CATCH_ALL_LASTS
    rows = DomainFact.objects.filter(domain__in=found, sandbox=sandbox)
    with transaction.atomic():
        # In the order of _reserve, which is Python's, or both could deadlock.
        list(rows.order_by(Collate("domain", "C")).select_for_update().values_list("domain"))
        for answer in (True, False):
            domains = [domain for domain, catch_all in found.items() if catch_all is answer]
            rows.filter(domain__in=domains).update(catch_all=answer, catch_all_until=until)


def resolver_for(sandbox: bool) -> Resolver:
    nameservers = [("127.0.0.1", settings.SANDBOX_DNS_PORT)] if sandbox else None
    return make_resolver(nameservers, timeout=2, lifetime=5)


def _known_to_all(domains: Sequence[str], sandbox: bool) -> dict[str, Known]:
    if not domains:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT domain, status, hosts, provider,
                   CASE WHEN catch_all_until > now() THEN catch_all END
            FROM mailer_domainfact
            WHERE domain = ANY(%s::text[]) AND sandbox = %s AND status <> %s
            """,
            [arrays.of_texts(domains), sandbox, _BEING_ASKED],
        )
        return {
            domain: Known(
                DomainFacts(domain, cast(DomainStatus, status), tuple(hosts)), provider, catch_all
            )
            for domain, status, hosts, provider, catch_all in cursor.fetchall()
        }


def _reserve(domains: Sequence[str], sandbox: bool) -> dict[str, bool | None]:
    """Those of the domains, in order, about which this worker and no other shall ask DNS now,
    with what their servers did with a made-up address where that is known.
    """
    parameters: dict[str, Any] = {
        "domains": arrays.of_texts(sorted(domains)),
        "sandbox": sandbox,
        "asking": _BEING_ASKED,
        "lasts": _ASKING_LASTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mailer_domainfact AS known (domain, sandbox, status, hosts, expires_at)
            SELECT domain, %(sandbox)s, %(asking)s, '{}', now() + %(lasts)s
            FROM unnest(%(domains)s::text[]) AS domain
            ON CONFLICT (domain, sandbox) DO UPDATE
            SET status = excluded.status, hosts = '{}', expires_at = excluded.expires_at
            WHERE known.expires_at < now()
            RETURNING domain, CASE WHEN catch_all_until > now() THEN catch_all END
            """,
            parameters,
        )
        return dict(cursor.fetchall())


def _keep(found: Iterable[Known], sandbox: bool) -> None:
    """Write down what was learnt about reserved domains, in the order in which rows are locked."""
    rows = [
        {
            "domain": one.facts.domain,
            "status": one.facts.status,
            "hosts": one.facts.hosts,
            "provider": one.provider,
            "lasts": _FACTS_LAST[one.facts.status].total_seconds(),
        }
        for one in found
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mailer_domainfact (domain, sandbox, status, hosts, provider, expires_at)
            SELECT domain, %s, status, hosts, provider, now() + lasts * interval '1 second'
            FROM json_to_recordset(%s) AS found
                (domain text, status text, hosts text[], provider text, lasts float)
            ON CONFLICT (domain, sandbox) DO UPDATE
            SET status = excluded.status, hosts = excluded.hosts, provider = excluded.provider,
                expires_at = excluded.expires_at
            """,
            [sandbox, json.dumps(rows)],
        )
