"""`python -m benchmarks.mail_servers`: what verification asks, in a process of its own.

Two servers on loopback, whose ports it prints: a DNS server that does as little as one can, and
the sandbox's SMTP server with so many milliseconds between a command and its reply (the first
argument). It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

import uvloop

from apps.sandbox.dns_server import DnsServer
from apps.sandbox.smtp_server import SmtpServer
from apps.sandbox.store import MemoryStore
from core.local.runtime import free_ports

# One domain in so many does not exist.
MISSING = 20
_MX = 15
_HEADER = struct.Struct("!6H")


class FastDns(asyncio.DatagramProtocol):
    """Answers each MX question with one host, `mx.` before the name, or NXDOMAIN; no EDNS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own kind of transport is none of asyncio's classes.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = answer_to(data)
        if answer:
            self._transport.sendto(answer, addr)


def answer_to(query: bytes) -> bytes | None:
    """The name's first label ends in its number, which says whether it exists."""
    end = query.find(b"\0", 12)
    if end < 0 or len(query) < end + 5:
        return None
    question = query[12 : end + 5]
    (identity,) = struct.unpack_from("!H", query)
    first = query[13 : 13 + query[12]]
    number = int(first.lstrip(b"abcdefghijklmnopqrstuvwxyz-") or b"1")
    kind = struct.unpack_from("!H", query, end + 1)[0]
    if number % MISSING == 0:
        return _HEADER.pack(identity, 0x8183, 1, 0, 0, 0) + question
    if kind != _MX:
        return _HEADER.pack(identity, 0x8180, 1, 0, 0, 0) + question
    # A pointer to the question's name, type, class, TTL; preference, `mx.` and a pointer again.
    record = b"\xc0\x0c" + struct.pack("!HHIHH", _MX, 1, 300, 7, 10) + b"\x02mx\xc0\x0c"
    return _HEADER.pack(identity, 0x8180, 1, 1, 0, 0) + question + record


async def serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    (port,) = free_ports(1)
    await loop.create_datagram_endpoint(FastDns, local_addr=("127.0.0.1", port))
    smtp = SmtpServer(MemoryStore(), latency=latency)
    dns = DnsServer(upstreams=[])
    await smtp.start()
    await dns.start()
    print(port, smtp.port, dns.port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) / 1000))
