"""Where this checkout keeps its state, and the ports and secrets it chose for itself."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent.parent
SERVER_PORTS = ("postgres_port", "valkey_port", "manager_port")
PROGRAM_PORTS = ("web_port", "smtp_port", "dns_port", "inbound_port")
PORT_FIELDS = SERVER_PORTS + PROGRAM_PORTS


def local_dir() -> Path:
    """The state folder: VASHSENDER_LOCAL, else `.local` in the checkout."""
    return Path(os.environ.get("VASHSENDER_LOCAL") or BASE_DIR / ".local")


@dataclass
class Runtime:
    """Ports and secrets of the embedded services, kept in `runtime.json` (mode 0600)."""

    postgres_port: int
    valkey_port: int
    manager_port: int
    web_port: int
    smtp_port: int
    dns_port: int
    inbound_port: int
    password: str
    secret_key: str
    demo_password: str

    @property
    def database_url(self) -> str:
        return f"postgresql://app:{self.password}@127.0.0.1:{self.postgres_port}/app"

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.valkey_port}/0"


def load() -> Runtime:
    """Read the runtime file, writing it with free ports and new secrets where it is missing."""
    try:
        stored = json.loads(_path().read_text())
    except FileNotFoundError:
        stored = {}
    names = {field.name for field in fields(Runtime)}
    values = {name: value for name, value in stored.items() if name in names}
    if values.keys() != names:
        values = {
            "password": secrets.token_urlsafe(24),
            "secret_key": secrets.token_urlsafe(50),
            "demo_password": secrets.token_urlsafe(9),
            **dict(zip(PORT_FIELDS, free_ports(len(PORT_FIELDS)), strict=True)),
            **values,
        }
        _store(Runtime(**values))
    return Runtime(**values)


def choose_ports(names: Sequence[str] = PORT_FIELDS) -> Runtime:
    """Replace each port that something else has taken since; call before what listens there runs.

    The web port is WEB_PORT where that is set, else 8000 if it is free; 0 stands for any free one.
    """
    runtime = load()
    wanted_web = int(os.environ.get("WEB_PORT") or 0)
    for name in names:
        if name == "web_port" and wanted_web:
            runtime.web_port = wanted_web
        elif name == "web_port" and "WEB_PORT" not in os.environ and is_free(8000):
            runtime.web_port = 8000
        elif not is_free(getattr(runtime, name)):
            others = {getattr(runtime, other) for other in PORT_FIELDS}
            setattr(runtime, name, free_ports(1, others)[0])
    _store(runtime)
    return runtime


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port, by TCP and by UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_ports(count: int, except_for: Iterable[int] = ()) -> list[int]:
    """Loopback ports outside the kernel's ephemeral range, so no outgoing connection takes one."""
    taken = set(except_for)
    candidates: Iterable[int] = (20_000 + secrets.randbelow(10_000) for _ in range(10_000))
    ports: list[int] = []
    for port in candidates:
        if port not in taken and is_free(port):
            taken.add(port)
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("No free loopback port between 20000 and 30000.")


def _path() -> Path:
    return local_dir() / "runtime.json"


def _store(runtime: Runtime) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(runtime), file, indent=1)
    temporary.replace(path)
