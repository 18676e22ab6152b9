"""`manage.py sandbox`: run the sandbox's SMTP and DNS servers."""

from __future__ import annotations

import asyncio
import hmac
import signal
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.sandbox.server import serve
from apps.sandbox.store import PostgresStore
from apps.senders.selectors import published_keys, sandbox_password


class Command(BaseCommand):
    help = "Run the sandbox's SMTP and DNS servers on loopback until stopped."
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with PostgresStore(settings.DATABASE_URL) as store:
            serving = asyncio.ensure_future(
                serve(
                    smtp_port=settings.SANDBOX_SMTP_PORT,
                    dns_port=settings.SANDBOX_DNS_PORT,
                    store=store,
                    authenticate=inbox_of,
                    greylist_delay=settings.SANDBOX_GREYLIST_SECONDS,
                    returns_port=settings.INBOUND_PORT,
                    published=published_keys,
                    ready=lambda smtp, dns: self.stdout.write(f"SMTP on {smtp}, DNS on {dns}"),
                )
            )
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, serving.cancel)
            await asyncio.wait([serving])
            if not serving.cancelled():
                serving.result()


def inbox_of(user: str, password: str) -> str | None:
    """The inbox that these credentials write to, None where they are wrong."""
    return user if hmac.compare_digest(password, sandbox_password(user)) else None
