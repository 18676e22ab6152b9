"""Asking mail servers about mailboxes: side by side, and as gently as their providers want.

How many questions and connections a provider takes is counted in Redis over all workers. What
it does not take now is asked later: nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import redis
from django.conf import settings
from dns.asyncresolver import Resolver

from apps.mailer.services import domain_facts
from apps.mailer.services.domain_facts import Known
from apps.senders.services.buckets import Buckets, Window
from apps.senders.services.buckets import connect as connect_redis
from mailkit.addresses import Address
from mailkit.networks import is_public_address
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.outcomes import SERVICE_CLOSING, Broken, Refused
from mailkit.smtp.session import Session
from mailkit.verify.dns import resolve_host
from mailkit.verify.policy import Pace, pace_key, pace_of
from mailkit.verify.probe import ProbeResult, probe_domain

logger = logging.getLogger(__name__)

SECONDS = 90
DOMAINS_AT_ONCE = 200
# The sandbox is ours and minds nothing.
SANDBOX_PACE = Pace(connections=DOMAINS_AT_ONCE, per_minute=120_000)
# A minute's questions are shared out over its quarters.
_WINDOW_SECONDS = 15
_PARTS = 60 // _WINDOW_SECONDS
_NO_SEAT_SECONDS = 5.0
_WITHOUT_REDIS_SECONDS = 30.0
_SLOW = "verify:slow"


@dataclass(slots=True)
class Asked:
    """probes: what servers said, by address. later: in how many seconds to ask the others.

    catch_all: what servers did with made-up addresses, by domain, where that was learnt now.
    """

    probes: dict[str, ProbeResult] = field(default_factory=dict)
    later: dict[str, float] = field(default_factory=dict)
    catch_all: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """The addresses of one provider. seats: connections that may be open at once."""

    key: str
    pace: Pace
    by_domain: dict[str, list[Address]] = field(default_factory=dict)
    seats: int = 0


def ask_servers(
    by_domain: Mapping[str, Sequence[Address]],
    known: Mapping[str, Known],
    sandbox: bool,
    runner: asyncio.Runner,
) -> Asked:
    """What mail servers say within SECONDS.

    A server that takes all the time has timed out, but for the answers it gave: left open, its
    contacts would come back for ever.
    """
    asked = Asked()
    groups = _grouped(by_domain, known, sandbox)
    who = uuid.uuid4().hex
    with _seated(groups, who, asked) as seated:
        for group in seated:
            _take(group, asked)
        runner.run(_ask_all(seated, known, sandbox, asked))
    for group in seated:
        _mind_slow_downs(group, asked)
    return asked


def _grouped(
    by_domain: Mapping[str, Sequence[Address]], known: Mapping[str, Known], sandbox: bool
) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for domain, addresses in by_domain.items():
        one = known[domain]
        key = pace_key(one.provider, one.facts.hosts)
        pace = SANDBOX_PACE if sandbox else pace_of(key)
        name = f"verify:sandbox:{key}" if sandbox else f"verify:{key}"
        group = groups.setdefault(name, _Group(name, pace))
        group.by_domain[domain] = list(addresses)
    return [groups[name] for name in sorted(groups)]


@contextmanager
def _seated(groups: Sequence[_Group], who: str, asked: Asked) -> Iterator[list[_Group]]:
    """Take seats for as many connections as each provider leaves; those without one are put off."""
    try:
        for group in groups:
            wanted = min(len(group.by_domain), group.pace.connections)
            group.seats = _buckets().seats(
                f"{group.key}:seats", who, wanted, group.pace.connections, SECONDS + 30.0
            )
            if not group.seats:
                _put_off(group, asked, _NO_SEAT_SECONDS)
    except redis.RedisError as error:
        logger.warning("verification waits, Redis cannot be asked: %s", error)
        for group in groups:
            _put_off(group, asked, _WITHOUT_REDIS_SECONDS)
    try:
        yield [group for group in groups if group.by_domain]
    finally:
        try:
            for group in groups:
                _buckets().leave(f"{group.key}:seats", who, group.seats)
        except redis.RedisError as error:
            logger.warning("seats are kept until they expire: %s", error)


def _take(group: _Group, asked: Asked) -> None:
    """Leave out what is beyond the provider's pace."""
    # The made-up address counts too.
    wanted = sum(len(addresses) + 1 for addresses in group.by_domain.values())
    window = Window(group.key, _WINDOW_SECONDS, max(1, group.pace.per_minute // _PARTS))
    try:
        taken = _buckets().take([window], wanted, slow=_SLOW, provider=group.key)
    except redis.RedisError as error:
        logger.warning("verification waits, Redis cannot be asked: %s", error)
        _put_off(group, asked, _WITHOUT_REDIS_SECONDS)
        return
    left = taken.granted
    spread = 0
    for domain, addresses in list(group.by_domain.items()):
        now = addresses[: max(0, left - 1)]
        for address in addresses[len(now) :]:
            # Those that cannot come with the next window need not try.
            asked.later[address.email] = taken.retry_after + spread * 60 / group.pace.per_minute
            spread += 1
        left -= len(now) + 1
        if now:
            group.by_domain[domain] = now
        else:
            del group.by_domain[domain]


def _put_off(group: _Group, asked: Asked, seconds: float) -> None:
    for addresses in group.by_domain.values():
        asked.later.update((address.email, seconds) for address in addresses)
    group.by_domain = {}


def _mind_slow_downs(group: _Group, asked: Asked) -> None:
    """A provider that hangs up on us with 421 is left alone for a while, by all workers."""
    emails = [address.email for some in group.by_domain.values() for address in some]
    answers = [asked.probes[email] for email in emails if email in asked.probes]
    if any(answer.code == SERVICE_CLOSING for answer in answers):
        try:
            _buckets().throttled(_SLOW, group.key, jitter=random.uniform(1, 1.5))
        except redis.RedisError as error:
            logger.warning("a slow-down is not remembered: %s", error)


async def _ask_all(
    groups: Sequence[_Group], known: Mapping[str, Known], sandbox: bool, asked: Asked
) -> None:
    resolver = domain_facts.resolver_for(sandbox)
    limit = asyncio.Semaphore(DOMAINS_AT_ONCE)
    asking: dict[str, list[Address]] = {}
    waiting = {domain: some for group in groups for domain, some in group.by_domain.items()}
    answers: dict[str, dict[str, ProbeResult]] = defaultdict(dict)

    async def ask(domain: str, seats: asyncio.Semaphore) -> None:
        async with seats, limit:
            asking[domain] = waiting.pop(domain)
            await _probe(known[domain], asking[domain], resolver, sandbox, answers[domain])
            del asking[domain]

    work = []
    for group in groups:
        seats = asyncio.Semaphore(group.seats)
        work += [ask(domain, seats) for domain in group.by_domain]
    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*work)
    except TimeoutError:
        for domain, addresses in asking.items():
            for address in addresses:
                silence = ProbeResult(address.email, None, None, "", "rcpt", None, None, "timeout")
                answers[domain].setdefault(address.email, silence)
        for addresses in waiting.values():
            asked.later.update((address.email, 0.0) for address in addresses)
    for domain, results in answers.items():
        asked.probes.update(results)
        learnt = {one.catch_all for one in results.values()} - {None}
        if learnt and known[domain].catch_all is None:
            asked.catch_all[domain] = learnt == {True}


async def _probe(
    one: Known,
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

    async def connect(host: str) -> Session | Refused | Broken:
        if sandbox:
            address, port = "127.0.0.1", settings.SANDBOX_SMTP_PORT
        else:
            found = [ip for ip in await resolve_host(host, resolver) if _may_connect(ip)]
            if not found:
                return Broken("connect", "dns", detail="no public address")
            address, port = found[0], 25
        endpoint = Endpoint(address, port, "none", settings.MAIL_HOSTNAME)
        return await Session.open(endpoint, timeouts)

    await probe_domain(
        one.facts,
        addresses,
        connect=connect,
        sender=settings.PROBE_SENDER,
        random_local=lambda: uuid.uuid4().hex,
        results=results,
        catch_all=one.catch_all,
    )


def _may_connect(address: str) -> bool:
    """A stranger's MX record must not lead us into the operator's own network."""
    return settings.PRIVATE_RELAYS or is_public_address(address)


@cache
def _buckets() -> Buckets:
    return Buckets(connect_redis(settings.REDIS_URL))
