"""One SMTP connection of the sandbox: the protocol, and the misbehaviour that `world` asks for."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from apps.sandbox.smtp_syntax import (
    MAX_SIZE,
    Recipient,
    Refusal,
    Sender,
    command_text,
    parse_mail,
    parse_rcpt,
    unbase64,
)
from apps.sandbox.store import SaveFailed, SaveUnknown, StoredMessage, headers
from apps.sandbox.world import Smtp, recipient_behaviour

if TYPE_CHECKING:
    from apps.sandbox.smtp_server import SmtpServer

logger = logging.getLogger(__name__)

_COMMAND_LINE = 1024  # octets; RFC 5321, 4.5.3.1.4 (512) and what the extensions add
_AUTH_LINE = 12288  # RFC 4954, 4
_TEXT_LINE = 1000  # RFC 5321, 4.5.3.1.6, with the CRLF
_MAX_RECIPIENTS = 1000
_READ_AHEAD = 256 * 1024  # octets taken from a client that does not wait for its answer
_END = b"\r\n.\r\n"

_OK = b"250 2.0.0 Ok\r\n"
_SENDER_OK = b"250 2.1.0 Ok\r\n"
_RECIPIENT_OK = b"250 2.1.5 Ok\r\n"


class _State(Enum):
    COMMAND = auto()
    AUTH = auto()  # the next line answers a 334
    DATA = auto()
    BUSY = auto()  # waiting for the store or for authenticate
    SILENT = auto()  # never answers again
    CLOSED = auto()


@dataclass(slots=True)
class Transaction:
    """A mail transaction, from MAIL to the final dot: the accepted recipients and their ways."""

    sender: Sender
    recipients: list[tuple[str, Smtp]] = field(default_factory=list)


class Session(asyncio.Protocol):
    """One connection. Replies gather in `_replies` and leave in one write per group (RFC 2920)."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._state = _State.COMMAND
        self._buffer = bytearray()
        self._replies: list[bytes] = []
        self._greeted = False
        self._inbox: str | None = None
        self._transaction: Transaction | None = None
        self._auth_step: Callable[[str], None] = self._auth_plain
        self._user = ""
        self._scanned = 0
        self._oversize = False
        self._may_drop = False
        self._eof = False
        self._heard = self._loop.time()

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.sessions.add(self)
        self._timer = self._loop.call_later(self._server.idle_timeout, self.check_idle)
        peer = transport.get_extra_info("peername")
        if not (peer and ipaddress.ip_address(peer[0]).is_loopback):
            self.abort()
        elif len(self._server.sessions) > self._server.max_connections:
            self._reply("421 4.3.2 Too many connections")
            self._close()
        else:
            self._reply("220 sandbox.test ESMTP")
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = _State.CLOSED
        self._timer.cancel()
        self._server.sessions.discard(self)

    def eof_received(self) -> bool:
        self._eof = True
        return self._state is _State.BUSY  # the answer can still be sent

    def pause_writing(self) -> None:
        """The client sends commands but reads no replies: take no more of them."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        self._state = _State.CLOSED
        self._transport.abort()

    def _close(self) -> None:
        self._flush()
        self._state = _State.CLOSED
        self._later(self._transport.close)

    def check_idle(self) -> None:
        """End the session if it was idle for too long, else look again when it could be."""
        left = self._heard + self._server.idle_timeout - self._loop.time()
        if self._state is _State.BUSY:
            left = self._server.idle_timeout
        if left <= 0:
            if self._state is _State.CLOSED:  # the client does not read the last replies
                self.abort()
                return
            self._reply("421 4.4.2 Idle for too long")
            self._close()
            left = self._server.idle_timeout
        self._timer = self._loop.call_later(left, self.check_idle)

    def _reply(self, line: str) -> None:
        self._replies.append(line.encode() + b"\r\n")

    def _flush(self) -> None:
        if self._replies:
            self._later(self._transport.write, b"".join(self._replies))
            self._replies.clear()

    def _later(self, action: Callable[..., object], *arguments: object) -> None:
        if self._server.latency:
            # What is due first is called first, so that replies stay in order.
            self._loop.call_later(self._server.latency, action, *arguments)
        else:
            action(*arguments)

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._state in (_State.SILENT, _State.CLOSED):
            return
        self._heard = self._loop.time()
        self._buffer += data
        if self._state is not _State.BUSY:
            self._read()
        elif len(self._buffer) > _READ_AHEAD:
            self._transport.pause_reading()

    def _read(self) -> None:
        while self._step():
            pass
        self._flush()

    def _step(self) -> bool:
        """Take one line or one message off the buffer; False when there is no whole one."""
        if self._state is _State.COMMAND or self._state is _State.AUTH:
            return self._read_line()
        if self._state is _State.DATA:
            return self._read_data()
        return False

    def _read_line(self) -> bool:
        in_auth = self._state is _State.AUTH or self._buffer[:5].upper() == b"AUTH "
        limit = _AUTH_LINE if in_auth else _COMMAND_LINE
        end = self._buffer.find(b"\n", 0, limit) + 1
        if not end:
            if len(self._buffer) >= limit:
                self._reply("500 5.5.2 Line too long")
                self._close()
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        text = command_text(line)
        in_auth = self._state is _State.AUTH
        self._state = _State.COMMAND
        if text is None:
            self._reply("500 5.5.2 A line is UTF-8 without control characters and ends with CRLF")
        elif in_auth:
            self._auth_step(text)
        else:
            verb, _, argument = text.partition(" ")
            command = _COMMANDS.get(verb.upper())
            if command is None:
                self._reply("500 5.5.2 Command unrecognized")
            else:
                command(self, argument)
        return True

    def _read_data(self) -> bool:
        end = self._buffer.find(_END, self._scanned)
        if self._may_drop and self._breaks(end):
            self.abort()
            return False
        if end < 0:
            self._scanned = max(0, len(self._buffer) - len(_END) + 1)
            if len(self._buffer) > MAX_SIZE + _READ_AHEAD:
                self._oversize = True
                del self._buffer[: self._scanned]
                self._scanned = 0
            return False
        raw = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(_END)]
        self._state = _State.COMMAND
        self._end_data(raw)
        return True

    def _breaks(self, end: int) -> bool:
        """Whether to break the connection here: known once the header block is in."""
        blank = self._buffer.find(b"\r\n\r\n")
        if blank < 0 and end < 0:
            return False
        self._may_drop = False
        message_id, _ = headers(bytes(self._buffer[2 : blank + 4 if blank >= 0 else end + 2]))
        return self._server.drops(self._mail(), message_id)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` outside of the read loop, then go on reading."""
        self._flush()
        self._state = _State.BUSY
        self._server.run(self._resume_after(work))

    async def _resume_after(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        if self._state is not _State.BUSY:
            return
        self._heard = self._loop.time()
        self._state = _State.COMMAND
        self._transport.resume_reading()
        self._read()
        if self._eof and not self._transport.is_closing():
            self._close()

    # Commands

    def _helo(self, argument: str) -> None:
        if self._greet(argument):
            self._reply("250 sandbox.test")

    def _ehlo(self, argument: str) -> None:
        if not self._greet(argument):
            return
        extensions = [
            "sandbox.test",
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            f"SIZE {MAX_SIZE}",
            "ENHANCEDSTATUSCODES",
        ]
        if self._server.authenticate is not None:
            extensions.append("AUTH PLAIN LOGIN")
        for extension in extensions[:-1]:
            self._reply(f"250-{extension}")
        self._reply(f"250 {extensions[-1]}")

    def _greet(self, name: str) -> bool:
        if not name.strip():
            self._reply("501 5.5.4 Your name is missing")
            return False
        self._greeted = True
        self._transaction = None
        return True

    def _mail_from(self, argument: str) -> None:
        if not self._greeted:
            self._reply("503 5.5.1 EHLO first")
        elif self._transaction is not None:
            self._reply("503 5.5.1 MAIL was given already")
        elif isinstance(sender := parse_mail(argument), Refusal):
            self._reply(sender.reply)
        else:
            self._transaction = Transaction(sender)
            self._replies.append(_SENDER_OK)

    def _rcpt_to(self, argument: str) -> None:
        mail = self._transaction
        if mail is None:
            self._reply("503 5.5.1 MAIL first")
        elif isinstance(recipient := parse_rcpt(argument, utf8=mail.sender.utf8), Refusal):
            self._reply(recipient.reply)
        elif len(mail.recipients) >= _MAX_RECIPIENTS:
            self._reply("452 4.5.3 Too many recipients")
        else:
            self._recipient(mail, recipient)

    def _recipient(self, mail: Transaction, recipient: Recipient) -> None:
        row = recipient_behaviour(recipient.local_part, recipient.domain)
        address = recipient.address
        if row.smtp is Smtp.SILENT:
            self._flush()
            self._state = _State.SILENT
            self._buffer.clear()
        elif row.smtp is Smtp.REFUSE or (
            row.smtp is Smtp.GREYLIST
            and not self._server.passes_greylist(mail.sender.address, address)
        ):
            self._reply(row.reply)
        else:
            mail.recipients.append((address, row.smtp))
            self._replies.append(_RECIPIENT_OK)

    def _data(self, argument: str) -> None:
        if argument:
            self._reply("501 5.5.4 DATA takes no argument")
        elif self._transaction is None:
            self._reply("503 5.5.1 MAIL first")
        elif not self._transaction.recipients:
            self._reply("554 5.5.1 No valid recipients")
        elif self._buffer:
            # A message sent without waiting for 354 could pass for commands (RFC 2920, 3.1).
            self._reply("554 5.5.0 Wait for the reply to DATA")
            self._close()
        else:
            self._reply("354 End with <CRLF>.<CRLF>")
            self._state = _State.DATA
            self._buffer += b"\r\n"  # as if of the line before, so that "." can come first
            self._scanned = 0
            self._oversize = False
            self._may_drop = any(
                smtp in (Smtp.DROP, Smtp.DROP_ONCE) for _, smtp in self._mail().recipients
            )

    def _end_data(self, raw: bytes) -> None:
        """`raw`: the message as it came, between a CRLF before it and the final dot."""
        mail, self._transaction = self._mail(), None
        data = raw.replace(b"\r\n.", b"\r\n")[2:]
        lines = data.splitlines()  # at CRLF, bare CR and bare LF
        if self._oversize or len(data) > MAX_SIZE:
            self._reply("552 5.3.4 Message too big")
        elif len(lines) != data.count(b"\r\n"):
            # Where others take a bare LF for a line end, it could smuggle in another message.
            self._reply("550 5.5.2 Bare CR or LF")
        elif max(map(len, lines), default=0) > _TEXT_LINE - 2:
            self._reply("550 5.6.0 Line too long")
        else:
            now = datetime.now(UTC)
            message_id, subject = headers(data)
            messages = [
                StoredMessage(
                    self._inbox, mail.sender.address, address, message_id, subject, data, now
                )
                for address, _ in mail.recipients
            ]
            loses_reply = any(smtp is Smtp.LOSE_REPLY for _, smtp in mail.recipients)
            ways = [smtp for _, smtp in mail.recipients]
            self._wait_for(self._save(messages, ways, loses_reply))

    async def _save(
        self, messages: list[StoredMessage], ways: list[Smtp], loses_reply: bool
    ) -> None:
        try:
            await self._server.store.save(*messages)
        except SaveUnknown:
            self.abort()  # neither 250 nor 451 would be true
        except SaveFailed:
            self._reply("451 4.3.0 Not stored, try again later")
        except Exception:
            logger.exception("sandbox: the store failed")
            self._reply("451 4.3.0 Not stored, try again later")
        else:
            for message, smtp in zip(messages, ways, strict=True):
                if smtp in (Smtp.REPORT_BACK, Smtp.COMPLAIN):
                    self._server.send_back(message, smtp)
            if loses_reply:
                self._close()
            else:
                self._replies.append(_OK)

    def _rset(self, argument: str) -> None:
        self._transaction = None
        self._replies.append(_OK)

    def _noop(self, argument: str) -> None:
        self._replies.append(_OK)

    def _vrfy(self, argument: str) -> None:
        self._reply("252 2.1.5 Cannot verify, but will take the message")

    def _quit(self, argument: str) -> None:
        self._reply("221 2.0.0 Bye")
        self._close()

    def _mail(self) -> Transaction:
        if self._transaction is None:
            raise RuntimeError("DATA outside of a transaction")
        return self._transaction

    # AUTH (RFC 4954)

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if self._server.authenticate is None:
            self._reply("502 5.5.1 No AUTH here")
        elif not self._greeted or self._transaction is not None or self._inbox is not None:
            self._reply("503 5.5.1 AUTH comes once, after EHLO and before MAIL")
        elif mechanism.upper() == "PLAIN":
            self._ask("", self._auth_plain, initial)
        elif mechanism.upper() == "LOGIN":
            self._ask("Username:", self._auth_user, initial)
        else:
            self._reply("504 5.5.4 No such mechanism")

    def _ask(self, prompt: str, step: Callable[[str], None], initial: str = "") -> None:
        if initial:
            step("" if initial == "=" else initial)
            return
        self._reply(f"334 {base64.b64encode(prompt.encode()).decode()}")
        self._auth_step = step
        self._state = _State.AUTH

    def _auth_user(self, line: str) -> None:
        user = unbase64(line)
        if user is None:
            self._reply("501 5.5.2 AUTH was given up")
        else:
            self._user = user
            self._ask("Password:", self._auth_password)

    def _auth_password(self, line: str) -> None:
        password = unbase64(line)
        if password is None:
            self._reply("501 5.5.2 AUTH was given up")
        else:
            self._wait_for(self._log_in(self._user, password))

    def _auth_plain(self, line: str) -> None:
        parts = (unbase64(line) or "").split("\0")
        if len(parts) != 3:
            self._reply("501 5.5.2 AUTH was given up")
        else:
            self._wait_for(self._log_in(parts[1], parts[2]))

    async def _log_in(self, user: str, password: str) -> None:
        assert self._server.authenticate is not None
        try:
            self._inbox = await asyncio.to_thread(self._server.authenticate, user, password)
        except Exception:
            logger.exception("sandbox: authenticate failed")
            self._reply("454 4.7.0 Try again later")
        else:
            accepted = self._inbox is not None
            self._reply("235 2.7.0 Welcome" if accepted else "535 5.7.8 Wrong user or password")


_COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "HELO": Session._helo,
    "EHLO": Session._ehlo,
    "MAIL": Session._mail_from,
    "RCPT": Session._rcpt_to,
    "DATA": Session._data,
    "RSET": Session._rset,
    "NOOP": Session._noop,
    "QUIT": Session._quit,
    "VRFY": Session._vrfy,
    "AUTH": Session._auth,
}
