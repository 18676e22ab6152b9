"""Where a domain receives its mail, asked of the DNS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
from dns.asyncresolver import Resolver
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TXT import TXT
from dns.resolver import NXDOMAIN, Answer, NoAnswer

DomainStatus = Literal[
    "mx", "implicit_mx", "null_mx", "no_mx", "nxdomain", "servfail", "timeout", "bad_mx"
]

# An answer up to this size comes in one datagram, so that the question is not repeated over TCP;
# the size is the one of DNS flag day 2020.
EDNS_PAYLOAD = 1232
_HOSTNAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """What the DNS says about a domain's mail.

    status: `mx` (it has usable MX records), `implicit_mx` (none, but an address: RFC 5321 §5.1),
    `null_mx` (it says that it takes no mail: RFC 7505), `bad_mx` (every MX names something that
    cannot be a mail host), `no_mx` (neither MX nor address), `nxdomain`; and, where nothing is
    known, `servfail` and `timeout`.
    hosts: mail hosts, the preferred first; empty unless the status is `mx` or `implicit_mx`.
    """

    domain: str
    status: DomainStatus
    hosts: tuple[str, ...] = ()


def make_resolver(
    nameservers: Sequence[tuple[str, int]] | None, *, timeout: float, lifetime: float
) -> Resolver:
    """A resolver that asks for names exactly as given, without a search list or a cache.

    nameservers: (IP address, port) pairs; None takes those of the system.
    timeout: seconds for one datagram; lifetime: seconds for one question with its repetitions.
    Raises dns.resolver.NoResolverConfiguration when the system has none.
    """
    resolver = Resolver(configure=nameservers is None)
    if nameservers is not None:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(host, port) for host, port in nameservers
        ]
    resolver.search = []
    resolver.use_search_by_default = False
    resolver.cache = None
    resolver.timeout = timeout
    resolver.lifetime = lifetime
    resolver.use_edns(0, 0, EDNS_PAYLOAD)
    return resolver


async def lookup_domain(domain: str, resolver: Resolver) -> DomainFacts:
    """Find the mail hosts of `domain` (ASCII, as in an `Address`).

    One MX question, then A and AAAA only where the domain has no MX at all. The resolver repeats
    a datagram that got no answer; aliases are followed by it.
    """
    try:
        name = dns.name.from_text(domain)
    except (dns.exception.DNSException, UnicodeError):
        # Too long, or an empty label: a name that the DNS cannot hold.
        return DomainFacts(domain, "nxdomain")
    answer = await _ask(name, dns.rdatatype.MX, resolver)
    if isinstance(answer, Answer):
        return _facts_from_mx(domain, [rdata for rdata in answer if isinstance(rdata, MX)])
    if answer == "no_mx":
        return await _implicit_mx(domain, name, resolver)
    return DomainFacts(domain, answer)


async def resolve_host(host: str, resolver: Resolver) -> tuple[str, ...]:
    """The addresses of a mail host, IPv4 before IPv6; empty where there are none or none is known.

    They come from whoever owns the domain: see `mailkit.networks` before connecting.
    """
    try:
        name = dns.name.from_text(host)
    except (dns.exception.DNSException, UnicodeError):
        return ()
    answers = await asyncio.gather(
        _ask(name, dns.rdatatype.A, resolver), _ask(name, dns.rdatatype.AAAA, resolver)
    )
    return tuple(
        rdata.to_text() for answer in answers if isinstance(answer, Answer) for rdata in answer
    )


async def lookup_txt(name: str, resolver: Resolver) -> tuple[str, ...] | None:
    """The texts at `name`, the strings of each joined (RFC 6376 section 3.6.2.2).

    Empty where the DNS says that there are none; None where no server gave an answer.
    """
    try:
        asked = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError):
        return ()
    answer = await _ask(asked, dns.rdatatype.TXT, resolver)
    if isinstance(answer, Answer):
        texts = [b"".join(rdata.strings) for rdata in answer if isinstance(rdata, TXT)]
        return tuple(text.decode(errors="replace") for text in texts)
    return None if answer in ("servfail", "timeout") else ()


async def lookup_addresses(name: str, version: int, resolver: Resolver) -> tuple[str, ...] | None:
    """The IPv4 (4) or IPv6 (6) addresses of a name; empty and None as in `lookup_txt`."""
    return await _values(name, "A" if version == 4 else "AAAA", resolver)


async def lookup_exchanges(name: str, resolver: Resolver) -> tuple[str, ...] | None:
    """The hosts of a name's MX records, the preferred first; empty and None as in `lookup_txt`."""
    found = await _values(name, "MX", resolver)
    if not found:
        return found
    in_order = sorted((value.split() for value in found), key=lambda pair: int(pair[0]))
    return tuple(host.rstrip(".").lower() for _preference, host in in_order if host != ".")


async def _values(name: str, rdtype: str, resolver: Resolver) -> tuple[str, ...] | None:
    try:
        asked = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError):
        return ()
    answer = await _ask(asked, dns.rdatatype.from_text(rdtype), resolver)
    if isinstance(answer, Answer):
        return tuple(record.to_text() for record in answer)
    return None if answer in ("servfail", "timeout") else ()


async def _ask(
    name: dns.name.Name, rdtype: dns.rdatatype.RdataType, resolver: Resolver
) -> Answer | Literal["no_mx", "nxdomain", "servfail", "timeout"]:
    try:
        return await resolver.resolve(name, rdtype)
    except NXDOMAIN:
        return "nxdomain"
    except NoAnswer:
        return "no_mx"
    except dns.exception.Timeout:
        return "timeout"
    except dns.exception.DNSException:
        # SERVFAIL, REFUSED, answers that cannot be read: no server gave an answer.
        return "servfail"


def _facts_from_mx(domain: str, records: Sequence[MX]) -> DomainFacts:
    return facts_from_hosts(
        domain,
        [
            (record.preference, record.exchange.to_text(omit_final_dot=True).lower())
            for record in records
        ],
    )


def facts_from_hosts(domain: str, records: Sequence[tuple[int, str]]) -> DomainFacts:
    """Facts from (preference, host in lower case) of each MX record, at least one.

    The root is "." or "".
    """
    if len(records) == 1 and records[0][0] == 0 and records[0][1] in (".", ""):
        return DomainFacts(domain, "null_mx")
    # sorted() is stable: equal preferences keep the order of the answer.
    in_order = sorted(records, key=lambda record: record[0])
    hosts = tuple(filter(_is_usable_host, dict.fromkeys(host for _preference, host in in_order)))
    return DomainFacts(domain, "mx" if hosts else "bad_mx", hosts)


def _is_usable_host(host: str) -> bool:
    # RFC 5321 §5.1 wants a name that leads to addresses: not ".", not "192.0.2.1." written as a
    # name (a last label of digits), not the reserved names of RFC 6761.
    last_label = host.rpartition(".")[2]
    return (
        _HOSTNAME.fullmatch(host) is not None
        and not last_label.isdecimal()
        and last_label not in ("localhost", "invalid")
    )


async def _implicit_mx(domain: str, name: dns.name.Name, resolver: Resolver) -> DomainFacts:
    statuses: list[DomainStatus] = []
    for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
        answer = await _ask(name, rdtype, resolver)
        if isinstance(answer, Answer):
            return DomainFacts(domain, "implicit_mx", (domain,))
        statuses.append(answer)
    # One question without an answer leaves it open whether there is an address.
    if "timeout" in statuses:
        return DomainFacts(domain, "timeout")
    if "servfail" in statuses:
        return DomainFacts(domain, "servfail")
    return DomainFacts(domain, "no_mx")
