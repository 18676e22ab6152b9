"""The Docker files against the code that they run; building needs an engine, this does not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from core.celery import QUEUES
from core.local.runtime import BASE_DIR
from core.local.workers import BEAT, command_of
from tests.docs.test_readme import variables_read


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, as Compose does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _value in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} in {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


FOLDER = BASE_DIR / "docker"
COMPOSE: dict[str, Any] = yaml.load((FOLDER / "compose.yml").read_text(), StrictLoader)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
EXAMPLE = (FOLDER / ".env.example").read_text()
NOT_THE_APPLICATION = {"postgres", "valkey", "loopback"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    split = (line.partition(" ") for line in lines)
    return [(word, " ".join(rest.split())) for word, _, rest in split if word]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out: the last pattern that matches decides."""
    ignored = False
    for line in (BASE_DIR / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = Path(path).parts
        names = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        if pattern.startswith("**/"):
            matches = any(fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        else:
            matches = any(fnmatch(name, pattern) for name in names)
        if matches:
            ignored = not line.startswith("!")
    return ignored


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(AssertionError, match="INBOUND"):
        yaml.load("x: {INBOUND: 1, INBOUND: 2}", StrictLoader)


def test_there_is_one_worker_for_each_queue_and_one_beat() -> None:
    run = ["python", "-m", "core.local.workers", "run"]
    for name in (*(f"worker-{queue}" for queue in QUEUES), BEAT):
        assert SERVICES[name]["command"] == [*run, name.removeprefix("worker-")]
    workers = [name for name in SERVICES if name.startswith("worker-")]
    assert len(workers) == len(QUEUES)
    for name in (*QUEUES, BEAT):
        assert command_of(name)[1:5] == ["-m", "celery", "-A", "core.celery"]


def test_the_other_services_run_commands_that_exist() -> None:
    for name in ("migrate", "sandbox", "writer", "inbound"):
        python, manage, command = SERVICES[name]["command"][:3]
        assert (python, manage) == ("python", "manage.py")
        assert command in get_commands()
    command = dict(instructions())["CMD"]
    assert "command" not in SERVICES["web"]
    assert json.loads(command)[:4] == ["python", "-m", "gunicorn", "core.wsgi"]
    assert json.loads(command)[4:] == ["--config", "python:core.gunicorn"]
    check = dict(instructions())["HEALTHCHECK"]
    script = re.search(r'"python", "([^"]+)"', check)
    assert script is not None
    assert (BASE_DIR / script[1]).is_file()
    assert not is_ignored(script[1])


def test_every_service_waits_for_the_migration_and_starts_again() -> None:
    for name in OURS.keys() - {"migrate", "loopback"}:
        waits_for = OURS[name]["depends_on"]
        assert waits_for["migrate"] == {"condition": "service_completed_successfully"}, name
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    for name in ("web", "postgres", "valkey", *(f"worker-{queue}" for queue in QUEUES)):
        assert SERVICES[name]["stop_grace_period"]


def test_whoever_looks_for_the_sandbox_on_loopback_finds_it_there() -> None:
    together = {
        name for name in SERVICES if SERVICES[name].get("network_mode") == "service:loopback"
    }
    assert together == {"sandbox", "inbound", "web", "worker-import", "worker-email"}
    for name in together:
        assert "ports" not in SERVICES[name]
        assert "loopback" in SERVICES[name]["depends_on"]
    port, inbound = SERVICES["loopback"]["ports"]
    assert inbound == "${INBOUND_ADDRESS:-127.0.0.1:2525}:2525"
    assert port.startswith("127.0.0.1:")
    assert port.endswith(":8000")


def test_uploads_are_shared_and_data_is_kept() -> None:
    (media,) = [value for word, value in instructions() if word == "VOLUME"]
    for name in ("web", "worker-import", "worker-email", "worker-default"):
        assert SERVICES[name]["volumes"] == [f"media:{media}"]
    assert f"MEDIA_ROOT={media}" in dict(instructions())["ENV"]
    named = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    }
    assert named == COMPOSE["volumes"].keys()


def test_images_are_pinned() -> None:
    bases = [value.split()[0] for word, value in instructions() if word == "FROM"]
    images = [SERVICES[name]["image"] for name in SERVICES if name not in OURS]
    for image in (*bases, *images):
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image


def test_the_image_has_what_it_copies_and_no_more() -> None:
    stages = {match[1] for match in re.finditer(r" AS (\w+)", (FOLDER / "Dockerfile").read_text())}
    for word, value in instructions():
        if word != "COPY":
            continue
        first, *others = value.split()
        if first.startswith("--from="):
            assert first.removeprefix("--from=") in stages
            continue
        for source in [first, *others[:-1]]:
            assert (BASE_DIR / source).exists(), source
            assert source == "." or not is_ignored(source), source
    for needed in ("core", "apps", "mailkit", "templates", "static", "locale", "manage.py",
                   "samples", "scripts/setup.py"):  # fmt: skip
        assert (BASE_DIR / needed).exists()
        assert not is_ignored(needed)
    for secret in (".env", "docker/.env", ".local/runtime.json", ".git/config", ".venv/bin/python",
                   "tests/conftest.py", "apps/core/__pycache__/x.pyc"):  # fmt: skip
        assert is_ignored(secret), secret


def test_packages_are_checked_by_hash() -> None:
    installs = [
        part
        for word, value in instructions() if word == "RUN"
        for part in value.split("&&") if "pip install" in part
    ]  # fmt: skip
    assert len(installs) == 2
    assert all("--require-hashes" in part for part in installs)
    assert "npm ci --ignore-scripts" in " ".join(value for _, value in instructions())


def test_the_process_is_an_ordinary_user_without_secrets() -> None:
    (user,) = [value for word, value in instructions() if word == "USER"]
    assert user == "10001:10001"
    text = (FOLDER / "Dockerfile").read_text()
    assert not re.search(r"^(ENV|ARG).*(KEY|PASSWORD|_URL)", text, flags=re.MULTILINE)
    for service in OURS.values():
        assert service["cap_drop"] == ["ALL"]
        assert "user" not in service
        assert not service.get("privileged")


def test_every_variable_is_one_that_the_code_reads() -> None:
    read = variables_read()
    given = {name for service in OURS.values() for name in service["environment"]}
    baked = set(re.findall(r"\b([A-Z_]+)=", dict(instructions())["ENV"]))
    assert given - read == set()
    assert baked - read == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    here_only = {"SANDBOX_SMTP_PORT", "SANDBOX_DNS_PORT", "DEBUG", "VASHSENDER_LOCAL", "WEB_PORT"}
    assert read - given - baked == here_only


def test_the_example_names_all_that_is_asked_for() -> None:
    text = (FOLDER / "compose.yml").read_text()
    offered = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, flags=re.MULTILINE))
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert required == {"SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD"}
    assert required <= offered
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert offered <= interpolated | set(COMPOSE["x-app"]["environment"])
    assert re.search(r"^SECRET_KEY=$", EXAMPLE, flags=re.MULTILINE), "an example has no real key"
    ignored = (BASE_DIR / ".gitignore").read_text().splitlines()
    assert "/docker/.env" in ignored


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed here")
    filled = tmp_path / ".env"
    filled.write_text(re.sub(r"^([A-Z_]+)=$", r"\1=abc", EXAMPLE, flags=re.MULTILINE))
    done = subprocess.run(
        [docker, "compose", "--env-file", filled, "-f", FOLDER / "compose.yml", "config", "-q"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
