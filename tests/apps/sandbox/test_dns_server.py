from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.asyncquery
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.sandbox.dns_server import DnsServer, Upstreams, parse_query
from apps.sandbox.world import BEHAVIOURS, Behaviour, Dns


@asynccontextmanager
async def running(upstreams: Upstreams = (), timeout: float = 2.0) -> AsyncIterator[DnsServer]:
    server = DnsServer(upstreams=upstreams, upstream_timeout=timeout)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(
    server: DnsServer, name: str, rdtype: str = "MX", *, tcp: bool = False, timeout: float = 5
) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await send(query, server.host, timeout=timeout, port=server.port)


def values(response: dns.message.Message) -> list[str]:
    """Of the answer, in lower case: compression takes over the letters of the question."""
    return sorted(record.to_text().lower() for rrset in response.answer for record in rrset)


EXPECTED: dict[Dns, tuple[dns.rcode.Rcode, list[str], list[str]]] = {
    Dns.MX: (dns.rcode.NOERROR, ["10 mx1.{kind}.sandbox.test.", "20 mx2.{kind}.sandbox.test."], []),
    Dns.NULL_MX: (dns.rcode.NOERROR, ["0 ."], ["127.0.0.1"]),
    Dns.ADDRESS_ONLY: (dns.rcode.NOERROR, [], ["127.0.0.1"]),
    Dns.NO_DATA: (dns.rcode.NOERROR, [], []),
    Dns.NO_NAME: (dns.rcode.NXDOMAIN, [], []),
    Dns.SERVFAIL: (dns.rcode.SERVFAIL, [], []),
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    "row", [row for row in BEHAVIOURS if row.dns in EXPECTED], ids=lambda row: row.domain
)
def test_each_kind_of_domain(row: Behaviour, tcp: bool) -> None:
    rcode, mx, addresses = EXPECTED[row.dns]

    async def main() -> None:
        async with running() as server:
            for name in (f"{row.domain}.sandbox.test", f"Shop.{row.domain}.Sandbox.test"):
                response = await ask(server, name, tcp=tcp)
                assert response.rcode() == rcode
                assert values(response) == [value.format(kind=row.domain) for value in mx]
                response = await ask(server, name, "A", tcp=tcp)
                assert response.rcode() == rcode
                assert values(response) == addresses
                assert response.flags & dns.flags.RA
                assert values(await ask(server, name, "AAAA", tcp=tcp)) == []

    asyncio.run(main())


def test_mail_hosts_have_an_address_and_no_mx() -> None:
    async def main() -> None:
        async with running() as server:
            response = await ask(server, "sandbox.test")
            assert values(response) == [
                "10 mx1.inbox.sandbox.test.",
                "20 mx2.inbox.sandbox.test.",
            ]
            for host in ("mx1.inbox.sandbox.test", "mx2.grey.sandbox.test"):
                assert values(await ask(server, host, "A")) == ["127.0.0.1"]
                response = await ask(server, host)
                assert values(response) == []
                assert response.authority[0].rdtype == dns.rdatatype.SOA

    asyncio.run(main())


def test_silent_names_are_heard_but_never_answered() -> None:
    """The server answers a later question on the same socket, and only that one."""

    async def main() -> None:
        async with running() as server:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect((server.host, server.port))
                for name in ("a.dnstimeout.sandbox.test", "sandbox.test"):
                    client.send(dns.message.make_query(name, "MX").to_wire())
                response = dns.message.from_wire(await loop.sock_recv(client, 4096))
                assert response.question[0].name.to_text() == "sandbox.test."
                with pytest.raises(BlockingIOError):
                    client.recv(4096)
            assert server.queries == {"a.dnstimeout.sandbox.test": 1, "sandbox.test": 1}

    asyncio.run(main())


def test_queries_are_counted_by_lower_case_name() -> None:
    async def main() -> None:
        async with running() as server:
            for name in ("Inbox.sandbox.test", "inbox.SANDBOX.test.", "full.sandbox.test"):
                await ask(server, name)
            assert server.queries == {"inbox.sandbox.test": 2, "full.sandbox.test": 1}

    asyncio.run(main())


def test_malformed_packets_are_ignored_and_others_answered() -> None:
    query = dns.message.make_query("sandbox.test", "MX").to_wire()
    answer = bytearray(query)
    answer[2] |= 0x80  # QR: must not start a loop between two servers
    bad = (b"", b"x", b"\0" * 11, query[:-3], query + b"junk", b"\xff" * 600, bytes(answer))

    async def main() -> None:
        async with running() as server:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect((server.host, server.port))
                for packet in (*bad, query):
                    client.send(packet)
                assert (await loop.sock_recv(client, 4096))[:2] == query[:2]
                with pytest.raises(BlockingIOError):
                    client.recv(4096)
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(struct.pack("!H", 5) + b"xxxxx")
            assert await reader.read() == b""
            writer.close()
            assert (await ask(server, "sandbox.test", tcp=True)).rcode() == dns.rcode.NOERROR

    asyncio.run(main())


@given(st.binary(max_size=80))
def test_any_packet_is_parsed_or_ignored(wire: bytes) -> None:
    parse_query(wire)


@given(st.data())
def test_damaged_queries_are_parsed_or_ignored(data: st.DataObject) -> None:
    wire = bytearray(dns.message.make_query("a.sandbox.test", "MX", use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    server = DnsServer(upstreams=())
    query = parse_query(bytes(wire))
    if query is not None and not server._takes_time(query):
        response = server._answer(query)
        assert response is None or response.to_wire(max_size=512, prefer_truncation=True)


def test_other_operations_and_classes_are_refused() -> None:
    notify = dns.message.make_query("sandbox.test", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    chaos = dns.message.make_query("version.bind", "TXT", "CH")
    empty = dns.message.QueryMessage()

    async def main() -> None:
        async with running() as server:
            for query, rcode in (
                (notify, dns.rcode.NOTIMP),
                (chaos, dns.rcode.REFUSED),
                (empty, dns.rcode.FORMERR),
            ):
                response = await dns.asyncquery.udp(query, server.host, timeout=5, port=server.port)
                assert response.rcode() == rcode
            assert not server.queries

    asyncio.run(main())


class Upstream(asyncio.DatagramProtocol):
    """Answers every question with 25 MX records; as many as fit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        name = query.question[0].name
        hosts = [f"10 mail{number}.example." for number in range(25)]
        response.answer = [dns.rrset.from_text(name, 300, "IN", "MX", *hosts)]
        self.transport.sendto(response.to_wire(), addr)


def test_other_names_are_passed_on() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
        upstream = transport.get_extra_info("sockname")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            async with running([deaf.getsockname(), upstream], timeout=1.0) as server:
                response = await ask(server, "example.org", tcp=True)
                assert len(values(response)) == 25
                assert not response.flags & dns.flags.AA
            async with running([upstream]) as server:
                # Without EDNS at most 512 octets fit: the client must come back over TCP.
                response = await ask(server, "example.org")
                assert response.flags & dns.flags.TC
                assert server.queries["example.org"] == 1
        transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_servfail_without_a_working_upstream(tcp: bool) -> None:
    async def main() -> None:
        async with running([]) as server:
            assert (await ask(server, "example.org", tcp=tcp)).rcode() == dns.rcode.SERVFAIL
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            async with running([deaf.getsockname()], timeout=0.05) as server:
                assert (await ask(server, "example.org", tcp=tcp)).rcode() == dns.rcode.SERVFAIL

    asyncio.run(main())


def test_a_deaf_upstream_does_not_hold_up_the_sandbox() -> None:
    """Its question is still pending when a later one for a sandbox name has its answer."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            async with running([deaf.getsockname()], timeout=60) as server:
                pending = [
                    asyncio.create_task(ask(server, f"name{n}.example", timeout=60))
                    for n in range(50)
                ]
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                for _ in pending:  # all of them have reached the upstream
                    await loop.sock_recv(deaf, 4096)
                assert values(await ask(server, "aonly.sandbox.test", "A")) == ["127.0.0.1"]
                assert not any(task.done() for task in pending)
                for task in pending:
                    task.cancel()

    asyncio.run(main())


def test_two_questions_on_one_connection() -> None:
    async def main() -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            for name in ("sandbox.test", "full.sandbox.test"):
                wire = dns.message.make_query(name, "MX").to_wire()
                writer.write(struct.pack("!H", len(wire)) + wire)
            for name in ("sandbox.test.", "full.sandbox.test."):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                response = dns.message.from_wire(await reader.readexactly(length))
                assert response.question[0].name.to_text() == name
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_only_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        DnsServer(host=host, upstreams=())
