"""The sandbox's DNS server: the names of `world`, and a way on to the real DNS for all others."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from apps.sandbox.world import (
    ROOT,
    TEXTS,
    Behaviour,
    Dns,
    domain_behaviour,
    is_mail_host,
    mail_hosts,
)

logger = logging.getLogger(__name__)

_TTL = 60  # seconds
_SOA = f"ns.{ROOT}. hostmaster.{ROOT}. 1 3600 600 86400 {_TTL}"
_ALIASED = dns.name.from_text(f"inbox.{ROOT}.")
_UDP_LIMIT = 1232  # octets; what fits one packet everywhere (DNS flag day 2020)
_PLAIN_UDP_LIMIT = 512  # RFC 1035, 4.2.1
_TCP_IDLE = 600.0  # seconds; also the longest that a name which never answers keeps a connection
_COUNTED_NAMES = 100_000
_PENDING_LIMIT = 1000
_BIND_ATTEMPTS = 20

Upstreams = Sequence[tuple[str, int]]
# The TXT records under a name, for those of DKIM keys.
Published = Callable[[str], Awaitable[Sequence[str]]]


def system_upstreams() -> list[tuple[str, int]]:
    """The resolvers in /etc/resolv.conf as (address, port); none where there is no such file."""
    try:
        system = dns.resolver.Resolver()
    except (dns.resolver.NoResolverConfiguration, OSError) as error:
        logger.warning("sandbox: the system has no resolver: %s", error)
        return []
    return [(server, system.port) for server in system.nameservers if isinstance(server, str)]


class DnsServer:
    """UDP and TCP on one loopback port.

    `upstreams` answer for the names outside the sandbox (by default the system's resolvers);
    when none does within `upstream_timeout` seconds the answer is SERVFAIL. `published` tells the
    records of DKIM keys. `queries` counts the questions by lower-case name without the trailing
    dot.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        upstreams: Upstreams | None = None,
        upstream_timeout: float = 2.0,
        published: Published | None = None,
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError("the sandbox serves loopback only")
        self.host = host
        self.port = port
        self.queries: Counter[str] = Counter()
        self._upstreams = system_upstreams() if upstreams is None else list(upstreams)
        self._upstream_timeout = upstream_timeout
        self._published = published
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind both sockets; port 0 becomes a free port, then found in `port`."""
        for attempt in range(_BIND_ATTEMPTS):
            try:
                await self._bind()
            except OSError:  # the free UDP port may be taken for TCP
                if self.port or attempt == _BIND_ATTEMPTS - 1:
                    raise
            else:
                break
        own = (self.host, self.port)
        self._upstreams = [upstream for upstream in self._upstreams if upstream != own]

    async def _bind(self) -> None:
        udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self._receive_datagram), local_addr=(self.host, self.port)
        )
        port: int = udp.get_extra_info("sockname")[1]
        try:
            self._tcp = await asyncio.start_server(self._receive_connection, self.host, port)
        except OSError:
            udp.close()
            raise
        self._udp, self.port = udp, port

    async def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive_datagram(self, wire: bytes, sender: tuple[str, int]) -> None:
        query = parse_query(wire)
        if query is None:
            return
        if not self._takes_time(query):
            self._send_datagram(query, self._answer(query), sender)
        elif len(self._tasks) >= _PENDING_LIMIT:
            self._send_datagram(query, _failure(query, dns.rcode.SERVFAIL), sender)
        else:
            self._start(self._answer_datagram(query, sender))

    async def _answer_datagram(self, query: dns.message.Message, sender: tuple[str, int]) -> None:
        self._send_datagram(query, await self._find_out(query), sender)

    def _send_datagram(
        self,
        query: dns.message.Message,
        response: dns.message.Message | None,
        sender: tuple[str, int],
    ) -> None:
        if response is None or self._udp is None or self._udp.is_closing():
            return
        limit = _PLAIN_UDP_LIMIT
        if query.edns >= 0:
            limit = min(max(query.payload, _PLAIN_UDP_LIMIT), _UDP_LIMIT)
        self._udp.sendto(response.to_wire(max_size=limit, prefer_truncation=True), sender)

    def _receive_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._start(self._serve_connection(reader, writer))

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    wire = await reader.readexactly(length)
                query = parse_query(wire)
                if query is None:
                    break
                later = self._takes_time(query)
                response = await self._find_out(query) if later else self._answer(query)
                if response is not None:
                    answer = response.to_wire(max_size=0xFFFF)
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone, or was idle too long (TimeoutError is an OSError)
        finally:
            writer.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _takes_time(self, query: dns.message.Message) -> bool:
        """Count the question; whether somebody else has to be asked for the answer."""
        if _refusal(query) is not None:
            return False
        name = _text(query.question[0].name)
        if name in self.queries or len(self.queries) < _COUNTED_NAMES:
            self.queries[name] += 1
        return _is_forwarded(name) or (self._published is not None and _is_of_key(query))

    async def _find_out(self, query: dns.message.Message) -> dns.message.Message | None:
        name = _text(query.question[0].name)
        if _is_forwarded(name) or self._published is None:
            return await self._forward(query)
        try:
            return self._answer(query, await self._published(name))
        except Exception:
            logger.exception("sandbox: the keys of %s cannot be read", name)
            return _failure(query, dns.rcode.SERVFAIL)

    def _answer(
        self, query: dns.message.Message, published: Sequence[str] = ()
    ) -> dns.message.Message | None:
        """The answer for a name of the sandbox; None for a name that never answers."""
        refusal = _refusal(query)
        if refusal is not None:
            return _failure(query, refusal)
        question = query.question[0]
        behaviour = domain_behaviour(_text(question.name))
        if behaviour.dns is Dns.SILENT:
            return None
        if behaviour.dns is Dns.SERVFAIL:
            return _failure(query, dns.rcode.SERVFAIL)
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        name = question.name
        if behaviour.dns is Dns.ALIAS:
            name, behaviour = _ALIASED, domain_behaviour(_text(_ALIASED))
            response.answer.append(
                dns.rrset.from_text(question.name, _TTL, "IN", "CNAME", _ALIASED.to_text())
            )
        texts = published or TEXTS.get(_text(name), ())
        if behaviour.dns is Dns.NO_NAME and not texts:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if question.rdtype == dns.rdatatype.TXT:
            records: tuple[str, ...] = ("TXT", *map(_quoted, texts)) if texts else ()
        else:
            records = _records(name, question.rdtype, behaviour)
        if records:
            response.answer.append(dns.rrset.from_text(name, _TTL, "IN", *records))
        else:  # RFC 2308: the SOA says how long a "no" may be remembered
            response.authority = [dns.rrset.from_text(f"{ROOT}.", _TTL, "IN", "SOA", _SOA)]
        return response

    async def _forward(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        for address, port in self._upstreams:
            onward = dns.message.make_query(question.name, question.rdtype, use_edns=0)
            try:
                reply, _ = await dns.asyncquery.udp_with_fallback(
                    onward,
                    address,
                    timeout=self._upstream_timeout / len(self._upstreams),
                    port=port,
                    ignore_unexpected=True,
                )
            except (dns.exception.DNSException, OSError, EOFError) as error:
                logger.debug("sandbox: %s did not answer for %s: %s", address, question, error)
                continue
            response = dns.message.make_response(query, recursion_available=True)
            response.set_rcode(reply.rcode())
            response.answer = reply.answer
            response.authority = reply.authority
            return response
        return _failure(query, dns.rcode.SERVFAIL)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, addr)


def parse_query(wire: bytes) -> dns.message.Message | None:
    """The query in a packet; None for anything malformed, and for answers (no loops)."""
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        logger.debug("sandbox: malformed DNS packet: %s", error)
        return None
    return None if message.flags & dns.flags.QR else message


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    """The code to refuse a query with, when it is not a plain question about a name."""
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    if query.question[0].rdclass != dns.rdataclass.IN:
        return dns.rcode.REFUSED
    return None


def _failure(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(rcode)
    return response


def _records(
    name: dns.name.Name, rdtype: dns.rdatatype.RdataType, behaviour: Behaviour
) -> tuple[str, ...]:
    """The type and the values of the answer, as text; () where there is nothing."""
    text = _text(name)
    if rdtype == dns.rdatatype.SOA and text == ROOT:
        return ("SOA", _SOA)
    mail_host = behaviour.dns is Dns.MX and is_mail_host(text)
    if rdtype == dns.rdatatype.A:
        has_address = mail_host or behaviour.dns in (Dns.ADDRESS_ONLY, Dns.NULL_MX)
        return ("A", "127.0.0.1") if has_address else ()
    if rdtype != dns.rdatatype.MX or mail_host:
        return ()
    if behaviour.dns is Dns.NULL_MX:
        return ("MX", "0 .")
    if behaviour.dns is Dns.BAD_MX:
        return ("MX", "10 localhost.")
    if behaviour.dns is Dns.MX:
        first, second = mail_hosts(text)
        return ("MX", f"10 {first}.", f"20 {second}.")
    return ()


def _is_forwarded(name: str) -> bool:
    return domain_behaviour(name).dns is Dns.FORWARDED


def _is_of_key(query: dns.message.Message) -> bool:
    labels = _text(query.question[0].name).split(".")
    return query.question[0].rdtype == dns.rdatatype.TXT and "_domainkey" in labels


def _quoted(text: str) -> str:
    """In strings of at most 255 octets (RFC 1035, 3.3.14)."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
