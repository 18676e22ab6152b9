from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.linkcheck import MOST_LINKS, Answer, check_link, check_links
from mailkit.networks import is_public_address

PUBLIC = "93.184.216.34"


class Site:
    """A web server on loopback that follows a script: path → (status, headers)."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[tuple[str, str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                site.asked.append((self.command, self.path, self.headers["Host"]))
                status, headers = site.pages.get(self.path.partition("?")[0], (404, {}))
                if self.command == "HEAD" and headers.get("X-Get-Only"):
                    status = 405
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_HEAD = answer

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def url(self, path: str, host: str = "site.test") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


def names(**hosts: str) -> Callable[[str, int], list[str]]:
    """Site.test is loopback, as the others say."""
    known = {"site.test": "127.0.0.1"} | {name.replace("_", "."): ip for name, ip in hosts.items()}

    def resolve(host: str, port: int) -> list[str]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [known[host]]

    return resolve


def check(url: str, **hosts: str) -> Answer:
    return check_link(url, allowed=lambda address: address == "127.0.0.1", resolve=names(**hosts))


def test_what_is_there_and_what_is_not(site: Site) -> None:
    site.pages = {
        "/ok": (200, {"Content-Length": "1234"}),
        "/gone": (410, {}),
        "/broken": (500, {}),
        "/secret": (403, {}),
        "/get": (200, {"X-Get-Only": "1"}),
        "/moved": (302, {"Location": "/ok"}),
        "/nowhere": (301, {"Location": "http://nosuch.test/"}),
        "/loop": (302, {"Location": "/loop"}),
        "/mail": (302, {"Location": "mailto:a@x.test"}),
    }
    verdicts = {
        path: check(site.url(path)).verdict for path in (*site.pages, "/missing", "/ok?q=é x#y")
    }
    assert verdicts == {
        "/ok": "ok",
        "/gone": "dead",
        "/broken": "unknown",
        "/secret": "unknown",
        "/get": "ok",
        "/moved": "ok",
        "/nowhere": "dead",
        "/loop": "dead",
        "/mail": "dead",
        "/missing": "dead",
        "/ok?q=é x#y": "ok",
    }
    assert check(site.url("/ok")).size == 1234
    assert ("GET", "/get", f"site.test:{site.port}") in site.asked
    assert check("http://nosuch.test/").verdict == "dead"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "::1", "::", "fe80::1", "fc00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1"),
    ],
)
def test_no_private_address_is_reached(site: Site, address: str) -> None:
    """A name, or the address itself."""
    site.pages = {"/": (200, {})}
    url = f"http://evil.test:{site.port}/"
    assert check_link(url, resolve=lambda host, port: [address]) == Answer("forbidden")
    # One public address among them does not help.
    both = check_link(url, resolve=lambda host, port: [PUBLIC, address])
    assert both == Answer("forbidden")
    host = f"[{address}]" if ":" in address else address
    assert check_link(f"http://{host}:{site.port}/").verdict != "ok"
    assert not site.asked


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/inside",
        "http://localhost:{port}/inside",
        "http://[::1]:{port}/inside",
        "http://2130706433:{port}/inside",
        "http://evil.test:{port}/inside",
        "//evil.test:{port}/inside",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
    ],
)
def test_no_redirect_leads_inside(site: Site, location: str) -> None:
    # site.test stands for a public server; whatever else is on loopback is inside.
    site.pages = {"/": (302, {"Location": location.format(port=site.port)}), "/inside": (200, {})}
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    def allowed(address: str) -> bool:
        return asked[-1] == "site.test" or is_public_address(address)

    answer = check_link(site.url("/"), allowed=allowed, resolve=resolve)
    assert answer.verdict in ("forbidden", "dead")
    assert [path for _method, path, _host in site.asked if path != "/"] == []


def test_the_name_is_looked_up_once_for_each_connection(site: Site) -> None:
    """A second answer of the DNS cannot lead elsewhere: the address that was checked is used."""
    site.pages = {"/": (200, {})}
    answers = iter(["127.0.0.1"])
    url = site.url("/", host="rebind.test")
    found = check_link(url, allowed=lambda _a: True, resolve=lambda host, port: [next(answers)])
    assert found.verdict == "ok"
    assert site.asked == [("HEAD", "/", f"rebind.test:{site.port}")]


def test_a_server_that_says_nothing(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://site.test:{silent.getsockname()[1]}/"
        found = check_link(url, allowed=lambda _a: True, resolve=names(), seconds=0.3)
    assert found.verdict == "unknown"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_a_little_now_and_then(scheme: str) -> None:
    """For ever, as far as it is concerned: only the end of the time ends it."""

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.02):
                    self.request.sendall(b"H")

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"{scheme}://127.0.0.1:{server.server_address[1]}/"
            answer = check_link(url, allowed=lambda _address: True, seconds=0.3)
        finally:
            over.set()
            server.shutdown()
            thread.join()
    assert answer.verdict == "unknown"


def test_a_letter_with_many_links_is_checked_in_part(site: Site) -> None:
    site.pages = {"/": (200, {})}
    urls = [site.url(f"/?{number}") for number in range(MOST_LINKS + 20)]
    found = check_links(
        [*urls, "mailto:a@x.test", urls[0]], allowed=lambda _a: True, resolve=names()
    )
    assert [*found] == urls[:MOST_LINKS]
    assert {one.verdict for one in found.values()} == {"ok"}


@given(st.text(max_size=60), st.sampled_from(["http://", "https://", ""]))
def test_no_address_raises(rest: str, scheme: str) -> None:
    assert check_link(scheme + rest, resolve=lambda host, port: ["127.0.0.1"]).verdict in (
        "forbidden",
        "dead",
        "unknown",
    )
