"""Verification: claim contacts that are due, ask DNS and mail servers, keep the verdicts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import uvloop
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from dns.asyncresolver import Resolver

from apps.mailer import selectors
from apps.mailer.models import Contact, DomainFact, Import, Verification
from apps.senders.selectors import has_relay
from core import queues
from mailkit.addresses import Address, Fault, parse_address
from mailkit.networks import is_public_address
from mailkit.providers import provider_of
from mailkit.smtp.client import Connection, Endpoint, Timeouts
from mailkit.smtp.outcomes import Broken, Refused
from mailkit.verify.dns import (
    DomainFacts,
    DomainStatus,
    lookup_domain,
    make_resolver,
    resolve_host,
)
from mailkit.verify.probe import ProbeResult, probe_domain
from mailkit.verify.verdict import Verdict, decide, retry_after

BATCH = 200
DOMAINS_AT_ONCE = 50
# A batch is given up before its contacts become due again for another worker: the servers take
# BATCH_SECONDS at most, the DNS before them a minute (four rounds of three questions of 5 s).
BATCH_SECONDS = 90
LEASE = timedelta(seconds=180)
STALE_AFTER = timedelta(days=90)

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
_BEING_ASKED = "asking"
_ASKING_LASTS = timedelta(seconds=75)
_WAIT_FOR_FACTS = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Checked:
    """A contact's new verdict and, where another check may tell more, when that is due."""

    contact_id: int
    verdict: Verdict
    next_check_at: datetime | None


def verification_of(job: Import) -> Verification:
    """The run of checks that belongs to an import; made on first use."""
    run, _created = Verification.objects.get_or_create(
        of_import=job, defaults={"workspace": job.workspace, "level": job.level}
    )
    return run


def ring(verification_id: int, *, after: timedelta = timedelta(0)) -> None:
    from apps.mailer.tasks import validate_contact_batch

    bell = validate_contact_batch.signature((verification_id,), countdown=after.total_seconds())
    queues.ring(bell)


def ring_if_idle(verification_id: int) -> None:
    """Ring unless enough messages wait for the import pool already.

    An import rings after each chunk; a bell for each would keep other imports waiting behind.
    """
    if queues.waiting("import") < settings.IMPORT_CONCURRENCY:
        ring(verification_id)


def validate_batch(verification_id: int) -> bool:
    """Check up to BATCH contacts that are due; whether more may be due now."""
    run = Verification.objects.select_related("workspace").filter(pk=verification_id).first()
    if run is None:
        return False
    contacts = _claim(run)
    if contacts:
        sandbox = not has_relay(run.workspace)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            facts = _domain_facts({contact.domain for contact in contacts}, sandbox, runner)
            ready = [contact for contact in contacts if contact.domain in facts]
            checked = runner.run(_check(run.level, ready, facts, sandbox))
        _settle(run, checked)
        if len(ready) < len(contacts):
            # Another worker asks about the domains that are left: its answer is for all.
            _postpone([contact.pk for contact in contacts if contact.domain not in facts])
            ring(verification_id, after=_WAIT_FOR_FACTS)
    finish_if_done(verification_id)
    return bool(contacts)


def finish_if_done(verification_id: int) -> None:
    """Finished once the import is over and every contact has had a first answer."""
    run = Verification.objects.filter(pk=verification_id, state=Verification.State.RUNNING).first()
    importing = Import.objects.filter(
        verification=verification_id, state__in=[Import.State.QUEUED, Import.State.RUNNING]
    )
    if run is None or importing.exists() or _somebody_waits(run):
        return
    Verification.objects.filter(pk=verification_id, state=Verification.State.RUNNING).update(
        state=Verification.State.FINISHED, finished_at=timezone.now()
    )


def _somebody_waits(run: Verification) -> bool:
    # In this order it is one look into contact_check_pending. Without one, PostgreSQL expects to
    # meet such a row soon and reads through the whole table when there is none.
    in_order = (some.order_by("verification_id", "domain") for some in selectors.waiting(run))
    return any(some.values("pk").first() for some in in_order)


def ring_due_checks() -> int:
    """Ask for a batch for each run with contacts that are due; returns how many runs."""
    due = (
        Contact.objects.filter(check_due_at__lt=timezone.now(), verification__isnull=False)
        .values_list("verification", flat=True)
        .distinct()
    )
    for verification_id in due:
        ring(verification_id)
    unfinished = Verification.objects.filter(state=Verification.State.RUNNING)
    for verification_id in unfinished.values_list("pk", flat=True):
        finish_if_done(verification_id)
    return len(due)


def _claim(run: Verification) -> list[Contact]:
    """Take contacts that are due, domain by domain, by moving their due time past our lease."""
    return list(
        Contact.objects.raw(
            """
            UPDATE mailer_contact SET check_due_at = now() + %(lease)s
            WHERE id IN (
                SELECT id FROM mailer_contact
                WHERE verification_id = %(run)s AND check_due_at <= now()
                ORDER BY domain LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
            RETURNING id, email, domain, check_attempts
            """,
            {"run": run.pk, "lease": LEASE, "limit": BATCH},
        )
    )


def _domain_facts(
    domains: Iterable[str], sandbox: bool, runner: asyncio.Runner
) -> dict[str, DomainFacts]:
    """Facts of the domains, asking DNS only about those that nobody knows or is asking about."""
    ours = _reserve(sorted(domains), sandbox)
    if ours:
        _keep(runner.run(_ask_dns(ours, sandbox)), sandbox)
    known = DomainFact.objects.filter(domain__in=domains, sandbox=sandbox).exclude(
        status=_BEING_ASKED
    )
    return {
        fact.domain: DomainFacts(fact.domain, cast(DomainStatus, fact.status), tuple(fact.hosts))
        for fact in known
    }


def _reserve(domains: Sequence[str], sandbox: bool) -> list[str]:
    """Those of the domains, in order, about which this worker and no other shall ask DNS now."""
    parameters: dict[str, Any] = {
        "domains": domains,
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
            RETURNING domain
            """,
            parameters,
        )
        return [domain for (domain,) in cursor.fetchall()]


async def _ask_dns(domains: Sequence[str], sandbox: bool) -> list[DomainFacts]:
    resolver = _resolver(sandbox)
    limit = asyncio.Semaphore(DOMAINS_AT_ONCE)

    async def ask(domain: str) -> DomainFacts:
        async with limit:
            return await lookup_domain(domain, resolver)

    return await asyncio.gather(*map(ask, domains))


def _keep(found: Iterable[DomainFacts], sandbox: bool) -> None:
    now = timezone.now()
    DomainFact.objects.bulk_create(
        [
            DomainFact(
                domain=facts.domain,
                sandbox=sandbox,
                status=facts.status,
                hosts=list(facts.hosts),
                provider=provider_of(facts.domain, facts.hosts),
                expires_at=now + _FACTS_LAST[facts.status],
            )
            for facts in found
        ],
        update_conflicts=True,
        unique_fields=["domain", "sandbox"],
        update_fields=["status", "hosts", "provider", "expires_at"],
    )


async def _check(
    level: str, contacts: Sequence[Contact], facts: dict[str, DomainFacts], sandbox: bool
) -> list[Checked]:
    """Judge the contacts: the domains side by side, each on as few connections as it takes."""
    parsed = {contact.pk: parse_address(contact.email) for contact in contacts}
    by_domain: dict[str, list[Address]] = defaultdict(list)
    for address in parsed.values():
        if isinstance(address, Address):
            by_domain[address.domain].append(address)
    probes: dict[str, ProbeResult] = {}
    if level == Import.Level.FULL:
        probes, not_asked = await _ask_servers(by_domain, facts, sandbox)
        contacts = [contact for contact in contacts if contact.domain not in not_asked]
    return [
        _judge(contact, parsed[contact.pk], facts.get(contact.domain), probes, level)
        for contact in contacts
    ]


async def _ask_servers(
    by_domain: dict[str, list[Address]], facts: dict[str, DomainFacts], sandbox: bool
) -> tuple[dict[str, ProbeResult], set[str]]:
    """What mail servers say within BATCH_SECONDS, and the domains whose turn did not come.

    A server that takes all the time has timed out, but for the answers it gave: left open, its
    contacts would come back for ever.
    """
    resolver = _resolver(sandbox)
    limit = asyncio.Semaphore(DOMAINS_AT_ONCE)
    probes: dict[str, ProbeResult] = {}
    waiting = {
        domain
        for domain in by_domain
        if facts[domain].hosts and (not sandbox or _is_demo_domain(domain))
    }
    asking: set[str] = set()

    async def ask(domain: str) -> None:
        async with limit:
            waiting.discard(domain)
            asking.add(domain)
            await _probe(facts[domain], by_domain[domain], resolver, sandbox, probes)
            asking.discard(domain)

    try:
        async with asyncio.timeout(BATCH_SECONDS):
            await asyncio.gather(*map(ask, sorted(waiting)))
    except TimeoutError:
        for address in (address for domain in asking for address in by_domain[domain]):
            silence = ProbeResult(address.email, None, None, "", "rcpt", None, None, "timeout")
            probes.setdefault(address.email, silence)
    return probes, waiting


def _judge(
    contact: Contact,
    address: Address | Fault,
    facts: DomainFacts | None,
    probes: dict[str, ProbeResult],
    level: str,
) -> Checked:
    verdict = decide(address, facts, probes.get(contact.email), level)  # type: ignore[arg-type]
    delay = retry_after(verdict.reason, contact.check_attempts + 1)
    return Checked(contact.pk, verdict, timezone.now() + delay if delay else None)


async def _probe(
    facts: DomainFacts,
    addresses: Sequence[Address],
    resolver: Resolver,
    sandbox: bool,
    results: dict[str, ProbeResult],
) -> None:
    seconds = settings.PROBE_TIMEOUT_SECONDS
    timeouts = Timeouts(
        connect=seconds, banner=seconds, ehlo=seconds, mail=seconds, rcpt=seconds, rset=seconds,
        quit=1,
    )  # fmt: skip

    async def connect(host: str) -> Connection | Refused | Broken:
        if sandbox:
            address, port = "127.0.0.1", settings.SANDBOX_SMTP_PORT
        else:
            found = [ip for ip in await resolve_host(host, resolver) if _may_connect(ip)]
            if not found:
                return Broken("connect", "dns", detail="no public address")
            address, port = found[0], 25
        endpoint = Endpoint(address, port, "none", settings.MAIL_HOSTNAME)
        return await Connection.open(endpoint, timeouts)

    await probe_domain(
        facts,
        addresses,
        connect=connect,
        sender=settings.PROBE_SENDER,
        random_local=lambda: uuid.uuid4().hex,
        results=results,
    )


def _resolver(sandbox: bool) -> Resolver:
    nameservers = [("127.0.0.1", settings.SANDBOX_DNS_PORT)] if sandbox else None
    return make_resolver(nameservers, timeout=2, lifetime=5)


def _is_demo_domain(domain: str) -> bool:
    """Without a relay nothing but the sandbox's own domains is probed."""
    return f".{domain}".endswith(f".{settings.SANDBOX_DOMAIN}")


def _may_connect(address: str) -> bool:
    """A stranger's MX record must not lead us into the operator's own network."""
    return settings.PRIVATE_RELAYS or is_public_address(address)


def _postpone(contact_ids: Sequence[int]) -> None:
    with transaction.atomic():
        # In the order of imports, or both could deadlock.
        list(Contact.objects.filter(pk__in=contact_ids).order_by("email").select_for_update())
        Contact.objects.filter(pk__in=contact_ids).update(
            check_due_at=timezone.now() + _WAIT_FOR_FACTS
        )


def _settle(run: Verification, checked: Sequence[Checked]) -> None:
    """Write the verdicts, save where another run has taken the contact over meanwhile."""
    ids = [one.contact_id for one in checked]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS MATERIALIZED (
                SELECT id FROM mailer_contact WHERE id = ANY(%(ids)s)
                ORDER BY email FOR UPDATE)  -- the order of imports, or both could deadlock
            UPDATE mailer_contact
            SET verdict = new.verdict, reason = new.reason, evidence = new.evidence::jsonb,
                check_due_at = new.due, check_attempts = check_attempts + 1, verified_at = now()
            FROM locked JOIN unnest(
                    %(ids)s::bigint[], %(verdicts)s::text[], %(reasons)s::text[],
                    %(evidence)s::text[], %(due)s::timestamptz[])
                AS new (id, verdict, reason, evidence, due) USING (id)
            WHERE mailer_contact.id = new.id AND verification_id = %(run)s
              AND check_due_at IS NOT NULL
            """,
            {
                "run": run.pk,
                "ids": ids,
                "verdicts": [one.verdict.verdict for one in checked],
                "reasons": [one.verdict.reason for one in checked],
                "evidence": [json.dumps(asdict(one.verdict.evidence)) for one in checked],
                "due": [one.next_check_at for one in checked],
            },
        )
