"""Whether the links of a letter lead somewhere, asked without reaching any private network.

Whoever writes a letter chooses its links, and anyone's DNS can name loopback. A name is looked up
once, all its addresses have to be public, and the connection goes to one of those addresses: a
second answer of the DNS changes nothing. Each redirect is checked in the same way.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit

from mailkit.networks import is_public_address

MOST_LINKS = 50
SECONDS = 5.0  # of one link, with its redirects
_REDIRECTS = 5
_AT_ONCE = 10
_AGENT = "Mozilla/5.0 (compatible; VashSender link check)"
# What servers that do not like HEAD say to it.
_ASK_AGAIN = frozenset((400, 401, 403, 404, 405, 406, 409, 429, 500, 501, 502, 503))

Verdict = Literal["ok", "dead", "unknown", "forbidden"]
Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`dead`: the server says that there is nothing (404, 410), or there is no such server.
    `unknown`: no answer in time, or one for people alone. `forbidden`: no public address.
    `size`: octets as the server says, 0 where it does not.
    """

    verdict: Verdict
    status: int = 0
    size: int = 0


def check_links(
    urls: Iterable[str],
    *,
    allowed: Callable[[str], bool] = is_public_address,
    resolve: Resolve | None = None,
    seconds: float = SECONDS,
) -> dict[str, Answer]:
    """Ask for each of the first MOST_LINKS http and https addresses. Never raises."""
    wanted = [url for url in dict.fromkeys(urls) if url.lower().startswith(("http://", "https://"))]
    wanted = wanted[:MOST_LINKS]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(
            lambda url: check_link(url, allowed=allowed, resolve=resolve, seconds=seconds), wanted
        )
        return dict(zip(wanted, answers, strict=True))


def check_link(
    url: str,
    *,
    allowed: Callable[[str], bool] = is_public_address,
    resolve: Resolve | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """HEAD, and GET where that is refused; no body is read."""
    until = time.monotonic() + seconds
    try:
        answer = _follow("HEAD", url, allowed, resolve or _addresses, until)
        if answer.status in _ASK_AGAIN:
            answer = _follow("GET", url, allowed, resolve or _addresses, until)
    except socket.gaierror as error:
        gone = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
        return Answer("dead" if gone else "unknown")
    except ConnectionRefusedError:
        return Answer("dead")
    # The server's or the network's trouble may be over tomorrow; what no server could be is dead.
    except (OSError, http.client.HTTPException):
        return Answer("unknown")
    except (ValueError, UnicodeError):
        return Answer("dead")
    return answer


def _follow(
    method: str, url: str, allowed: Callable[[str], bool], resolve: Resolve, until: float
) -> Answer:
    for _hop in range(_REDIRECTS + 1):
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host:
            return Answer("dead")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = resolve(host, port)
        if not addresses or not all(map(allowed, addresses)):
            return Answer("forbidden")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        status, headers = _ask(method, parts.scheme, host, port, addresses[0], target, until)
        location = headers.get("location", "")
        if status in (301, 302, 303, 307, 308) and location:
            url = urljoin(url, location)
            continue
        size = headers.get("content-length", "")
        octets = int(size) if size.isdecimal() and len(size) < 12 else 0
        return Answer(_verdict(status), status, octets)
    return Answer("dead", 310)


def _verdict(status: int) -> Verdict:
    if 200 <= status < 400:
        return "ok"
    return "dead" if status in (404, 410) else "unknown"


def _ask(
    method: str, scheme: str, host: str, port: int, address: str, target: str, until: float
) -> tuple[int, Mapping[str, str]]:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    name = host if host.isascii() else host.encode("idna").decode()
    secure = scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    stream = socket.create_connection((address, port), timeout=left)
    if secure:
        # The name on the certificate matters to readers' browsers too.
        stream = ssl.create_default_context().wrap_socket(
            stream, server_hostname=name, do_handshake_on_connect=False
        )
    # The time-out of a socket begins anew with each octet; this one ends all of it.
    end = threading.Timer(max(until - time.monotonic(), 0.1), _hang_up, [stream])
    end.start()
    try:
        if isinstance(stream, ssl.SSLSocket):
            stream.do_handshake()
        connection = kind(name, port)
        connection.sock = stream
        connection.request(method, target, headers={"User-Agent": _AGENT, "Accept": "*/*"})
        response = connection.getresponse()
        headers = {key.lower(): value for key, value in response.getheaders()}
        response.close()
        return response.status, headers
    finally:
        end.cancel()
        stream.close()


def _hang_up(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        # Not the method of a TLS socket, which takes the ground from under a read in progress.
        socket.socket.shutdown(stream, socket.SHUT_RDWR)


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
