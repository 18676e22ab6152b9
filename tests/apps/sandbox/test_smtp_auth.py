from __future__ import annotations

import base64
import smtplib

import pytest

from tests.support.sandbox_smtp import World, login, run, with_smtplib


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [True, False])
def test_auth_with_smtplib(mechanism: str, initial: bool) -> None:
    def work(client: smtplib.SMTP) -> None:
        client.user, client.password = "anna", "wrong"
        client.ehlo()
        method = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.auth(mechanism, method, initial_response_ok=initial)
        assert refusal.value.smtp_code == 535

    with_smtplib(work, authenticate=login)


@pytest.mark.parametrize(
    "exchange",
    [
        [("AUTH PLAIN " + encoded("\0anna\0pä ss"), "235")],
        [("auth plain", "334"), (encoded("\0anna\0pä ss"), "235")],
        [("AUTH LOGIN", "334"), (encoded("anna"), "334"), (encoded("pä ss"), "235")],
        [("AUTH LOGIN " + encoded("anna"), "334"), (encoded("pä ss"), "235")],
        [
            ("AUTH PLAIN " + encoded("\0anna\0wrong"), "535"),
            ("AUTH PLAIN " + encoded("\0anna\0pä ss"), "235"),
            ("AUTH PLAIN " + encoded("\0anna\0pä ss"), "503"),
        ],
    ],
)
def test_auth_gives_the_inbox(exchange: list[tuple[str, str]]) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        for line, code in exchange:
            assert (await client.code(line))[:3] == code
        await client.send("EHLO again")
        await client.begin("anyone@example.com")
        assert (await client.data()).startswith("250")

    assert [row.inbox for row in run(scenario, authenticate=login)] == ["inbox-anna"]


@pytest.mark.parametrize(
    "lines",
    [
        *(["AUTH PLAIN ="], ["AUTH PLAIN !!!"], ["AUTH PLAIN", "*"], ["AUTH LOGIN", "*"]),
        *(["AUTH LOGIN", "YQ==", "*"], ["AUTH PLAIN", "YQ=="], ["AUTH PLAIN", "/w=="]),
        *(["AUTH LOGIN", "é"], ["AUTH PLAIN", ""]),
    ],
)
def test_broken_auth_is_501_and_the_session_goes_on(lines: list[str]) -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        for line in lines[:-1]:
            assert (await client.code(line)).startswith("334")
        assert await client.code(lines[-1]) == "501 5.5.2"
        assert await client.code("NOOP") == "250 2.0.0"

    run(scenario, authenticate=login)


def test_auth_that_cannot_be_checked_is_454() -> None:
    def broken(user: str, password: str) -> str | None:
        raise OSError("no database")

    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.code("AUTH PLAIN AGEAYg==") == "454 4.7.0"
        assert await client.code("AUTH CRAM-MD5") == "504 5.5.4"

    run(scenario, authenticate=broken)


def test_no_auth_without_authenticate() -> None:
    async def scenario(world: World) -> None:
        client = await world.client()
        assert await client.code("AUTH PLAIN AGEAYg==") == "502 5.5.1"
        assert "AUTH" not in (await client.send("EHLO me"))[0]

    run(scenario)
