"""Both sandbox servers in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apps.sandbox.dns_server import DnsServer, Published
from apps.sandbox.smtp_server import Authenticate, SmtpServer
from apps.sandbox.store import Store


async def serve(
    *,
    smtp_port: int,
    dns_port: int,
    store: Store,
    authenticate: Authenticate | None,
    greylist_delay: float = 60.0,
    returns_port: int = 0,
    published: Published | None = None,
    ready: Callable[[int, int], None] | None = None,
) -> None:
    """Run both servers on 127.0.0.1 until cancelled.

    `ready(smtp_port, dns_port)` is called once both listen, with the real ports where 0 was
    asked for. The caller opens and closes the store. Raises OSError when a port is taken.
    """
    smtp = SmtpServer(
        store,
        port=smtp_port,
        authenticate=authenticate,
        greylist_delay=greylist_delay,
        returns_port=returns_port,
    )
    dns = DnsServer(port=dns_port, published=published)
    try:
        await smtp.start()
        await dns.start()
        if ready is not None:
            ready(smtp.port, dns.port)
        await asyncio.Event().wait()
    finally:
        await smtp.stop()
        await dns.stop()
