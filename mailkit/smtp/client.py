"""An SMTP client connection (RFC 5321) that pipelines (RFC 2920) where the server can."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from mailkit.smtp.auth import log_in
from mailkit.smtp.endpoint import Endpoint, Timeouts, connect, connect_error, tls_context
from mailkit.smtp.message import WireMessage, prepare
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
# The answers to the end of a letter and to the envelope behind it where all goes well.
_ALL_WELL = re.compile(rb"(2\d\d [^\r\n]*)\r\n2\d\d [^\r\n]*\r\n2\d\d [^\r\n]*\r\n354 [^\r\n]*\r\n")
_ENVELOPE: tuple[Stage, ...] = ("mail", "rcpt", "data")


@dataclass(slots=True)
class Commands:
    """Some commands, each a line with its CRLF, and the stages that they are."""

    stages: tuple[Stage, ...]
    lines: bytes


class Outgoing(Protocol):
    """A letter on its way: to whom, and what."""

    @property
    def recipient(self) -> str: ...
    @property
    def message(self) -> WireMessage: ...


L = TypeVar("L", bound=Outgoing)


class Letters(Protocol[L]):
    """Where `send_each` gets its letters, and where it tells what came of each."""

    @property
    def waiting(self) -> bool: ...
    def take(self) -> L | None: ...
    def settle(self, letter: L, outcome: Accepted | Refused | Broken) -> None: ...
    def put_back(self, letter: L) -> None: ...


@dataclass(slots=True)
class _Turn(Generic[L]):
    """A letter on a connection, what was said of it, and the one whose envelope is behind it."""

    letter: L | None
    envelope_said: bool = False
    end_said: bool = False
    following: L | None = None

    def go_on(self) -> None:
        """The letter is told about: the following one is the letter now."""
        self.letter, self.envelope_said = self.following, self.following is not None
        self.following, self.end_said = None, False


@dataclass(frozen=True, slots=True)
class _One:
    recipient: str
    message: WireMessage


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
        self.dropped = False
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
        message: bytes | WireMessage,
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
        ready = prepare(message) if isinstance(message, bytes) else message
        if not (_path(recipient) and _path(envelope_from) is not None):
            raise ValueError("no recipient")
        finished = False
        try:
            refusal = await self._open_letter(envelope_from, _One(recipient, ready), said=False)
            outcome = refusal or await self._body(ready, before_dot=before_dot)
            finished = not isinstance(outcome, Broken)
        finally:
            if not finished:
                self._wire.abort()
            self.last_used = self._clock()
        return outcome

    async def send_each(
        self, envelope_from: str, letters: Letters[L], *, limit: int, hold: Callable[[], float]
    ) -> None:
        """Send letter after letter until none is left, the connection ends, or `sent` is `limit`.

        The end of a letter goes out together with the envelope of the next one where the server
        pipelines (RFC 2920 section 3.1). It is held back for as many seconds as `hold` says: a
        server that hangs up in the middle of a letter shows it by then, and the letter can safely
        be sent again. `dropped` tells that one did, or seems to have done it. A letter is put
        back where the connection ended before anything was said about it, unless the connection
        is new: then it is told so.
        """
        turn = _Turn(letters.take())
        heard, orderly = self.sent > 0, False

        def follow() -> bytes:
            """What to say behind the end of a letter: the envelope of the next one."""
            turn.end_said = True
            if "PIPELINING" not in self.extensions or self.sent + 1 >= limit:
                return b""
            while (following := letters.take()) is not None:
                commands = self._commands(envelope_from, following, reset=False)
                if isinstance(commands, Commands):
                    turn.following = following
                    return commands.lines
                letters.settle(following, commands)
            return b""

        try:
            while turn.letter is not None and self.sent < limit:
                outcome: Accepted | Refused | Broken | None
                outcome = await self._open_letter(envelope_from, turn.letter, turn.envelope_said)
                if outcome is None:
                    outcome = await self._hand_over(turn, letters, hold(), follow)
                elif heard and unheard(outcome):
                    return
                letters.settle(turn.letter, outcome)
                self.dropped = _dropped(outcome)
                turn.go_on()
                heard = True
                if _ended(outcome):
                    return
                if turn.letter is None and self.alive and self.sent < limit:
                    turn.letter = letters.take()
            orderly = True
        finally:
            if turn.letter is not None and turn.end_said:  # cancelled: nobody knows
                letters.settle(turn.letter, Broken("body", "stopped", after_dot=True))
                turn.letter = None
            for unsent in (turn.letter, turn.following):
                if unsent is not None:
                    letters.put_back(unsent)
            if not orderly:
                self._wire.abort()
            self.last_used = self._clock()

    async def _hand_over(
        self, turn: _Turn[L], letters: Letters[L], hold: float, follow: Callable[[], bytes]
    ) -> Accepted | Refused | Broken:
        """The letter of the turn and those behind it, as long as the server says nothing but yes;
        what came of the letter with which that ended, the turn's by then."""
        assert turn.letter is not None
        if hold or "PIPELINING" not in self.extensions:
            return await self._body(turn.letter.message, hold=hold, tail=follow)

        def say() -> bool:
            """The whole of a letter at once; whether there is more to say when all is well."""
            assert turn.letter is not None
            stuffed = turn.letter.message.stuffed
            if self._wire.lost or len(stuffed) > _BLOCK:
                return False
            self._wire.write_at_once(b"".join((stuffed, _END, follow())))
            return turn.following is not None

        def heard() -> bool:
            """Answers have come: where they are the good ones, go on with the next letter."""
            reply = self._wire.take_good(_ALL_WELL)
            if reply is None:
                return not self._wire.is_unusual(len(_ENVELOPE) + 1)
            assert turn.letter is not None
            self.sent += 1
            letters.settle(turn.letter, Accepted(reply))
            turn.go_on()
            turn.envelope_said = True
            return say()

        if say():
            spoke = await self._wire.converse(heard, self._timeouts.data_done)
            if not spoke and not self._wire.has_input:
                return Broken("body", "timeout", after_dot=True)
        if not turn.end_said:
            return await self._body(turn.letter.message, tail=follow)
        try:
            return self._answered(await self._wire.read_reply(self._timeouts.data_done))
        except WireError as exc:
            return Broken("body", exc.error, after_dot=True, detail=exc.detail)

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
        offered = self.extensions.get("AUTH", "")
        return await log_in(lambda line: self._ask("auth", line), offered, self._endpoint)

    # Sending.

    async def _open_letter(
        self, envelope_from: str, letter: Outgoing, said: bool
    ) -> Refused | Broken | None:
        """Say everything up to DATA unless it was `said`. None: the server waits for the letter."""
        commands = self._commands(envelope_from, letter, reset=self._in_transaction and not said)
        return await self._envelope(commands, said) if isinstance(commands, Commands) else commands

    def _commands(
        self, envelope_from: str, letter: Outgoing, *, reset: bool
    ) -> Commands | Refused | Broken:
        try:
            sender, recipient = _path(envelope_from), _path(letter.recipient)
            if not recipient:
                raise ValueError("no recipient")
        except ValueError as error:
            return Broken("mail", "stopped", detail=str(error))
        message = letter.message
        utf8 = message.utf8 or not recipient.isascii() or not sender.isascii()
        if refusal := self._unable(utf8, eight_bit=message.eight_bit):
            return refusal
        parameters = self._mail_parameters(message, utf8)
        lines = b"MAIL FROM:<%b>%b\r\nRCPT TO:<%b>\r\nDATA\r\n" % (sender, parameters, recipient)
        if reset:
            return Commands(("rset", *_ENVELOPE), b"RSET\r\n" + lines)
        return Commands(_ENVELOPE, lines)

    def _unable(self, utf8: bool, *, eight_bit: bool) -> Refused | None:
        if utf8 and "SMTPUTF8" not in self.extensions:
            return Refused("mail", Reply(553, "5.6.7", "5.6.7 SMTPUTF8 is needed, not offered"))
        if eight_bit and "8BITMIME" not in self.extensions:
            return Refused("mail", Reply(554, "5.6.3", "5.6.3 8BITMIME is needed, not offered"))
        return None

    def _mail_parameters(self, message: WireMessage, utf8: bool) -> bytes:
        parameters = b""
        if "SIZE" in self.extensions:
            parameters += b" SIZE=%d" % message.size
        if message.eight_bit:
            parameters += b" BODY=8BITMIME"
        if utf8:
            parameters += b" SMTPUTF8"
        return parameters

    async def _envelope(self, commands: Commands, said: bool) -> Refused | Broken | None:
        if not said and not self.alive:
            return Broken(commands.stages[0], "closed", detail="the server ended the session")
        replies, broken = await self._exchange(commands, said)
        stages = commands.stages
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

    async def _exchange(self, commands: Commands, said: bool) -> tuple[list[Reply], Broken | None]:
        """The replies to the commands: all of them, or up to the first that ends the matter
        (a refusal where the server does not pipeline; a 421; a break)."""
        pipelining = "PIPELINING" in self.extensions
        replies: list[Reply] = []
        stage = commands.stages[0]
        lines = [] if pipelining else commands.lines.splitlines(keepends=True)
        try:
            if pipelining and not said:
                await self._wire.write(commands.lines, self._timeouts.mail)
            for number, stage in enumerate(commands.stages):
                if lines:
                    await self._wire.write(lines[number], self._seconds(stage))
                reply = self._wire.take_reply()
                if reply is None:
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
        self,
        message: WireMessage,
        *,
        before_dot: BeforeDot | None = None,
        hold: float = 0.0,
        tail: Callable[[], bytes] | None = None,
    ) -> Accepted | Refused | Broken:
        """The letter, its end and the answer. `tail` gives what to say behind the end."""
        stuffed = message.stuffed
        # With something to wait for, the end alone waits. A server that hangs up in the middle
        # shows it by then, and the letter can safely be sent again.
        wait = before_dot is not None or hold > 0
        last = len(stuffed) if wait else max(len(stuffed) - _BLOCK, 0)
        after_dot = False
        try:
            for start in range(0, last, _BLOCK):
                await self._wire.write(
                    stuffed[start : min(start + _BLOCK, last)], self._timeouts.data_block
                )
                if self._wire.has_input:
                    break
            if hold > 0:
                await self._wire.listen(hold)
            if self.alive and before_dot is not None and not await before_dot():
                return Broken("body", "stopped")
            if self._wire.has_input:  # an answer before the end: the server gave up
                self._in_transaction = True
                reply = await self._wire.read_reply(self._timeouts.data_done)
                self._wire.abort()
                return _no("body", reply)
            after_dot = not self._wire.lost
            end = stuffed[last:] + _END
            if tail is not None and after_dot:
                end += tail()
            await self._wire.write(end, self._timeouts.data_block)
            reply = await self._wire.read_reply(self._timeouts.data_done)
        except WireError as exc:
            return Broken("body", exc.error, after_dot, exc.detail)
        return self._answered(reply)

    def _answered(self, reply: Reply) -> Accepted | Refused | Broken:
        """What the answer to the end of a letter means."""
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


@lru_cache(maxsize=64)  # senders come again; recipients pass through
def _path(address: str) -> bytes:
    if _UNSAFE_IN_PATH.search(address):
        raise ValueError("a space, angle bracket or control character in an address")
    return address.encode()


def _ended(outcome: Accepted | Refused | Broken) -> bool:
    """Whether the connection is over with this outcome."""
    if isinstance(outcome, Broken):
        return outcome.error != "stopped"  # that letter cannot be put into commands: the next may
    return outcome.reply.code == SERVICE_CLOSING


def _dropped(outcome: Accepted | Refused | Broken) -> bool:
    return isinstance(outcome, Broken) and (outcome.stage, outcome.error) == ("body", "closed")


def unheard(outcome: Refused | Broken) -> bool:
    """The connection ended before the server took notice of the letter."""
    if outcome.stage not in ("rset", "mail"):
        return False
    if isinstance(outcome, Broken):
        return outcome.stage == "rset" or outcome.error == "closed"
    return outcome.reply.code == SERVICE_CLOSING
