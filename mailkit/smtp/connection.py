"""Letters over an SMTP session, pipelined (RFC 2920) where the server can."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from mailkit.smtp.commands import ENVELOPE, Commands, transaction
from mailkit.smtp.endpoint import Endpoint, Timeouts
from mailkit.smtp.letters import Letters, Outgoing, Turn
from mailkit.smtp.message import WireMessage
from mailkit.smtp.outcomes import (
    SERVICE_CLOSING,
    Accepted,
    Broken,
    Refused,
    Reply,
)
from mailkit.smtp.session import Session, refusal
from mailkit.smtp.wire import Wire, WireError

_BLOCK = 64 * 1024
_END = b".\r\n"
# The answers to the end of a letter and to the envelope behind it where all goes well.
_ALL_WELL = re.compile(rb"(2\d\d [^\r\n]*)\r\n2\d\d [^\r\n]*\r\n2\d\d [^\r\n]*\r\n354 [^\r\n]*\r\n")

L = TypeVar("L", bound=Outgoing)


class Connection(Session):
    """A session that sends letters.

    `sent` counts accepted messages; `dropped` tells that the server hung up in the middle of one,
    or seems to have done it.
    """

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts, wire: Wire, clock: Callable[[], float]
    ) -> None:
        """Use `open`."""
        super().__init__(endpoint, timeouts, wire, clock)
        self.sent = 0
        self.dropped = False
        self._heard = False  # whether anything was said about a letter

    async def send_each(
        self, envelope_from: str, letters: Letters[L], *, limit: int, hold: Callable[[], float]
    ) -> None:
        """Send letter after letter until none is left, the connection ends, or `sent` is `limit`.

        The end of a letter goes out together with the envelope of the next one where the server
        pipelines (RFC 2920 section 3.1). It is held back for as many seconds as `hold` says: a
        server that hangs up in the middle of a letter shows it by then, and the letter can safely
        be sent again. A letter is put back where the connection ended before anything was said
        about it, unless the connection is new: then it is told so.
        """
        turn = Turn(letters.take())
        orderly = False

        def follow() -> bytes:
            """What to say behind the end of a letter: the envelope of the next one."""
            turn.end_said = True
            if "PIPELINING" not in self.extensions or self.sent + 1 >= limit:
                return b""
            while (following := letters.take()) is not None:
                commands = transaction(envelope_from, following, self.extensions, reset=False)
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
                elif self._heard and _unheard(outcome):
                    return
                letters.settle(turn.letter, outcome)
                self.dropped = _dropped(outcome)
                turn.go_on()
                self._heard = True
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
        self, turn: Turn[L], letters: Letters[L], hold: float, follow: Callable[[], bytes]
    ) -> Accepted | Refused | Broken:
        """The letter of the turn and those behind it, as long as the server says nothing but yes;
        what came of the letter with which that ended, the turn's by then."""
        assert turn.letter is not None
        if hold or "PIPELINING" not in self.extensions:
            return await self._body(turn.letter.message, hold, follow)

        def say() -> bool:
            """The whole of a letter at once; whether there is more to say when all is well."""
            assert turn.letter is not None
            message = turn.letter.message
            if self._wire.lost or message.tail or len(message.stuffed) > _BLOCK:
                return False
            self._wire.write_at_once(b"".join((message.stuffed, _END, follow())))
            return turn.following is not None

        def heard() -> bool:
            """Answers have come: where they are the good ones, go on with the next letter."""
            reply = self._wire.take_good(_ALL_WELL)
            if reply is None:
                return not self._wire.is_unusual(len(ENVELOPE) + 1)
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
            return await self._body(turn.letter.message, 0.0, follow)
        try:
            return self._answered(await self._wire.read_reply(self._timeouts.data_done))
        except WireError as exc:
            return Broken("body", exc.error, after_dot=True, detail=exc.detail)

    async def _open_letter(
        self, envelope_from: str, letter: Outgoing, said: bool
    ) -> Refused | Broken | None:
        """Say everything up to DATA unless it was `said`. None: the server waits for the letter."""
        commands = transaction(
            envelope_from, letter, self.extensions, reset=self._in_transaction and not said
        )
        return await self._envelope(commands, said) if isinstance(commands, Commands) else commands

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
            outcome = refusal(stage, reply)
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
        hold: float,
        tail: Callable[[], bytes],
    ) -> Accepted | Refused | Broken:
        """The letter, its end and the answer. `tail` gives what to say behind the end."""
        blocks = message.blocks(_BLOCK)
        # With something to wait for, the end alone waits. A server that hangs up in the middle
        # shows it by then, and the letter can safely be sent again.
        last = b"" if hold > 0 or not blocks else blocks.pop()
        after_dot = False
        try:
            for block in blocks:
                await self._wire.write(block, self._timeouts.data_block)
                if self._wire.has_input:
                    break
            if hold > 0:
                await self._wire.listen(hold)
            if self._wire.has_input:  # an answer before the end: the server gave up
                self._in_transaction = True
                reply = await self._wire.read_reply(self._timeouts.data_done)
                self._wire.abort()
                return refusal("body", reply)
            after_dot = not self._wire.lost
            said_behind = tail() if after_dot else b""
            end = b"".join((last, _END, said_behind))
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


def _ended(outcome: Accepted | Refused | Broken) -> bool:
    """Whether the connection is over with this outcome."""
    if isinstance(outcome, Broken):
        return outcome.error != "stopped"  # that letter cannot be put into commands: the next may
    return outcome.reply.code == SERVICE_CLOSING


def _dropped(outcome: Accepted | Refused | Broken) -> bool:
    return isinstance(outcome, Broken) and (outcome.stage, outcome.error) == ("body", "closed")


def _unheard(outcome: Refused | Broken) -> bool:
    """The connection ended before the server took notice of the letter."""
    if outcome.stage not in ("rset", "mail"):
        return False
    if isinstance(outcome, Broken):
        return outcome.stage == "rset" or outcome.error == "closed"
    return outcome.reply.code == SERVICE_CLOSING
