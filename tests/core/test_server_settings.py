"""What the local servers are told."""

from __future__ import annotations

import pytest

from core.local import servers


@pytest.mark.parametrize(
    ("gigabytes", "expected"), [(0.5, "128MB"), (4, "512MB"), (8, "1024MB"), (256, "1024MB")]
)
def test_the_database_takes_a_part_of_the_memory(gigabytes: float, expected: str) -> None:
    assert servers.shared_buffers(int(gigabytes * 2**30)) == expected
