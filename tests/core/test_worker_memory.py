from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from celery.signals import worker_before_create_process

from core.celery import app


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_a_worker_has_loaded_is_left_out_of_collections(thawed: None) -> None:
    assert app
    before = gc.get_freeze_count()
    worker_before_create_process.send(sender=None)
    assert gc.get_freeze_count() > before
