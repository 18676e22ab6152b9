from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from tests.apps.senders.helpers import Records
from tests.mailkit.verify.dns_server import dns_server
from tests.support.sandbox import LoopThread


@pytest.fixture
def zone(loop_thread: LoopThread, settings: LazySettings) -> Iterator[Records]:
    """What the DNS that a workspace without a relay asks holds; changes count at once."""
    records: Records = {}
    serving = dns_server(records)
    server = loop_thread.run(serving.__aenter__())
    settings.SANDBOX_DNS_PORT = server.address[1]
    yield records
    loop_thread.run(serving.__aexit__(None, None, None))
