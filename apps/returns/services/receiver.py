"""Our own mail server: it takes mail to addresses that carry a token of ours, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from apps.returns.models import InboundMessage
from apps.returns.services import receiving

logger = logging.getLogger(__name__)

# A report may quote the whole letter; more than this is refused.
LARGEST_MESSAGE = 20 * 1024 * 1024
MOST_CONNECTIONS = 50
MOST_RECIPIENTS = 10
IDLE_SECONDS = 120
WRITERS = 4


class Handler:
    """250 to a message only once it is committed."""

    def __init__(self) -> None:
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="inbound")

    async def handle_RCPT(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],
    ) -> str:
        if not receiving.is_ours(address):
            return "550 5.1.1 No such mailbox here"
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        data = content if isinstance(content, bytes) else (content or "").encode()
        loop = asyncio.get_running_loop()
        try:
            for recipient in dict.fromkeys(envelope.rcpt_tos):
                await loop.run_in_executor(
                    self._writers, _store, data, recipient, envelope.mail_from or ""
                )
        except DatabaseFault as error:
            logger.warning("a message could not be stored: %s", error)
            return "451 4.3.0 Not stored, try again later"
        return "250 2.0.0 Stored"


def _store(data: bytes, recipient: str, sender: str) -> None:
    try:
        receiving.store(source=InboundMessage.SMTP, data=data, recipient=recipient, sender=sender)
    except DatabaseFault:
        connection.close()  # it may be dead: the next one is new
        raise


class Server(SMTP):
    """With a limit to the connections: each may hold a message in memory."""

    open_connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Server.open_connections += 1
        if Server.open_connections > MOST_CONNECTIONS:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"421 4.3.2 Too busy, try again later\r\n")
            self._turned_away = True
            transport.close()
            return
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        Server.open_connections -= 1
        if not getattr(self, "_turned_away", False):
            super().connection_lost(error)


class Controller(UnthreadedController):
    def factory(self) -> SMTP:
        return Server(
            self.handler,
            data_size_limit=LARGEST_MESSAGE,
            enable_SMTPUTF8=True,
            hostname=settings.MAIL_HOSTNAME,
            ident="ESMTP",
            timeout=IDLE_SECONDS,
            loop=self.loop,
        )


def controller(host: str, port: int, loop: asyncio.AbstractEventLoop) -> Controller:
    """`begin` listens, `end` stops; both from outside the loop's coroutines."""
    return Controller(Handler(), hostname=host, port=port, loop=loop)
