from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign
from apps.mailer.models import ContactList
from apps.senders.models import Relay
from tests.apps.campaigns.letters_out import StartRelay, say_goodbye
from tests.mailkit.smtp.fake_server import FakeServer
from tests.support.factories import make_campaign, make_contact, make_delivery, make_list
from tests.support.limits import forget_rules
from tests.support.sandbox import LoopThread


@pytest.fixture(autouse=True)
def _own_rules() -> Iterator[None]:
    """Rolled back rows leave no limits behind in the process."""
    forget_rules()
    yield
    forget_rules()


@pytest.fixture(autouse=True)
def _relays_on_loopback(settings: LazySettings) -> None:
    settings.PRIVATE_RELAYS = True


@pytest.fixture
def relay(workspace: Workspace, loop_thread: LoopThread) -> Iterator[StartRelay]:
    """Starts a server that follows a script, and makes it a relay of the workspace."""
    with contextlib.ExitStack() as stack:

        def start(script: Any = None, **options: Any) -> FakeServer:
            fields = options.pop("relay", {})
            server = FakeServer(script, **options)
            loop_thread.run(server.__aenter__())
            stack.callback(lambda: loop_thread.run(server.__aexit__(None, None, None)))
            Relay.objects.create(
                workspace=fields.pop("workspace", workspace),
                host="127.0.0.1",
                port=server.port,
                security="none",
                **fields,
            )
            return server

        yield start
        # Or the server would wait for the connections that are kept for the next letter.
        say_goodbye()


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=Campaign.State.SENDING, launched_at=timezone.now())


@pytest.fixture
def to(workspace: Workspace) -> ContactList:
    chosen = make_list(workspace, "Customers")
    make_contact(workspace, "anna@inbox.sandbox.test", to=chosen, first_name="Anna")
    return chosen


@pytest.fixture
def draft(workspace: Workspace, to: ContactList) -> Campaign:
    return make_campaign(workspace, to, name="Spring")


@pytest.fixture
def sending(workspace: Workspace) -> Campaign:
    readers = make_list(workspace, "Readers")
    campaign = make_campaign(workspace, readers, name="Summer", state=Campaign.State.SENDING)
    for status in ("queued", "sent", "sent", "failed", "unknown"):
        make_delivery(campaign, make_contact(workspace, to=readers), status=status)
    return campaign
