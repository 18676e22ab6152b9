"""A DNS server on loopback that acts out a zone and counts its questions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.asyncresolver import Resolver

from mailkit.verify.dns import make_resolver

# For one (name, type): record texts, a response code, "silence", or "garbage".
Scripted = Sequence[str] | str
Zone = Mapping[tuple[str, str], Scripted]


@dataclass
class DnsServer(asyncio.DatagramProtocol):
    """Names outside the zone do not exist; other types of a known name have no records."""

    zone: Zone
    questions: Counter[tuple[str, str]] = field(default_factory=Counter)
    address: tuple[str, int] = ("", 0)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        rdtype = dns.rdatatype.to_text(question.rdtype)
        self.questions[name, rdtype] += 1
        scripted = self.zone.get((name, rdtype))
        if scripted == "silence":
            return
        if scripted == "garbage":
            self.transport.sendto(data[:2] + b"\xff", addr)
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if isinstance(scripted, str):
            response.set_rcode(dns.rcode.from_text(scripted))
        else:
            self._answer(response, name, rdtype)
        # Without EDNS a datagram has 512 octets; what does not fit is asked again over TCP, which
        # is not served here.
        size = query.payload if query.edns >= 0 else 512
        self.transport.sendto(response.to_wire(max_size=size, prefer_truncation=True), addr)

    def _answer(self, response: dns.message.Message, name: str, rdtype: str) -> None:
        while alias := self.zone.get((name, "CNAME")):
            response.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "CNAME", alias[0]))
            name = alias[0].rstrip(".")
        if records := self.zone.get((name, rdtype)):
            # One set a record: dnspython shuffles the records of a set.
            response.answer += [
                dns.rrset.from_text(name + ".", 60, "IN", rdtype, record) for record in records
            ]
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


@asynccontextmanager
async def dns_server(zone: Zone) -> AsyncIterator[DnsServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: DnsServer(zone), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()


def resolver_of(server: DnsServer) -> Resolver:
    """One datagram a question. Answers may take as long as a busy machine needs; only where the
    zone has none to give is the wait a short one."""
    unanswered = any(scripted in ("silence", "garbage") for scripted in server.zone.values())
    seconds = 0.5 if unanswered else 30
    return make_resolver([server.address], timeout=seconds, lifetime=seconds)
