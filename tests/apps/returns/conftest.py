"""The receiver on a free port beside the test, and letters for reports to be about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact
from apps.returns.services.receiver import controller
from tests.apps.campaigns.letters_out import free_port
from tests.support.factories import make_campaign, make_contact, make_delivery


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, state=Campaign.State.FINISHED, launched_at=timezone.now())


@pytest.fixture
def contact(workspace: Workspace) -> Contact:
    return make_contact(workspace, "anna@inbox.sandbox.test")


@pytest.fixture
def delivery(campaign: Campaign, contact: Contact) -> Delivery:
    return make_delivery(campaign, contact, status="sent", provider="gmail", stage="body", code=250)


@pytest.fixture
def receiver(settings: LazySettings) -> Iterator[int]:
    """Its port."""
    port = free_port()
    settings.INBOUND_PORT = port
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    server = controller("127.0.0.1", port, loop)
    server.begin()
    thread.start()
    yield port
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.end()
    handler = server.handler
    handler._writers.submit(_close_connection).result()
    handler._writers.shutdown()
    loop.close()


def _close_connection() -> None:
    from django.db import connection

    connection.close()
