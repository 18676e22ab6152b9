from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client
from django.utils import translation

from apps.accounts.models import User, Workspace
from tests.support import factories
from tests.support.stack import RunningStack, running_stack

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)  # around xdist, which looks for the marks
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """One xdist worker runs all tests of a stack: each stack is two dozen processes."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))
    yield
    if config.getoption("loadgroup", False):
        for item in items:
            group = item.get_closest_marker("xdist_group")
            assert not group or f"@{group.args[0]}" in item.nodeid, "xdist does not group tests"


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The whole service, as `make up` runs it, shared by the tests that need it."""
    with running_stack() as running:
        yield running


pytest_plugins = ["tests.support.sandbox"]


@pytest.fixture(autouse=True)
def _own_media_folder(settings: LazySettings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture(autouse=True)
def _plain_static_files(settings: LazySettings) -> None:
    # The manifest of hashed names exists only after collectstatic, which the stack runs.
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    # Each client makes its own middleware, and WhiteNoise would look at all files each time.
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def _own_language() -> None:
    """The last page of the test before may have been in another one."""
    translation.deactivate()


@pytest.fixture(autouse=True)
def _clean_cache() -> Iterator[None]:
    yield
    cache.clear()


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Refuse every connection that would leave the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            try:
                allowed = ipaddress.ip_address(address[0]).is_loopback
            except ValueError:
                allowed = address[0] == "localhost"
            if not allowed:
                raise RuntimeError(f"A test tried to reach {address}.")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture
def owner(db: None) -> User:
    return factories.make_user("owner@example.com", name="Olga Owner")


@pytest.fixture
def workspace(owner: User) -> Workspace:
    return factories.make_workspace(owner, name="Shop", slug="shop")


@pytest.fixture
def teammate(workspace: Workspace) -> User:
    user = factories.make_user("teammate@example.com")
    factories.make_member(workspace, user)
    return user


@pytest.fixture
def outsider(db: None) -> User:
    """A person with a workspace of their own and no part in `workspace`."""
    user = factories.make_user("outsider@example.com")
    factories.make_workspace(user, name="Elsewhere", slug="elsewhere")
    return user


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in
