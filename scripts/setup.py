#!/usr/bin/env python3
"""Install what this checkout needs, inside the checkout: `setup.py [local|dev]`.

Needs Python 3.11 with venv, and nothing else. Each step leaves a stamp holding the hash of
its inputs, so a second run costs milliseconds. `local` is enough to run the service, `dev`
adds what the tests and linters use.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCAL = ROOT / ".local"
STAMPS = LOCAL / "stamps"
BIN = VENV / "bin"
# Settings want addresses and a key, of which collecting static files uses none.
NOWHERE = {
    "SECRET_KEY": "build",
    "DATABASE_URL": "postgresql://build/build",
    "REDIS_URL": "redis://build",
}


def main(level: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (it is the message for an older one)
        sys.exit(f"VashSender needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    STAMPS.mkdir(parents=True, exist_ok=True)
    with open(LOCAL / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_venv()
        install_python_packages(level)
        install_frontend_packages()
        compile_translations()
        collect_static_files()


def make_venv() -> None:
    if (BIN / "python").exists() and subprocess.call([BIN / "python", "-c", ""]) == 0:
        return
    say("creating the virtual environment")
    shutil.rmtree(VENV, ignore_errors=True)
    for stamp in STAMPS.iterdir():
        stamp.unlink()
    run([sys.executable, "-m", "venv", VENV])


def install_python_packages(level: str) -> None:
    bootstrap = ROOT / "requirements" / "uv.txt"
    with Step("uv", [bootstrap]) as step:
        if step.needed:
            say("installing uv")
            run([BIN / "python", "-m", "pip", "install", "--quiet", "--require-hashes",
                 "--disable-pip-version-check", "-r", bootstrap])  # fmt: skip
    requirements = ROOT / "requirements" / f"{level}.txt"
    with Step(level, [requirements]) as step:
        if step.needed:
            say(f"installing Python packages ({level})")
            uv_install(requirements)


def uv_install(requirements: Path) -> None:
    # The system's certificate store is where a company's own proxy certificate lives.
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    run([BIN / "uv", "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode",
         "--python", BIN / "python", "-r", requirements], env=environment)  # fmt: skip


def install_frontend_packages() -> None:
    """`npm ci`, then copy the files named in package.json to .local/vendor."""
    manifest = ROOT / "package.json"
    with Step("npm", [manifest, ROOT / "package-lock.json"]) as step:
        if not step.needed:
            return
        say("installing front-end packages")
        npm, environment = find_npm()
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            env=environment)  # fmt: skip
        copy_vendor_files(json.loads(manifest.read_text()))


def find_npm() -> tuple[Path, dict[str, str]]:
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    if machine_npm := shutil.which("npm"):
        return Path(machine_npm), environment
    say("installing Node.js, since this machine has no npm")
    uv_install(ROOT / "requirements" / "node.txt")
    environment["PATH"] = f"{BIN}{os.pathsep}{environment.get('PATH', '')}"
    return BIN / "npm", environment


def copy_vendor_files(manifest: dict[str, Any]) -> None:
    modules, vendor = ROOT / "node_modules", LOCAL / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    files = dict(manifest["vendor"])
    files |= {f"icons/{name}.svg": f"@tabler/icons/icons/{name}.svg" for name in manifest["icons"]}
    for target, source in files.items():
        destination = vendor / target
        destination.parent.mkdir(parents=True, exist_ok=True)
        content = (modules / source).read_text(encoding="utf-8")
        # The maps stay behind: no page may refer to a file that is not there.
        destination.write_text(re.sub(r"sourceMappingURL=\S+", "", content), encoding="utf-8")


def compile_translations() -> None:
    for catalogue in sorted(ROOT.glob("locale/*/LC_MESSAGES/*.po")):
        compiled = catalogue.with_suffix(".mo")
        if compiled.exists() and compiled.stat().st_mtime >= catalogue.stat().st_mtime:
            continue
        locale = catalogue.parent.parent.name
        run([BIN / "pybabel", "--quiet", "compile", "-i", catalogue, "-o", compiled, "-l", locale])


def collect_static_files() -> None:
    """`collectstatic`, which compresses everything for seconds, where something changed."""
    sources = [ROOT / "static", LOCAL / "vendor"]
    files = [path for source in sources for path in sorted(source.rglob("*")) if path.is_file()]
    with Step("static", [ROOT / "requirements.txt", ROOT / "core" / "settings.py", *files]) as step:
        if step.needed:
            say("compressing static files")
            shutil.rmtree(LOCAL / "static", ignore_errors=True)
            run([BIN / "python", "manage.py", "collectstatic", "--no-input", "--verbosity=0"],
                env=os.environ | NOWHERE)  # fmt: skip


class Step:
    """A stamp under .local/stamps: `needed` is false while the inputs' hash is unchanged."""

    def __init__(self, name: str, inputs: list[Path]) -> None:
        self.stamp = STAMPS / name
        digest = hashlib.sha256()
        for path in inputs:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
        self.digest = digest.hexdigest()
        self.needed = not (self.stamp.exists() and self.stamp.read_text() == self.digest)

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is None:
            self.stamp.write_text(self.digest)


def run(command: list[str | Path], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"setup: `{' '.join(map(str, command))}` failed with exit code {done.returncode}.")


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "local")
