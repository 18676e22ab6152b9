"""The whole service as processes under supervisord, in the foreground."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from core.local import runtime, servers
from core.local.runtime import BASE_DIR, Runtime

POOLS = {"import": 2, "email": 4, "campaigns": 2, "default": 1}
READY_SECONDS = 120
LOG_LINES_SHOWN = 5
# In the environment of everything that supervisord runs: tells whose a process is.
MARK = "VASHSENDER_STACK"


class StackError(Exception):
    """The stack could not be started; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """One process for supervisord to keep running. Lower priorities start first and stop last."""

    name: str
    command: servers.Command
    priority: int
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    environment: dict[str, str] = field(default_factory=dict)


class Stack:
    """Owns `.local`: an exclusive lock says that it runs, so no second one starts beside it."""

    def __init__(self) -> None:
        self.folder = runtime.local_dir().resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs = self.folder / "log"
        self.runtime: Runtime = runtime.load()
        self._lock: IO[str] | None = None
        self._manager: subprocess.Popen[bytes] | None = None
        self._started: list[Program] = []

    def is_running(self) -> bool:
        """Whether a stack, started here or by another process, holds this folder."""
        if self._lock:
            return True
        with open(self.folder / "stack.lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def address(self) -> str:
        return os.environ.get("BASE_URL") or f"http://127.0.0.1:{self.runtime.web_port}"

    @contextlib.contextmanager
    def running(self, say: Callable[[str], None], *, only_servers: bool = False) -> Iterator[None]:
        """Start everything, run the block, stop everything, whatever ends the block."""
        self._take_lock()
        with _signals_as_exit():
            try:
                self._start(say, only_servers)
                yield
            finally:
                self._stop(say)

    def wait(self) -> None:
        """Sleep until a signal asks to stop; StackError where the manager dies by itself."""
        assert self._manager is not None
        code = self._manager.wait()
        raise StackError(f"supervisord ended with exit code {code}: see {self.logs}.")

    def _take_lock(self) -> None:
        self._lock = open(self.folder / "stack.lock", "a")  # noqa: SIM115 (held while we live)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock = None
            raise StackError(f"VashSender is already running here: {self.address}") from None

    def _start(self, say: Callable[[str], None], only_servers: bool) -> None:
        end_leftovers(self.folder)
        self.runtime = runtime.choose_ports(runtime.SERVER_PORTS)
        self.logs.mkdir(exist_ok=True)
        data_servers = self._data_servers(say)
        programs = [] if only_servers else self._programs()
        self._start_manager(data_servers + programs)
        if data_servers:
            say("starting " + " and ".join(program.name for program in data_servers))
        for program in data_servers:
            self._control("startProcess", program.name, True)
        if not os.environ.get("DATABASE_URL"):
            servers.wait_for_postgres(self.runtime)
        if not os.environ.get("REDIS_URL"):
            servers.wait_for_valkey(self.runtime)
        say("migrating the database")
        manage("migrate", "--verbosity=0")
        if only_servers:
            return
        # Preparing took a while: look again whether the programs' ports are still free.
        self.runtime = runtime.choose_ports(runtime.PROGRAM_PORTS)
        say("starting web, workers, beat, writer and sandbox")
        self._started = programs
        for program in programs:
            self._control("startProcess", program.name, False)
        try:
            manage("wait_until_ready", f"--seconds={READY_SECONDS}")
        except StackError as error:
            raise StackError(f"{error}\n{self._ends_of_logs()}") from None

    def _ends_of_logs(self) -> str:
        """What each program that we started is doing, and the last lines that it wrote."""
        said = []
        for program in self._started:
            state = self._control("getProcessInfo", program.name)
            log = self.logs / f"{program.name}.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            said += [f"{program.name}: {state['description'] or state['statename']}"]
            said += [f"    {line}" for line in lines[-LOG_LINES_SHOWN:]]
        return "\n".join(said)

    def _data_servers(self, say: Callable[[str], None]) -> list[Program]:
        programs = []
        if not os.environ.get("DATABASE_URL"):
            if not (self.folder / "postgres" / "PG_VERSION").exists():
                say("creating the database")
            command = servers.postgres_command(self.runtime, self.folder / "postgres")
            programs.append(Program("postgres", command, 1, "INT", 60))
        if not os.environ.get("REDIS_URL"):
            command = servers.valkey_command(self.runtime, self.folder / "valkey")
            programs.append(Program("valkey", command, 1, "TERM", 60))
        return programs

    def _programs(self) -> list[Program]:
        python = sys.executable
        celery = [python, "-m", "celery", "-A", "core.celery", "--quiet"]
        workers = [
            Program(
                f"worker-{queue}",
                servers.Command(tuple(celery + worker_options(queue))),
                20,
                stop_seconds=25,
            )
            for queue in POOLS
        ]
        web = [python, "-m", "gunicorn", "core.wsgi", "--config", "python:core.gunicorn"]
        return [
            Program("sandbox", servers.Command((python, "manage.py", "sandbox")), 10),
            Program("inbound", servers.Command((python, "manage.py", "receive_mail")), 10),
            *workers,
            Program(
                "beat", servers.Command((*celery, "beat", "--loglevel=info", "--pidfile=")), 30
            ),
            Program("writer", servers.Command((python, "manage.py", "write_events")), 30),
            Program("web", servers.Command(tuple(web)), 40),
        ]

    def _start_manager(self, programs: list[Program]) -> None:
        config = self.folder / "supervisord.conf"
        config.touch(mode=0o600)
        config.write_text(self._manager_config(programs))
        with open(self.logs / "supervisord.out", "ab") as output:
            self._manager = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
                cwd=BASE_DIR,
                env=child_environment() | {MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches only us; we stop the rest in order.
                start_new_session=True,
                preexec_fn=servers.die_with_parent,
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._control("getState")
                return
            except (OSError, xmlrpc.client.Error) as error:
                if self._manager.poll() is not None or time.monotonic() > deadline:
                    raise StackError(f"supervisord did not start: see {output.name}.") from error
                time.sleep(0.05)

    def _manager_config(self, programs: list[Program]) -> str:
        sections = [
            "[supervisord]\nnodaemon=true\n"
            f"logfile={_escape(self.logs / 'supervisord.log')}\n"
            f"pidfile={_escape(self.folder / 'supervisord.pid')}\n",
            f"[inet_http_server]\nport=127.0.0.1:{self.runtime.manager_port}\n"
            f"username=app\npassword={self.runtime.password}\n",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            f"[supervisorctl]\nserverurl=http://127.0.0.1:{self.runtime.manager_port}\n"
            f"username=app\npassword={self.runtime.password}\n",
        ]
        for program in programs:
            user = f"user={program.command.user}\n" if program.command.user else ""
            sections.append(
                f"[program:{program.name}]\n"
                f"command={_escape(shlex.join(program.command.argv))}\n"
                f"directory={_escape(BASE_DIR)}\n{user}"
                f"priority={program.priority}\nautostart=false\nautorestart=true\n"
                "startsecs=1\nstartretries=10\n"
                f"stopsignal={program.stop_signal}\nstopwaitsecs={program.stop_seconds}\n"
                "killasgroup=true\nredirect_stderr=true\n"
                f"stdout_logfile={_escape(self.logs / program.name)}.log\n"
                "stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=2\n"
            )
        return "\n".join(sections)

    def _control(self, method: str, *arguments: object) -> Any:
        url = f"http://app:{self.runtime.password}@127.0.0.1:{self.runtime.manager_port}/RPC2"
        with xmlrpc.client.ServerProxy(url) as manager:
            return getattr(manager.supervisor, method)(*arguments)

    def _stop(self, say: Callable[[str], None]) -> None:
        if self._manager is not None and self._manager.poll() is None:
            say("stopping")
            # All at once; supervisord alone would stop them one after the other.
            with contextlib.suppress(OSError, xmlrpc.client.Error):
                for program in self._started:
                    self._control("stopProcess", program.name, False)
            self._manager.send_signal(signal.SIGTERM)
            try:
                self._manager.wait(120)
            except subprocess.TimeoutExpired:
                os.killpg(self._manager.pid, signal.SIGKILL)
                self._manager.wait()
        end_leftovers(self.folder)
        if self._lock:
            self._lock.close()
            self._lock = None


def end_leftovers(folder: Path) -> None:
    """End what a supervisord of this folder left behind when it was killed outright."""
    left = [process for process in psutil.process_iter() if _has_mark(process, folder)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _gone, alive = psutil.wait_procs(left, timeout=20)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _has_mark(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except (psutil.Error, OSError):
        return False


def worker_options(queue: str) -> list[str]:
    """Celery's options for the pool of a queue, sized by IMPORT_CONCURRENCY and its like."""
    size = os.environ.get(f"{queue.upper()}_CONCURRENCY") or str(POOLS[queue])
    return ["worker", "-Q", queue, "-n", f"{queue}@%h", "-c", size, "--loglevel=info",
            "--without-mingle", "--without-gossip"]  # fmt: skip


def manage(*arguments: str) -> None:
    """Run a command of manage.py; StackError with its output where it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR, env=child_environment(), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise StackError(f"`manage.py {arguments[0]}` failed:\n{done.stdout}{done.stderr}")


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PATH": _path_with_venv()}


def _path_with_venv() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _escape(value: object) -> str:
    """supervisord expands %(name)s in its configuration and takes ` ;` for a comment."""
    return str(value).replace("%", "%%")


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C; once unwinding, further signals change nothing."""

    def leave(number: int, frame: object) -> None:
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, leave) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
