"""Mail in a mailbox elsewhere, by IMAP (RFC 9051) or POP3 (RFC 1939), over TLS alone."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

SECONDS = 30.0
LARGEST = 1024 * 1024  # octets fetched of a message
# What a server may say on a line; its default of 2,048 octets is too short for some.
poplib._MAXLINE = 1024 * 1024  # type: ignore[attr-defined]

FAULTS = (OSError, EOFError, ValueError, imaplib.IMAP4.error, poplib.error_proto)
_UID = re.compile(rb"\d+")


class MailboxError(Exception):
    """The mailbox cannot be read; the message is what the server or the system said."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the mailbox is. `address` is what `host` was resolved to; the certificate must be of
    `host`."""

    protocol: str
    host: str
    address: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)


class Mailbox:
    """An open mailbox: `messages`, then `delete` what was stored; `close` makes it so.

    Every method raises MailboxError.
    """

    def __init__(self, access: Access) -> None:
        self._box = _Imap(access) if access.protocol == "imap" else _Pop(access)

    def messages(self, most: int) -> Iterator[tuple[str, bytes]]:
        """(name in the mailbox, the first MB), the oldest first."""
        with _told():
            yield from self._box.messages(most)

    def delete(self, name: str) -> None:
        with _told():
            self._box.delete(name)

    def close(self) -> None:
        with _told():
            self._box.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(MailboxError):
                self.close()


def open_mailbox(access: Access) -> Mailbox:
    """Connect, check the certificate and log in. Raises MailboxError."""
    with _told():
        return Mailbox(access)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except FAULTS as error:
        words = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error)
        said = words.decode(errors="replace") if isinstance(words, bytes) else words
        raise MailboxError(" ".join(said.split())[:500] or type(error).__name__) from error


class _Imap:
    def __init__(self, access: Access) -> None:
        context = ssl.create_default_context()

        class Plain(imaplib.IMAP4):
            def _create_socket(self, timeout: float | None) -> socket.socket:
                return socket.create_connection((access.address, access.port), timeout)

        class Tls(Plain):
            def _create_socket(self, timeout: float | None) -> socket.socket:
                plain = super()._create_socket(timeout)
                return context.wrap_socket(plain, server_hostname=access.host)

        kind = Tls if access.security == "tls" else Plain
        self._server = kind(access.host, access.port, SECONDS)
        try:
            if access.security != "tls":
                self._server.starttls(context)
            self._server.login(access.username, access.password)
            _ok(self._server.select("INBOX"))
        except BaseException:
            self._server.shutdown()
            raise

    def messages(self, most: int) -> Iterator[tuple[str, bytes]]:
        found = _ok(self._server.uid("SEARCH", "UNDELETED"))
        uids = _UID.findall(found[0] or b"") if found else []
        for uid in uids[:most]:
            parts = _ok(self._server.uid("FETCH", uid.decode(), f"(BODY.PEEK[]<0.{LARGEST}>)"))
            for part in parts:
                if isinstance(part, tuple):
                    yield uid.decode(), bytes(part[1])
                    break

    def delete(self, name: str) -> None:
        _ok(self._server.uid("STORE", name, "+FLAGS", r"(\Deleted)"))

    def close(self) -> None:
        try:
            _ok(self._server.expunge())
        finally:
            self._server.logout()


class _Pop:
    def __init__(self, access: Access) -> None:
        context = ssl.create_default_context()

        class Plain(poplib.POP3):
            def _create_socket(self, timeout: float) -> socket.socket:
                return socket.create_connection((access.address, access.port), timeout)

        class Tls(Plain):
            def _create_socket(self, timeout: float) -> socket.socket:
                plain = super()._create_socket(timeout)
                return context.wrap_socket(plain, server_hostname=access.host)

        kind = Tls if access.security == "tls" else Plain
        self._server = kind(access.host, access.port, SECONDS)
        try:
            if access.security != "tls":
                self._server.stls(context)
            self._server.user(access.username)
            self._server.pass_(access.password)
        except BaseException:
            self._server.close()
            raise

    def messages(self, most: int) -> Iterator[tuple[str, bytes]]:
        listed = self._server.list()[1]
        for line in listed[:most]:
            number, _, size = line.decode("ascii").partition(" ")
            if int(size or 0) <= LARGEST:
                lines = self._server.retr(int(number))[1]
            else:
                lines = self._server.top(int(number), 5000)[1]
            yield number, (b"\r\n".join(lines) + b"\r\n")[:LARGEST]

    def delete(self, name: str) -> None:
        self._server.dele(int(name))

    def close(self) -> None:
        """What was deleted is gone only after QUIT (RFC 1939 section 6)."""
        self._server.quit()


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    kind, data = answer
    if kind != "OK":
        raise imaplib.IMAP4.error(str(data[0] if data else kind))
    return data
