"""Where to connect, how long to wait, and getting connected."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from mailkit.networks import is_public_address
from mailkit.rfc2047 import CONTROL
from mailkit.smtp.outcomes import BreakCode, Broken
from mailkit.smtp.wire import Wire

Security = Literal["none", "starttls", "tls"]
Auth = Literal["auto", "plain", "login", "cram-md5", "xoauth2"]

AddressInfo = tuple[Any, Any, int, str, Any]  # as of getaddrinfo

# Submission and relaying; a `public_only` endpoint must not reach other services.
MAIL_PORTS = frozenset({25, 465, 587, 2525})
_ADDRESSES_TRIED = 4  # each gets its share of the time

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
    """Where and how to connect.

    `address`: the IP address to connect to instead of asking DNS for `host`, which stays the
    name that the certificate must bear. `public_only`: refuse addresses that are not public and
    ports that are not for mail. `auth`: "auto" takes the first of PLAIN, LOGIN and CRAM-MD5
    that the server offers, without TLS CRAM-MD5 first; for "xoauth2" the password is the access
    token. `ca_file`: certificates to trust instead of the system's.
    """

    host: str
    port: int
    security: Security
    local_hostname: str
    username: str = ""
    password: str = field(default="", repr=False)
    auth: Auth = "auto"
    address: str = ""
    public_only: bool = False
    verify_tls: bool = True
    ca_file: str = ""

    def __post_init__(self) -> None:
        for name in (self.host, self.local_hostname):
            if not name or _UNSAFE_IN_NAME.search(name):
                raise ValueError("a host name is empty or has a space or control character")
        if not self.local_hostname.isascii():
            raise ValueError("local_hostname is not in its ASCII form")
        # A NUL parts the fields of AUTH PLAIN (RFC 4616), \1 those of XOAUTH2.
        if CONTROL.search(self.username) or re.search(r"[\0\1]", self.password):
            raise ValueError("control character in the credentials")


async def connect(wire: Wire, endpoint: Endpoint, timeouts: Timeouts) -> Broken | None:
    """Connect `wire`. DNS is asked once, and what it said is both checked and connected to:
    a second question could have another answer (DNS rebinding)."""
    loop = asyncio.get_running_loop()
    tls = tls_context(endpoint) if endpoint.security == "tls" else None
    try:
        async with asyncio.timeout(timeouts.connect):
            found = await loop.getaddrinfo(
                endpoint.address or endpoint.host,
                endpoint.port,
                type=socket.SOCK_STREAM,
                proto=socket.IPPROTO_TCP,
            )
            if endpoint.public_only and (refusal := _not_public(endpoint.port, found)):
                return Broken("connect", "not_public", detail=refusal)
            connected = await _first_to_answer(found[:_ADDRESSES_TRIED], timeouts.connect)
            await loop.create_connection(
                lambda: wire,
                sock=connected,
                ssl=tls,
                server_hostname=endpoint.host if tls else None,
                # The limit above comes first and covers everything.
                ssl_handshake_timeout=2 * timeouts.connect if tls else None,
            )
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label that IDNA cannot encode
        return Broken("connect", connect_error(exc), detail=str(exc))
    return None


def _not_public(port: int, found: Sequence[AddressInfo]) -> str:
    if port not in MAIL_PORTS:
        return f"port {port}"
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    return ", ".join(address for address in addresses if not is_public_address(address))


async def _first_to_answer(found: Sequence[AddressInfo], seconds: float) -> socket.socket:
    """A TCP connection to the first address that takes one. Raises the last one's OSError."""
    loop = asyncio.get_running_loop()
    for number, (family, kind, protocol, _, sockaddr) in enumerate(found, start=1):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(seconds / len(found)):
                await loop.sock_connect(sock, sockaddr)
            # The event loops do it only for sockets that they have made.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError:
            sock.close()
            if number == len(found):
                raise
        except BaseException:
            sock.close()
            raise
    raise OSError("no address")


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
