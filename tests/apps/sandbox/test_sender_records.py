"""What the sandbox's DNS publishes for senders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from apps.sandbox.dns_server import DnsServer, Published
from mailkit.verify.dns import lookup_txt, make_resolver

KEY = "v=DKIM1; k=rsa; p=" + "A" * 400


async def of_one_key(name: str) -> Sequence[str]:
    return [KEY] if name == "one._domainkey.inbox.sandbox.test" else []


async def broken(name: str) -> Sequence[str]:
    raise OSError(name)


def texts(name: str, published: Published | None = of_one_key) -> tuple[str, ...] | None:
    async def main() -> tuple[str, ...] | None:
        server = DnsServer(upstreams=[], published=published)
        await server.start()
        try:
            resolver = make_resolver([(server.host, server.port)], timeout=5, lifetime=5)
            return await lookup_txt(name, resolver)
        finally:
            await server.stop()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sandbox.test", ("v=spf1 ip4:127.0.0.1 -all",)),
        ("Inbox.Sandbox.test", ("v=spf1 ip4:127.0.0.1 -all",)),
        ("returns.sandbox.test", ("v=spf1 ip4:127.0.0.1 -all",)),
        ("alias.sandbox.test", ("v=spf1 ip4:127.0.0.1 -all",)),
        ("_dmarc.sandbox.test", ("v=DMARC1; p=none",)),
        ("_dmarc.inbox.sandbox.test", ()),
        ("catchall.sandbox.test", ()),
        ("nxdomain.sandbox.test", ()),
        ("servfail.sandbox.test", None),
        ("one._domainkey.inbox.sandbox.test", (KEY,)),
        ("two._domainkey.inbox.sandbox.test", ()),
        ("one._domainkey.example.com", None),  # asked upstream, of which there is none
    ],
)
def test_texts(name: str, found: tuple[str, ...] | None) -> None:
    assert texts(name) == found


def test_without_keys_and_with_keys_that_cannot_be_read() -> None:
    assert texts("one._domainkey.inbox.sandbox.test", None) == ()
    assert texts("one._domainkey.inbox.sandbox.test", broken) is None


def test_a_name_with_texts_exists_for_other_questions_too() -> None:
    async def main() -> None:
        server = DnsServer(upstreams=[], published=of_one_key)
        await server.start()
        try:
            for tcp in (False, True):
                send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
                query = dns.message.make_query("returns.sandbox.test", "AAAA")
                response = await send(query, server.host, timeout=5, port=server.port)
                assert (response.rcode(), response.answer) == (dns.rcode.NOERROR, [])
                query = dns.message.make_query("one._domainkey.inbox.sandbox.test", "TXT")
                response = await send(query, server.host, timeout=5, port=server.port)
                assert KEY[:255] in response.answer[0].to_text()
            assert server.queries["one._domainkey.inbox.sandbox.test"] == 2
        finally:
            await server.stop()

    asyncio.run(main())
