"""Logging in, and where a connection may lead."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode, b64encode
from pathlib import Path
from socket import AF_INET, IPPROTO_TCP, SOCK_STREAM
from typing import Any

import pytest

from mailkit.smtp.endpoint import Endpoint, Timeouts, _first_to_answer
from mailkit.smtp.outcomes import Broken, Refused, Reply
from mailkit.smtp.session import Session

from .fake_server import HASTY, FakeServer

ALL = "AUTH CRAM-MD5 LOGIN PLAIN XOAUTH2"
TIM = {"username": "tim", "password": "tanstaaftanstaaf"}  # of RFC 2195
PLAIN = ["AUTH PLAIN " + b64encode(b"\0tim\0tanstaaftanstaaf").decode()]
LOGIN = ["AUTH LOGIN", b64encode(b"tim").decode(), b64encode(b"tanstaaftanstaaf").decode()]
CRAM_MD5 = [
    "AUTH CRAM-MD5",
    b64encode(b"tim b913a602c7eda7a495b4e6e7334d3890").decode(),
]
XOAUTH2 = [
    "AUTH XOAUTH2 " + b64encode(b"user=tim\1auth=Bearer tanstaaftanstaaf\1\1").decode(),
]


def log_in(
    offered: str, script: dict[str, Any] | None = None, timeouts: Timeouts | None = None, **ep: Any
) -> tuple[Session | Refused | Broken, list[str]]:
    """What came of it, and what was said between EHLO and QUIT."""

    async def go() -> tuple[Session | Refused | Broken, list[str]]:
        async with FakeServer(script, extensions=[offered]) as server:
            opened = await Session.open(server.endpoint(**(TIM | ep)), timeouts)
            if isinstance(opened, Session):
                await opened.close()
            said = [line for line in server.commands if line != "QUIT"]
            return opened, said[1:]

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("auth", "offered", "said"),
    [
        ("plain", ALL, PLAIN),
        ("login", ALL, LOGIN),
        ("cram-md5", ALL, CRAM_MD5),
        ("xoauth2", ALL, XOAUTH2),
        # Without TLS the password itself stays here where there is another way.
        ("auto", ALL, CRAM_MD5),
        ("auto", "AUTH LOGIN PLAIN", PLAIN),
        ("auto", "auth login xoauth2", LOGIN),
    ],
)
def test_the_mechanism(auth: str, offered: str, said: list[str]) -> None:
    opened, heard = log_in(offered, auth=auth)
    assert isinstance(opened, Session)
    assert heard == said


@pytest.mark.parametrize(
    ("offered", "said"),
    [(ALL, PLAIN), ("AUTH CRAM-MD5 LOGIN", LOGIN), ("AUTH CRAM-MD5", CRAM_MD5)],
)
def test_under_tls_the_simplest_is_first(
    offered: str, said: list[str], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    context, ca_file = certificate

    async def go() -> list[str]:
        async with FakeServer(extensions=[offered], tls=context, implicit_tls=True) as server:
            endpoint = server.endpoint(security="tls", ca_file=str(ca_file), **TIM)
            opened = await Session.open(endpoint)
            assert isinstance(opened, Session), opened
            await opened.close()
            return server.commands[1:-1]

    assert asyncio.run(go()) == said


@pytest.mark.parametrize(
    ("auth", "offered"),
    [
        ("xoauth2", "AUTH PLAIN LOGIN CRAM-MD5"),
        ("plain", "AUTH LOGIN"),
        ("cram-md5", "AUTH PLAIN"),
        # A token is no password: it goes out only where one is asked for.
        ("auto", "AUTH XOAUTH2"),
        ("auto", "AUTH GSSAPI"),
    ],
)
def test_nothing_else_is_tried(auth: str, offered: str) -> None:
    opened, heard = log_in(offered, auth=auth)
    assert opened == Broken("auth", "not_offered", detail=offered.removeprefix("AUTH "))
    assert heard == []


def test_xoauth2_answers_the_error_to_hear_the_refusal() -> None:
    error = b64encode(b'{"status":"400","schemes":"bearer"}').decode()
    script = {"ERROR": error, "AUTH": "535 5.7.8 Username and Password not accepted."}
    opened, heard = log_in(ALL, script, auth="xoauth2")
    reply = Reply(535, "5.7.8", "5.7.8 Username and Password not accepted.")
    assert opened == Refused("auth", reply)
    assert heard == [*XOAUTH2, ""]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"PROMPT": "334 not base64!"}, "bad_reply"),
        ({"AUTH": "334 and another"}, "bad_reply"),
        ({"AUTH": "354 go ahead"}, "bad_reply"),
        ({"PROMPT": "drop"}, "closed"),
        ({"PROMPT": "hang"}, "timeout"),
        ({"AUTH": "drop"}, "closed"),
    ],
)
def test_cram_md5_broken(script: dict[str, Any], error: str) -> None:
    opened, _ = log_in(ALL, script, HASTY, auth="cram-md5")
    assert isinstance(opened, Broken)
    assert (opened.stage, opened.error, opened.after_dot) == ("auth", error, False)


@pytest.mark.parametrize("auth", ["plain", "login", "cram-md5", "xoauth2"])
@pytest.mark.parametrize("code", [454, 535])
def test_refused(auth: str, code: int) -> None:
    opened, _ = log_in(ALL, {"AUTH": f"{code} no"}, auth=auth)
    assert opened == Refused("auth", Reply(code, None, "no"))


@pytest.mark.parametrize("auth", ["plain", "login", "xoauth2"])
def test_a_server_that_repeats_the_credentials_does_not_get_them_shown(auth: str) -> None:
    sent = {"plain": PLAIN, "login": LOGIN, "xoauth2": XOAUTH2}[auth][-1]
    script = {"AUTH": f"500 what is {sent}? And tanstaaftanstaaf?"}
    opened, heard = log_in(ALL, script, auth=auth)
    assert heard[-1] == sent
    assert isinstance(opened, Refused)
    assert sent.rpartition(" ")[2] not in repr(opened)
    assert "tanstaaf" not in repr(opened)
    assert opened.reply.text.startswith("what is ")


def test_the_password_is_in_no_repr() -> None:
    endpoint = Endpoint("h.example", 25, "none", "c.example", "user", "s3cret")
    assert "s3cret" not in repr(endpoint)


@pytest.mark.parametrize("password", ["a\0b", "token\1auth=Bearer other"])
def test_credentials_cannot_add_fields(password: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        Endpoint("h.example", 25, "none", "c.example", "user", password)


def test_a_line_end_in_a_password_ends_no_line() -> None:
    for auth in ("plain", "login", "cram-md5", "xoauth2"):
        opened, heard = log_in(ALL, auth=auth, password="a\r\nRSET\r\nb")
        assert isinstance(opened, Session)
        assert "RSET" not in heard
    assert b"a\r\nRSET\r\nb" in b64decode(heard[0].rpartition(" ")[2])


# Where to.


def open_at(server: FakeServer, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
    } | changes
    return Session.open(Endpoint(local_hostname="client.example", **settings), Timeouts())


def outcome_at(**changes: Any) -> tuple[Any, int]:
    """What came of opening, and how many connections the server saw."""

    async def go() -> tuple[Any, int]:
        async with FakeServer() as server:
            opened = await open_at(server, **changes)
            if isinstance(opened, Session):
                await opened.close()
            return opened, len(server.sessions)

    return asyncio.run(go())


def test_a_given_address_is_used_and_the_name_is_not_looked_up() -> None:
    opened, sessions = outcome_at(host="does-not-exist.invalid", address="127.0.0.1")
    assert isinstance(opened, Session)
    assert sessions == 1


def test_the_certificate_must_bear_the_name_and_not_the_address(
    certificate: tuple[ssl.SSLContext, Path],
) -> None:
    context, ca_file = certificate

    async def go(host: str, security: str) -> Any:
        implicit = security == "tls"
        async with FakeServer(tls=context, implicit_tls=implicit) as server:
            opened = await open_at(
                server, host=host, address="127.0.0.1", security=security, ca_file=str(ca_file)
            )
            if isinstance(opened, Session):
                await opened.close()
            return opened

    for security, stage in (("tls", "connect"), ("starttls", "starttls")):
        assert isinstance(asyncio.run(go("localhost", security)), Session)
        wrong = asyncio.run(go("other.example", security))
        assert (wrong.stage, wrong.error) == (stage, "certificate")


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("64:ff9b::7f00:1", "64:ff9b::7f00:1"),
    ],
)
def test_a_host_that_leads_to_a_private_address_is_refused_at_the_connection(
    host: str, detail: str
) -> None:
    opened, sessions = outcome_at(host=host, port=25, public_only=True)
    assert (opened.stage, opened.error) == ("connect", "not_public")
    assert detail in opened.detail
    assert sessions == 0


def test_a_given_address_must_be_public_too() -> None:
    opened, _ = outcome_at(host="mail.example", address="127.0.0.1", port=25, public_only=True)
    assert opened == Broken("connect", "not_public", detail="127.0.0.1")


@pytest.mark.parametrize("port", [22, 6379, 5432])
def test_ports_that_are_not_for_mail_are_refused(port: int) -> None:
    opened, _ = outcome_at(host="8.8.8.8", port=port, public_only=True)
    assert opened == Broken("connect", "not_public", detail=f"port {port}")


def test_a_name_that_is_not_known() -> None:
    opened, _ = outcome_at(host="does-not-exist.invalid")
    assert (opened.stage, opened.error) == ("connect", "dns")


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    async def go() -> Any:
        async with FakeServer() as server:
            found = [
                (AF_INET, SOCK_STREAM, IPPROTO_TCP, "", (address, server.port))
                for address in ("127.0.0.2", "127.0.0.1")
            ]
            with await _first_to_answer(found, 5) as connected:
                assert connected.getpeername()[0] == "127.0.0.1"
            with pytest.raises(ConnectionRefusedError):
                await _first_to_answer(found[:1], 5)

    asyncio.run(go())
