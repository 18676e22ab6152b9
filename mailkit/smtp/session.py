"""An SMTP session (RFC 5321): opened, asked one command at a time, closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from mailkit.smtp.auth import log_in
from mailkit.smtp.commands import path
from mailkit.smtp.endpoint import Endpoint, Timeouts, connect, connect_error, tls_context
from mailkit.smtp.outcomes import SERVICE_CLOSING, Broken, Refused, Reply, Stage
from mailkit.smtp.wire import Wire, WireError


class Session:
    """A greeted (and where asked, encrypted and authenticated) connection.

    For one task at a time. `opened_at` and `last_used` are readings of the clock passed to
    `open`, in seconds.
    """

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts, wire: Wire, clock: Callable[[], float]
    ) -> None:
        """Use `open`."""
        self.extensions: dict[str, str] = {}
        self.opened_at = self.last_used = clock()
        self._endpoint = endpoint
        self._timeouts = timeouts
        self._wire = wire
        self._clock = clock
        self._in_transaction = False

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self | Refused | Broken:
        """Connect, greet, start TLS and log in, as the endpoint asks."""
        timeouts = timeouts or Timeouts()
        wire = Wire()
        session = cls(endpoint, timeouts, wire, clock)
        ready = False
        try:
            failure = await connect(wire, endpoint, timeouts) or await session._begin()
            ready = failure is None
        finally:
            if not ready:
                wire.abort()
        return failure or session

    @property
    def alive(self) -> bool:
        """Whether another transaction can be tried. Input nobody asked for means no: it is
        a 421 before the server hangs up, or a reply that would be taken for the next one."""
        return not self._wire.lost and not self._wire.has_input

    async def probe_mail(self, sender: str, *, smtputf8: bool = False) -> Reply | Broken:
        """MAIL FROM alone, in a new transaction. Ask for SMTPUTF8 before a recipient that
        is not ASCII, when `extensions` has it; else the refusal says nothing about it."""
        reverse_path = path(sender)
        if self._in_transaction:
            reset = await self.reset()
            if isinstance(reset, Broken) or not reset.positive:
                return reset
        suffix = b" SMTPUTF8" if smtputf8 or not reverse_path.isascii() else b""
        self._in_transaction = True
        return await self._single("mail", b"MAIL FROM:<%b>%b" % (reverse_path, suffix))

    async def rcpt(self, address: str) -> Reply | Broken:
        """RCPT TO alone, after `probe_mail`."""
        return await self._single("rcpt", b"RCPT TO:<%b>" % path(address))

    async def reset(self) -> Reply | Broken:
        """RSET: end the transaction, keep the connection."""
        reply = await self._single("rset", b"RSET")
        if isinstance(reply, Reply) and reply.positive:
            self._in_transaction = False
        return reply

    async def close(self) -> None:
        """QUIT and close, within `Timeouts.quit` seconds for each of the two."""
        if self.alive:
            # The answer to QUIT changes nothing, nor does its absence.
            with suppress(WireError):
                await self._ask("quit", b"QUIT")
        await self._wire.close(self._timeouts.quit)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()

    # Opening.

    async def _begin(self) -> Refused | Broken | None:
        stage: Stage = "banner"
        try:
            banner = await self._wire.read_reply(self._timeouts.banner)
            if not banner.positive:
                return refusal("banner", banner)
            stage = "ehlo"
            if failure := await self._greet():
                return failure
            if self._endpoint.security == "starttls":
                stage = "starttls"
                if failure := await self._start_tls():
                    return failure
                stage = "ehlo"  # what was said in the clear is void (RFC 3207 section 4.2)
                if failure := await self._greet():
                    return failure
            if self._endpoint.username:
                stage = "auth"
                return await self._log_in()
        except WireError as exc:
            return Broken(stage, exc.error, detail=exc.detail)
        return None

    async def _greet(self) -> Refused | Broken | None:
        name = self._endpoint.local_hostname.encode()
        reply = await self._ask("ehlo", b"EHLO " + name)
        if reply.code in (500, 501, 502, 504, 550):  # RFC 5321 section 3.2: an old server
            reply = await self._ask("ehlo", b"HELO " + name)
            self.extensions = {}
            return None if reply.positive else refusal("ehlo", reply)
        if not reply.positive:
            return refusal("ehlo", reply)
        words = (line.partition(" ") for line in reply.text.split("\n")[1:])
        self.extensions = {keyword.upper(): rest.strip() for keyword, _, rest in words}
        return None

    async def _start_tls(self) -> Refused | Broken | None:
        if "STARTTLS" not in self.extensions:
            return Broken("starttls", "not_offered")
        reply = await self._ask("starttls", b"STARTTLS")
        if not reply.positive:
            return refusal("starttls", reply)
        try:
            await self._wire.start_tls(
                tls_context(self._endpoint), self._endpoint.host, self._timeouts.starttls
            )
        except OSError as exc:  # ssl.SSLError and TimeoutError too
            return Broken("starttls", connect_error(exc), detail=str(exc))
        return None

    async def _log_in(self) -> Refused | Broken | None:
        offered = self.extensions.get("AUTH", "")
        return await log_in(lambda line: self._ask("auth", line), offered, self._endpoint)

    # Single commands.

    async def _single(self, stage: Stage, line: bytes) -> Reply | Broken:
        if not self.alive:
            return Broken(stage, "closed", detail="the server ended the session")
        finished = False
        try:
            reply = await self._ask(stage, line)
            finished = reply.code != SERVICE_CLOSING
        except WireError as exc:
            return Broken(stage, exc.error, detail=exc.detail)
        finally:
            if not finished:
                self._wire.abort()
            self.last_used = self._clock()
        return reply

    async def _ask(self, stage: Stage, line: bytes) -> Reply:
        await self._wire.write(line + b"\r\n", self._seconds(stage))
        return await self._wire.read_reply(self._seconds(stage))

    def _seconds(self, stage: Stage) -> float:
        name = "data_init" if stage == "data" else stage
        seconds: float = getattr(self._timeouts, name)
        return seconds


def refusal(stage: Stage, reply: Reply) -> Refused | Broken:
    """A reply that is not the hoped-for one: a refusal, or nothing that makes sense."""
    if reply.negative:
        return Refused(stage, reply)
    return Broken(stage, "bad_reply", detail=f"{reply.code} {reply.text}")
