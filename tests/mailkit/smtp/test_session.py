from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from mailkit.smtp.connection import Connection
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.outcomes import Accepted, Broken, Refused, Reply
from mailkit.smtp.session import Session
from tests.support.letters import BIG, send_letter

from .fake_server import DROP, EXTENSIONS, HANG, HASTY, FakeServer


async def connect(server: FakeServer, timeouts: Timeouts | None = None, **ep: Any) -> Session:
    connection = await Session.open(server.endpoint(**ep), timeouts)
    assert isinstance(connection, Session), connection
    return connection


def open_only(script: dict[str, Any], timeouts: Timeouts | None = None, **ep: Any) -> Any:
    async def go() -> Any:
        extensions = ep.pop("extensions", EXTENSIONS)
        async with FakeServer(script, extensions=extensions) as server:
            opened = await Session.open(server.endpoint(**ep), timeouts)
            if isinstance(opened, Session):
                await opened.close()
            return opened

    return asyncio.run(go())


# Opening.


@pytest.mark.parametrize(
    ("script", "stage"), [({"BANNER": "554 no"}, "banner"), ({"EHLO": "451 x"}, "ehlo")]
)
def test_refused_on_opening(script: dict[str, str], stage: str) -> None:
    outcome = open_only(script)
    assert isinstance(outcome, Refused)
    assert outcome.stage == stage


@pytest.mark.parametrize("action", [DROP, HANG, "nonsense", "354 x"])
@pytest.mark.parametrize("verb", ["BANNER", "EHLO"])
def test_broken_on_opening(verb: str, action: str) -> None:
    outcome = open_only({verb: action}, HASTY)
    assert isinstance(outcome, Broken)
    assert outcome.stage == verb.lower()
    errors = {DROP: "closed", HANG: "timeout"}
    assert outcome.error == errors.get(action, "bad_reply")


def test_nobody_listens() -> None:
    async def go() -> Any:
        async with FakeServer() as server:
            endpoint = server.endpoint()
        return await Session.open(endpoint)

    outcome = asyncio.run(go())
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error) == ("connect", "refused")


def test_host_that_cannot_be_a_name() -> None:
    endpoint = Endpoint("a..b", 25, "none", "client.example")
    outcome = asyncio.run(Session.open(endpoint))
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error) == ("connect", "dns")


@pytest.mark.parametrize(
    "flood",
    ["220-" + "x" * 70_000, "220-x\r\n" * 20_000 + "220 x", "220 " + "y" * 70_000, "z" * 200_000],
)
def test_endless_reply_breaks(flood: str) -> None:
    outcome = open_only({"BANNER": flood})
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error) == ("banner", "bad_reply")


def test_control_characters_of_replies_do_not_reach_the_logs() -> None:
    outcome = open_only({"BANNER": "554-a\x1b[31m\x00b\r\n554 \xffc\rd"})
    assert isinstance(outcome, Refused)
    assert outcome.reply.text == "a [31m b\n\ufffdc d"


# AUTH.


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("AUTH LOGIN PLAIN", ["AUTH PLAIN AHVzZXIAcMOkc3M="]),
        ("AUTH LOGIN", ["AUTH LOGIN", "dXNlcg==", "cMOkc3M="]),
    ],
)
def test_auth(offered: str, said: list[str]) -> None:
    async def go() -> list[str]:
        async with FakeServer(extensions=[offered]) as server:
            connection = await connect(server, username="user", password="päss")
            await connection.close()
            return server.commands

    assert asyncio.run(go())[1:-1] == said


@pytest.mark.parametrize("offered", ["AUTH PLAIN", "AUTH LOGIN"])
def test_auth_refused_and_broken(offered: str) -> None:
    login: dict[str, Any] = {"username": "user", "password": "x", "extensions": [offered]}
    outcome = open_only({"AUTH": "535 5.7.8 no"}, **login)
    assert isinstance(outcome, Refused)
    assert (outcome.stage, outcome.permanent) == ("auth", True)
    for action in (DROP, HANG):
        outcome = open_only({"AUTH": action, "PROMPT": "334 x"}, HASTY, **login)
        assert isinstance(outcome, Broken)
        assert outcome.stage == "auth"


def test_auth_not_offered() -> None:
    outcome = open_only({}, username="user", extensions=["AUTH GSSAPI"])
    assert outcome == Broken("auth", "not_offered", detail="GSSAPI")


# TLS.


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("trust", ["ca_file", "unverified", "system"])
def test_tls(certificate: tuple[ssl.SSLContext, Path], security: str, trust: str) -> None:
    context, ca_file = certificate
    trusts: dict[str, dict[str, Any]] = {
        "ca_file": {"ca_file": str(ca_file)},
        "unverified": {"verify_tls": False},
        "system": {},
    }
    changes = trusts[trust]

    async def go() -> None:
        implicit = security == "tls"
        async with FakeServer(tls=context, implicit_tls=implicit) as server:
            opened = await Connection.open(server.endpoint(security=security, **changes))
            if trust == "system":
                assert isinstance(opened, Broken)
                assert opened.stage == ("connect" if implicit else "starttls")
                assert opened.error == "certificate"
                return
            assert isinstance(opened, Connection)
            assert isinstance(await send_letter(opened, "", "r@d.example", BIG), Accepted)
            assert server.sessions[0].tls
            assert server.received[0].message == BIG
            await opened.close()
            assert server.commands[-1] == "QUIT"

    asyncio.run(go())


def test_starttls_refused_missing_or_injected(
    certificate: tuple[ssl.SSLContext, Path],
) -> None:
    context, ca_file = certificate

    async def go(script: dict[str, str], tls: ssl.SSLContext | None) -> tuple[Any, list[str]]:
        async with FakeServer(script, tls=tls) as server:
            endpoint = server.endpoint(
                security="starttls", ca_file=str(ca_file), username="u", password="p"
            )
            return await Session.open(endpoint, HASTY), server.commands

    outcome, commands = asyncio.run(go({}, None))
    assert outcome == Broken("starttls", "not_offered")
    assert len(commands) == 1
    outcome, _ = asyncio.run(go({"STARTTLS": "454 4.7.0 later"}, context))
    assert isinstance(outcome, Refused)
    assert outcome.stage == "starttls"
    injected = "220 go\r\n250-fake\r\n250 AUTH PLAIN"
    outcome, commands = asyncio.run(go({"STARTTLS": injected}, context))
    assert isinstance(outcome, Broken)
    assert (outcome.stage, outcome.error) == ("starttls", "bad_reply")
    assert not any(command.startswith("AUTH") for command in commands)
    for action in (DROP, HANG):
        outcome, _ = asyncio.run(go({"STARTTLS": action}, context))
        assert isinstance(outcome, Broken)
        assert outcome.stage == "starttls"


# Probing.


def test_probing() -> None:
    async def go() -> list[str]:
        script = {"RCPT": ["250 ok", "550 5.1.1 nobody", "451 4.7.1 greylisted", DROP]}
        async with FakeServer(script) as server:
            connection = await connect(server)
            codes = []
            assert isinstance(await connection.probe_mail("p@s.example"), Reply)
            for name in ("a", "b", "c"):
                reply = await connection.rcpt(f"{name}@d.example")
                assert isinstance(reply, Reply)
                codes.append(reply.code)
            assert codes == [250, 550, 451]
            assert isinstance(await connection.probe_mail("", smtputf8=True), Reply)
            assert isinstance(await connection.reset(), Reply)
            assert isinstance(await connection.probe_mail(""), Reply)
            broken = await connection.rcpt("d@d.example")
            assert isinstance(broken, Broken)
            assert (broken.stage, broken.error) == ("rcpt", "closed")
            assert not connection.alive
            assert isinstance(await connection.probe_mail(""), Broken)
            await connection.close()
            return server.commands

    assert asyncio.run(go()) == [
        "EHLO client.example",
        "MAIL FROM:<p@s.example>",
        "RCPT TO:<a@d.example>",
        "RCPT TO:<b@d.example>",
        "RCPT TO:<c@d.example>",
        "RSET",
        "MAIL FROM:<> SMTPUTF8",
        "RSET",
        "MAIL FROM:<>",
        "RCPT TO:<d@d.example>",
    ]


@pytest.mark.parametrize("action", [DROP, HANG, "421 bye"])
def test_close_is_bounded_and_quiet(action: str) -> None:
    async def go() -> None:
        async with FakeServer({"QUIT": action}) as server:
            connection = await connect(server, Timeouts(quit=0.1))
            await connection.close()
            await connection.close()
            assert not connection.alive

    asyncio.run(go())
