"""An SMTP client connection (RFC 5321) that pipelines (RFC 2920) where the server can."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mailkit.smtp.endpoint import Endpoint, Timeouts, connect, connect_error, tls_context
from mailkit.smtp.outcomes import (
    SERVICE_CLOSING,
    Accepted,
    Broken,
    Refused,
    Reply,
    Stage,
)
from mailkit.smtp.wire import Wire, WireError

__all__ = ["BeforeDot", "Connection", "Endpoint", "Timeouts"]

BeforeDot = Callable[[], Awaitable[bool]]

_BLOCK = 64 * 1024
_END = b".\r\n"
_UNSAFE_IN_PATH = re.compile(r"[\s<>\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Connection:
    """A greeted (and where asked, encrypted and authenticated) connection.

    For one task at a time. `sent` counts accepted messages; `opened_at` and `last_used`
    are readings of the clock passed to `open`, in seconds.
    """

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts, wire: Wire, clock: Callable[[], float]
    ) -> None:
        """Use `open`."""
        self.extensions: dict[str, str] = {}
        self.sent = 0
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
    ) -> Connection | Refused | Broken:
        """Connect, greet, start TLS and log in, as the endpoint asks."""
        timeouts = timeouts or Timeouts()
        wire = Wire()
        connection = cls(endpoint, timeouts, wire, clock)
        ready = False
        try:
            failure = await connect(wire, endpoint, timeouts) or await connection._begin()
            ready = failure is None
        finally:
            if not ready:
                wire.abort()
        return failure or connection

    @property
    def alive(self) -> bool:
        """Whether another transaction can be tried. Input nobody asked for means no: it is
        a 421 before the server hangs up, or a reply that would be taken for the next one."""
        return not self._wire.lost and not self._wire.has_input

    async def send(
        self,
        envelope_from: str,
        recipient: str,
        message: bytes,
        *,
        before_dot: BeforeDot | None = None,
    ) -> Accepted | Refused | Broken:
        """Send one message, with CRLF line ends, to one recipient.

        `envelope_from` may be empty (the null reverse-path of RFC 5321 section 4.5.5).
        `before_dot` is awaited when all else is said and the end of the message goes out
        only if it returns true; false, or an exception, drops the connection.
        After a refusal the connection is usable unless the server closed it: see `alive`.
        Raises ValueError, with nothing written, for a bare CR or LF or a NUL in the message
        and for a space, `<`, `>` or control character in an address.
        """
        sender_path, recipient_path = _path(envelope_from), _path(recipient)
        if not recipient:
            raise ValueError("no recipient")
        _check_message(message)
        utf8 = not (sender_path + recipient_path).isascii() or not _headers_are_ascii(message)
        if refusal := self._unable(utf8, eight_bit=not message.isascii()):
            return refusal
        commands: list[tuple[Stage, bytes]] = [
            ("mail", b"MAIL FROM:<%b>%b" % (sender_path, self._mail_parameters(message, utf8))),
            ("rcpt", b"RCPT TO:<%b>" % recipient_path),
            ("data", b"DATA"),
        ]
        if self._in_transaction:
            commands.insert(0, ("rset", b"RSET"))
        finished = False
        try:
            outcome = await self._envelope(commands) or await self._body(message, before_dot)
            finished = not isinstance(outcome, Broken)
        finally:
            if not finished:
                self._wire.abort()
            self.last_used = self._clock()
        return outcome

    async def probe_mail(self, sender: str, *, smtputf8: bool = False) -> Reply | Broken:
        """MAIL FROM alone, in a new transaction. Ask for SMTPUTF8 before a recipient that
        is not ASCII, when `extensions` has it; else the refusal says nothing about it."""
        path = _path(sender)
        if self._in_transaction:
            reset = await self.reset()
            if isinstance(reset, Broken) or not reset.positive:
                return reset
        suffix = b" SMTPUTF8" if smtputf8 or not path.isascii() else b""
        self._in_transaction = True
        return await self._single("mail", b"MAIL FROM:<%b>%b" % (path, suffix))

    async def rcpt(self, address: str) -> Reply | Broken:
        """RCPT TO alone, after `probe_mail`."""
        return await self._single("rcpt", b"RCPT TO:<%b>" % _path(address))

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
                return _no("banner", banner)
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
            return None if reply.positive else _no("ehlo", reply)
        if not reply.positive:
            return _no("ehlo", reply)
        words = (line.partition(" ") for line in reply.text.split("\n")[1:])
        self.extensions = {keyword.upper(): rest.strip() for keyword, _, rest in words}
        return None

    async def _start_tls(self) -> Refused | Broken | None:
        if "STARTTLS" not in self.extensions:
            return Broken("starttls", "not_offered")
        reply = await self._ask("starttls", b"STARTTLS")
        if not reply.positive:
            return _no("starttls", reply)
        try:
            await self._wire.start_tls(
                tls_context(self._endpoint), self._endpoint.host, self._timeouts.starttls
            )
        except OSError as exc:  # ssl.SSLError and TimeoutError too
            return Broken("starttls", connect_error(exc), detail=str(exc))
        return None

    async def _log_in(self) -> Refused | Broken | None:
        username = self._endpoint.username.encode()
        password = self._endpoint.password.encode()
        offered = self.extensions.get("AUTH", "").upper().split()
        if "PLAIN" in offered:
            lines = [b"AUTH PLAIN " + b64encode(b"\0%b\0%b" % (username, password))]
        elif "LOGIN" in offered:
            lines = [b"AUTH LOGIN", b64encode(username), b64encode(password)]
        else:
            return Broken("auth", "not_offered", detail=" ".join(offered))
        for line in lines[:-1]:
            reply = await self._ask("auth", line)
            if reply.code != 334:
                return _no("auth", reply)
        reply = await self._ask("auth", lines[-1])
        return None if reply.positive else _no("auth", reply)

    # Sending.

    def _unable(self, utf8: bool, *, eight_bit: bool) -> Refused | None:
        if utf8 and "SMTPUTF8" not in self.extensions:
            return Refused("mail", Reply(553, "5.6.7", "5.6.7 SMTPUTF8 is needed, not offered"))
        if eight_bit and "8BITMIME" not in self.extensions:
            return Refused("mail", Reply(554, "5.6.3", "5.6.3 8BITMIME is needed, not offered"))
        return None

    def _mail_parameters(self, message: bytes, utf8: bool) -> bytes:
        parameters = b""
        if "SIZE" in self.extensions:
            parameters += b" SIZE=%d" % len(message)
        if not message.isascii():
            parameters += b" BODY=8BITMIME"
        if utf8:
            parameters += b" SMTPUTF8"
        return parameters

    async def _envelope(self, commands: list[tuple[Stage, bytes]]) -> Refused | Broken | None:
        """Say everything up to DATA; None when the server waits for the message."""
        if not self.alive:
            return Broken(commands[0][0], "closed", detail="the server ended the session")
        replies, broken = await self._exchange(commands)
        stages = [stage for stage, _ in commands]
        # The first answer that is not the expected one decides, even over a break behind it.
        for stage, reply in zip(stages, replies, strict=False):
            if reply.code == 354 if stage == "data" else reply.positive:
                if stage != "data":
                    self._in_transaction = stage != "rset"
                continue
            if stage == "rset":  # says nothing about this message: not a refusal of it
                return Broken("rset", "bad_reply", detail=f"{reply.code} {reply.text}")
            outcome = _no(stage, reply)
            if broken or replies[-1].code == SERVICE_CLOSING:
                self._wire.abort()
            elif stages[len(replies) - 1] == "data" and not replies[-1].negative:
                await self._leave_data(
                    lone_dot=replies[-1].code == 354 and replies[-2].negative  # RCPT's
                )
            return outcome
        return broken

    async def _exchange(
        self, commands: list[tuple[Stage, bytes]]
    ) -> tuple[list[Reply], Broken | None]:
        """The replies to the commands: all of them, or up to the first that ends the matter
        (a refusal where the server does not pipeline; a 421; a break)."""
        pipelining = "PIPELINING" in self.extensions
        replies: list[Reply] = []
        stage = commands[0][0]
        try:
            if pipelining:
                everything = b"".join(line + b"\r\n" for _, line in commands)
                await self._wire.write(everything, self._timeouts.mail)
            for stage, line in commands:
                if not pipelining:
                    await self._wire.write(line + b"\r\n", self._seconds(stage))
                reply = await self._wire.read_reply(self._seconds(stage))
                replies.append(reply)
                if reply.code == SERVICE_CLOSING or (reply.negative and not pipelining):
                    break
        except WireError as exc:
            return replies, Broken(stage, exc.error, detail=exc.detail)
        return replies, None

    async def _leave_data(self, *, lone_dot: bool) -> None:
        """DATA was let through behind a refusal. Where the recipient was refused a lone dot
        ends it (RFC 2920 section 3.1), and its reply is about a message to nobody. Otherwise
        the dot would hand over an empty letter."""
        if not lone_dot:
            self._wire.abort()
            return
        try:
            await self._wire.write(_END, self._timeouts.data_block)
            reply = await self._wire.read_reply(self._timeouts.data_done)
        except WireError:
            self._wire.abort()
            return
        if reply.code == SERVICE_CLOSING:
            self._wire.abort()
        # After its end the server holds no transaction, but RSET is cheap and some do.
        self._in_transaction = True

    async def _body(
        self, message: bytes, before_dot: BeforeDot | None
    ) -> Accepted | Refused | Broken:
        stuffed = _stuff(message)
        # With a question to ask first, nothing but the end waits for its answer: a server that
        # hangs up in the middle shows it by then, and the letter can safely be sent again.
        held_back = len(_END) if before_dot else _BLOCK
        last = max(len(stuffed) - held_back, 0)
        after_dot = False
        try:
            for start in range(0, last, _BLOCK):
                await self._wire.write(
                    stuffed[start : min(start + _BLOCK, last)], self._timeouts.data_block
                )
                if self._wire.has_input:
                    break
            if self.alive and before_dot is not None and not await before_dot():
                return Broken("body", "stopped")
            if self._wire.has_input:  # an answer before the end: the server gave up
                self._in_transaction = True
                reply = await self._wire.read_reply(self._timeouts.data_done)
                self._wire.abort()
                return _no("body", reply)
            after_dot = not self._wire.lost
            await self._wire.write(stuffed[last:], self._timeouts.data_block)
            reply = await self._wire.read_reply(self._timeouts.data_done)
        except WireError as exc:
            return Broken("body", exc.error, after_dot, exc.detail)
        if reply.code == SERVICE_CLOSING:
            self._wire.abort()
        if reply.positive:
            self._in_transaction = False
            self.sent += 1
            return Accepted(reply)
        if reply.negative:
            return Refused("body", reply)
        return Broken("body", "bad_reply", after_dot=True, detail=reply.text)

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


def _no(stage: Stage, reply: Reply) -> Refused | Broken:
    """A reply that is not the hoped-for one: a refusal, or nothing that makes sense."""
    if reply.negative:
        return Refused(stage, reply)
    return Broken(stage, "bad_reply", detail=f"{reply.code} {reply.text}")


def _path(address: str) -> bytes:
    if _UNSAFE_IN_PATH.search(address):
        raise ValueError("a space, angle bracket or control character in an address")
    return address.encode()


def _check_message(message: bytes) -> None:
    line_ends = message.count(b"\r\n")
    if message.count(b"\n") != line_ends or message.count(b"\r") != line_ends:
        raise ValueError("a bare CR or LF in the message")
    if b"\0" in message:
        raise ValueError("a NUL in the message")


def _headers_are_ascii(message: bytes) -> bool:
    return message.isascii() or (b"\r\n" + message).partition(b"\r\n\r\n")[0].isascii()


def _stuff(message: bytes) -> bytes:
    """Double the dots that open a line and add the end (RFC 5321 section 4.5.2)."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n")
