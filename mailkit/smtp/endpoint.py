"""Where to connect, how long to wait, and getting connected."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mailkit.rfc2047 import CONTROL
from mailkit.smtp.outcomes import BreakCode, Broken
from mailkit.smtp.wire import Wire

Security = Literal["none", "starttls", "tls"]

_UNSAFE_IN_NAME = re.compile(r"[\s<>\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait; the defaults are those of RFC 5321 section 4.5.3.2.

    Each covers a whole reply, except `connect` (DNS, TCP and implicit TLS together) and
    `data_block` (each block of 64 KB of the message).
    """

    connect: float = 30
    banner: float = 300
    ehlo: float = 300
    starttls: float = 120
    auth: float = 300
    mail: float = 300
    rcpt: float = 300
    data_init: float = 120
    data_block: float = 180
    data_done: float = 600
    rset: float = 300
    quit: float = 5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to connect. `ca_file`: certificates to trust instead of the system's."""

    host: str
    port: int
    security: Security
    local_hostname: str
    username: str = ""
    password: str = ""
    verify_tls: bool = True
    ca_file: str = ""

    def __post_init__(self) -> None:
        for name in (self.host, self.local_hostname):
            if not name or _UNSAFE_IN_NAME.search(name):
                raise ValueError("a host name is empty or has a space or control character")
        if not self.local_hostname.isascii():
            raise ValueError("local_hostname is not in its ASCII form")
        # A NUL parts the fields of AUTH PLAIN (RFC 4616).
        if CONTROL.search(self.username) or "\0" in self.password:
            raise ValueError("control character in the credentials")


async def connect(wire: Wire, endpoint: Endpoint, timeouts: Timeouts) -> Broken | None:
    loop = asyncio.get_running_loop()
    tls = tls_context(endpoint) if endpoint.security == "tls" else None
    try:
        async with asyncio.timeout(timeouts.connect):
            await loop.create_connection(
                lambda: wire,
                endpoint.host,
                endpoint.port,
                ssl=tls,
                server_hostname=endpoint.host if tls else None,
                # The limit above comes first and covers everything.
                ssl_handshake_timeout=2 * timeouts.connect if tls else None,
            )
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label that IDNA cannot encode
        return Broken("connect", connect_error(exc), detail=str(exc))
    return None


def connect_error(exc: OSError | UnicodeError) -> BreakCode:
    match exc:
        case TimeoutError():
            return "timeout"
        case ssl.SSLCertVerificationError():
            return "certificate"
        case ssl.SSLError():
            return "tls"
        case socket.gaierror() | UnicodeError():
            return "dns"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionError():
            return "closed"
        case _:
            return "unreachable"


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    return _make_context(endpoint.verify_tls, endpoint.ca_file)


@lru_cache(maxsize=32)  # reading the system's certificates takes tens of milliseconds
def _make_context(verify: bool, ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
