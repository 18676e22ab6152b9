"""Logging in: AUTH (RFC 4954) by PLAIN, LOGIN, CRAM-MD5 or XOAUTH2."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace

from mailkit.smtp.endpoint import Endpoint
from mailkit.smtp.outcomes import Broken, Refused, Reply

# Yields the lines to say and is sent the text of each 334 reply.
_Dialogue = Generator[bytes, str]

_GO_ON = 334
_SHORTEST_SECRET = 4  # what is shorter would be found all over the server's words


async def log_in(
    ask: Callable[[bytes], Awaitable[Reply]], offered: str, endpoint: Endpoint
) -> Refused | Broken | None:
    """Log in by the mechanism that the endpoint asks for; None where the server let us in.

    `ask` says a line and returns the reply; `offered` is what EHLO says after AUTH.
    """
    mechanism = _choose(endpoint, offered.upper().split())
    if mechanism is None:
        return Broken("auth", "not_offered", detail=offered)
    dialogue = mechanism(endpoint)
    line = next(dialogue)
    secrets = [endpoint.password]
    while True:
        secrets += line.decode().split()[-1:]
        reply = await ask(line)
        if reply.code != _GO_ON:
            break
        try:
            line = dialogue.send(reply.text)
        except ValueError:
            return Broken("auth", "bad_reply", detail="a challenge that is not base64")
        except StopIteration:
            return Broken("auth", "bad_reply", detail="another challenge")
    if reply.positive:
        return None
    reply = _without(reply, secrets)
    if reply.negative:
        return Refused("auth", reply)
    return Broken("auth", "bad_reply", detail=f"{reply.code} {reply.text}")


def _choose(endpoint: Endpoint, offered: list[str]) -> Callable[[Endpoint], _Dialogue] | None:
    """The password itself goes out under TLS only, where there is another way."""
    names = [endpoint.auth]
    if endpoint.auth == "auto":
        plain = endpoint.security != "none"
        names = ["plain", "login", "cram-md5"] if plain else ["cram-md5", "plain", "login"]
    return next((_MECHANISMS[name] for name in names if name.upper() in offered), None)


def _plain(endpoint: Endpoint) -> _Dialogue:
    """RFC 4616."""
    yield b"AUTH PLAIN " + _encoded(f"\0{endpoint.username}\0{endpoint.password}")


def _login(endpoint: Endpoint) -> _Dialogue:
    """Never standardised (draft-murchison-sasl-login); the prompts' words mean nothing."""
    yield b"AUTH LOGIN"
    yield _encoded(endpoint.username)
    yield _encoded(endpoint.password)


def _cram_md5(endpoint: Endpoint) -> _Dialogue:
    """RFC 2195."""
    challenge = yield b"AUTH CRAM-MD5"
    digest = hmac.new(endpoint.password.encode(), b64decode(challenge, validate=True), "md5")
    yield _encoded(f"{endpoint.username} {digest.hexdigest()}")


def _xoauth2(endpoint: Endpoint) -> _Dialogue:
    """Google's and Microsoft's; the password is the access token.

    A 334 brings an error as JSON; the refusal itself comes only after an empty line.
    """
    token = f"user={endpoint.username}\1auth=Bearer {endpoint.password}\1\1"
    yield b"AUTH XOAUTH2 " + _encoded(token)
    yield b""


_MECHANISMS: dict[str, Callable[[Endpoint], _Dialogue]] = {
    "plain": _plain,
    "login": _login,
    "cram-md5": _cram_md5,
    "xoauth2": _xoauth2,
}


def _encoded(text: str) -> bytes:
    return b64encode(text.encode())


def _without(reply: Reply, secrets: list[str]) -> Reply:
    """Some servers repeat the command that they refuse; their words are shown and logged."""
    text = reply.text
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET and secret not in _MECHANISM_NAMES:
            text = text.replace(secret, "…")
    return replace(reply, text=text)


_MECHANISM_NAMES = {name.upper() for name in _MECHANISMS}
