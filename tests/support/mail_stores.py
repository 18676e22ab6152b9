"""IMAP and POP3 servers over TLS on loopback, just enough for a client that empties a mailbox."""

from __future__ import annotations

import socketserver
import ssl
import threading
from pathlib import Path
from typing import ClassVar, Self


class MailStore(socketserver.ThreadingTCPServer):
    """`messages` are in the mailbox by their numbers; `drops` hangs up in place of the good-bye."""

    daemon_threads = True
    password: ClassVar = "s3cret"

    def __init__(
        self, protocol: str, certificate: Path, messages: list[bytes], *, drops: bool = False
    ) -> None:
        self.messages = dict(enumerate(messages, 1))
        self.drops = drops
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        super().__init__(("127.0.0.1", 0), _Imap if protocol == "imap" else _Pop)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.port = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_request: object) -> None:
        """A client that does not trust the certificate is no trouble of the server."""


class _Session(socketserver.StreamRequestHandler):
    server: MailStore

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
        self.wfile.flush()


class _Imap(_Session):
    def handle(self) -> None:
        self.say("* OK ready")
        deleted: set[int] = set()
        while line := self.rfile.readline().decode().split():
            tag, command, *rest = line
            command = command.upper()
            if command == "UID":
                command, *rest = rest
            store = self.server.messages
            if command == "CAPABILITY":
                self.say("* CAPABILITY IMAP4rev1")
            elif command == "LOGIN" and rest[1].strip('"') != self.server.password:
                self.say(f"{tag} NO [AUTHENTICATIONFAILED] Wrong password")
                continue
            elif command == "SELECT":
                self.say(f"* {len(store)} EXISTS")
            elif command == "SEARCH":
                self.say("* SEARCH " + " ".join(str(n) for n in store if n not in deleted))
            elif command == "FETCH":
                data = store[int(rest[0])][: int(rest[1].rpartition(".")[2].strip(">)"))]
                self.wfile.write(
                    b"* 1 FETCH (UID %s BODY[]<0> {%d}\r\n%b)\r\n"
                    % (rest[0].encode(), len(data), data)
                )
            elif command == "STORE":
                deleted.add(int(rest[0]))
            elif command == "EXPUNGE":
                if self.server.drops:
                    return
                for number in deleted:
                    store.pop(number, None)
            elif command == "LOGOUT":
                self.say("* BYE")
                self.say(f"{tag} OK")
                return
            self.say(f"{tag} OK done")


class _Pop(_Session):
    def handle(self) -> None:
        self.say("+OK ready")
        deleted: set[int] = set()
        while line := self.rfile.readline().decode().split():
            command, *rest = line
            store = self.server.messages
            if command == "PASS" and rest[0] != self.server.password:
                self.say("-ERR [AUTH] Wrong password")
                continue
            if command == "QUIT":
                if not self.server.drops:
                    for number in deleted:
                        store.pop(number, None)
                    self.say("+OK")
                return
            if command == "DELE":
                deleted.add(int(rest[0]))
            self.say("+OK")
            if command == "LIST":
                for number, data in store.items():
                    self.say(f"{number} {len(data)}")
                self.say(".")
            elif command in ("RETR", "TOP"):
                for one in store[int(rest[0])].splitlines():
                    self.wfile.write((b"." if one.startswith(b".") else b"") + one + b"\r\n")
                self.say(".")
