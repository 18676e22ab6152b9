"""`manage.py receive_mail`: take in reports and requests to unsubscribe that come by mail."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from apps.returns.services.receiver import controller


class Command(BaseCommand):
    help = "Receive delivery reports and requests to unsubscribe by SMTP until stopped."
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:
        loop = asyncio.new_event_loop()
        server = controller(settings.INBOUND_HOST, settings.INBOUND_PORT, loop)
        server.begin()  # type: ignore[no-untyped-call]  # aiosmtpd leaves it without types
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, loop.stop)
        self.stdout.write(f"Receiving on {settings.INBOUND_HOST}:{settings.INBOUND_PORT}")
        try:
            loop.run_forever()
        finally:
            server.end()  # type: ignore[no-untyped-call]
            loop.close()
