from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import write_pair


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server context for 127.0.0.1 and localhost, and the file of its self-signed certificate."""
    file = write_pair(tmp_path_factory.mktemp("tls") / "fake.pem", addresses=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context, file
