"""Many MX questions over one socket: a resolver's machinery for each costs more than its answer.

What is not plain (aliases, failures, truncated or strange answers, silence) is asked again by
the resolver itself, which knows all of that. The socket is connected, so that the kernel drops
what others send, its port is chosen anew each time, and ids are random (RFC 5452 section 4).
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import cast

import dns.nameserver
from dns.asyncresolver import Resolver

from mailkit.verify.dns import EDNS_PAYLOAD, DomainFacts, facts_from_hosts, lookup_domain

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length
_MX_IN = struct.pack("!HH", 15, 1)
_OPT = b"\0" + struct.pack("!HHIH", 41, EDNS_PAYLOAD, 0, 0)
_ANSWERED, _TRUNCATED, _RCODE = 0x8000, 0x0200, 0x000F
_NXDOMAIN = 3
_OWNER = b"\xc0\x0c"  # a pointer to the question's name (RFC 1035 section 4.1.4)
_MOST_POINTERS = 10

# (preference, host) of each MX record; "" is the root.
Records = list[tuple[int, str]]


async def lookup_domains(
    domains: Sequence[str], resolver: Resolver, *, at_once: int = 200
) -> list[DomainFacts]:
    """`lookup_domain` for many, in their order; `at_once` questions are open at a time."""
    found: dict[str, DomainFacts] = {}
    server = _first_server(resolver)
    socket = await _Socket.open(server, resolver.timeout) if server else None

    async def ask(waiting: Iterator[str]) -> None:
        for domain in waiting:
            facts = await _asked_plainly(domain, socket) if socket else None
            found[domain] = facts or await lookup_domain(domain, resolver)

    try:
        waiting = iter(dict.fromkeys(domains))
        await asyncio.gather(*(ask(waiting) for _ in range(min(at_once, len(domains)))))
    finally:
        if socket:
            socket.close()
    return [found[domain] for domain in domains]


async def _asked_plainly(domain: str, socket: _Socket) -> DomainFacts | None:
    question = _question(domain)
    answer = await socket.ask(question) if question else None
    records = _mx_records(answer, question) if answer and question else None
    if records is None:
        return None
    return facts_from_hosts(domain, records) if records else DomainFacts(domain, "nxdomain")


def _first_server(resolver: Resolver) -> tuple[str, int] | None:
    first = resolver.nameservers[0] if resolver.nameservers else None
    if isinstance(first, str):
        return first, resolver.port
    if isinstance(first, dns.nameserver.Do53Nameserver):
        return first.address, first.port
    return None


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[int, tuple[bytes, asyncio.Future[bytes | None]]] = {}

    @classmethod
    async def open(cls, server: tuple[str, int], seconds: float) -> _Socket | None:
        loop = asyncio.get_running_loop()
        try:
            _transport, made = await loop.create_datagram_endpoint(
                lambda: cls(seconds), remote_addr=server
            )
        except OSError:
            return None
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own kind of transport is none of asyncio's classes.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def close(self) -> None:
        self._transport.close()

    async def ask(self, question: bytes) -> bytes | None:
        """The answer, or None where none came in time."""
        identity = secrets.randbelow(0x10000)
        while identity in self._open:
            identity = secrets.randbelow(0x10000)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._open[identity] = question, future
        late = loop.call_later(self._seconds, self._settle, identity, None)
        # Recursion desired, one question and the OPT record.
        self._transport.sendto(_HEADER.pack(identity, 0x0100, 1, 0, 0, 1) + question + _OPT)
        try:
            return await future
        finally:
            late.cancel()
            self._open.pop(identity, None)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) < _HEADER.size:
            return
        identity = int.from_bytes(data[:2], "big")
        question, _future = self._open.get(identity, (b"", None))
        asked = data[_HEADER.size : _HEADER.size + len(question)]
        if question and asked.lower() == question:
            self._settle(identity, data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: the resolver may know another server."""
        for identity in list(self._open):
            self._settle(identity, None)

    def _settle(self, identity: int, data: bytes | None) -> None:
        _question, future = self._open.get(identity, (b"", None))
        if future and not future.done():
            future.set_result(data)


def _question(domain: str) -> bytes | None:
    """The MX question for a name in lower-case ASCII; None for one that the DNS cannot hold."""
    labels = domain.encode().split(b".")
    if len(domain) > 253 or not domain.isascii() or not all(0 < len(one) < 64 for one in labels):
        return None
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0" + _MX_IN


def _mx_records(answer: bytes, question: bytes) -> Records | None:
    """The records; empty for a name that does not exist, None for anything that is not plain."""
    _identity, flags, questions, answers, _authority, _more = _HEADER.unpack_from(answer)
    if not flags & _ANSWERED or flags & _TRUNCATED or questions != 1:
        return None
    if answers == 0:
        return [] if flags & _RCODE == _NXDOMAIN else None
    if flags & _RCODE:
        return None
    records: Records = []
    at = _HEADER.size + len(question)
    try:
        for _ in range(answers):
            if answer[at : at + 2] != _OWNER:
                return None
            kind, of, _ttl, length = _RECORD.unpack_from(answer, at + 2)
            if kind != 15 or of != 1:
                return None
            at += 2 + _RECORD.size
            host = _name(answer, at + 2)
            if host is None or length < 3:
                return None
            records.append((int.from_bytes(answer[at : at + 2], "big"), host))
            at += length
    except (IndexError, struct.error):
        return None
    return records


def _name(answer: bytes, at: int) -> str | None:
    labels: list[str] = []
    pointers = 0
    while length := answer[at]:
        if length >= 0xC0:
            pointers += 1
            if pointers > _MOST_POINTERS:
                return None
            at = (length & 0x3F) << 8 | answer[at + 1]
            continue
        label = answer[at + 1 : at + 1 + length]
        if length > 63 or len(label) < length or not label.isascii() or b"." in label:
            return None
        labels.append(label.decode())
        at += 1 + length
        if len(labels) > 127:
            return None
    return ".".join(labels).lower()
