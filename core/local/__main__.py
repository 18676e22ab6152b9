"""`python -m core.local up | demo | services | status`: what the Makefile calls."""

from __future__ import annotations

import argparse
import subprocess
import sys

from core.local.runtime import BASE_DIR
from core.local.servers import ServerError
from core.local.stack import Stack, StackError, child_environment


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m core.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    everything = commands.add_parser("up", help="run everything until Ctrl-C")
    everything.add_argument("--empty", action="store_true", help="without the demo workspace")
    commands.add_parser("services", help="run PostgreSQL and Valkey alone until Ctrl-C")
    commands.add_parser("status", help="say whether it runs, and where")
    demo = commands.add_parser("demo", help="run the main job without a browser, then exit")
    demo.add_argument("--recipients", type=int, default=2000)
    options = parser.parse_args()
    try:
        if options.command == "demo":
            return run_demo(options.recipients)
        if options.command == "up":
            return up(demo_workspace=not options.empty)
        return {"services": services, "status": status}[options.command]()
    except (StackError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def up(*, demo_workspace: bool) -> int:
    stack = Stack()
    try:
        with stack.running(say):
            if demo_workspace:
                run("first_boot")
            say(f"running at {stack.address}; logs in {stack.logs}; Ctrl-C stops it")
            stack.wait()
    except KeyboardInterrupt:
        say("stopped")
    return 0


def services() -> int:
    stack = Stack()
    try:
        with stack.running(say, only_servers=True):
            say(f"PostgreSQL and Valkey are running; logs in {stack.logs}; Ctrl-C stops them")
            stack.wait()
    except KeyboardInterrupt:
        say("stopped")
    return 0


def status() -> int:
    stack = Stack()
    running = stack.is_running()
    print(f"running at {stack.address}" if running else "not running: `make up` starts it")
    return 0 if running else 3


def run_demo(recipients: int) -> int:
    """In the running stack where there is one, else in one started for the demo and stopped."""
    stack = Stack()
    arguments = ("demo", f"--recipients={recipients}")
    if stack.is_running():
        return run(*arguments)
    finished: list[int] = []
    # The demo's own line stays the last one on the terminal.
    with stack.running(lambda text: None if finished else say(text)):
        finished.append(run(*arguments))
    return finished[0]


def run(*arguments: str) -> int:
    """A command of manage.py with the terminal for itself."""
    return subprocess.call(
        [sys.executable, "manage.py", *arguments], cwd=BASE_DIR, env=child_environment()
    )


def say(text: str) -> None:
    print(f"vashsender: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
