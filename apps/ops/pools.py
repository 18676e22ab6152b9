"""Whether the worker pools are alive, asked by a canary through each queue."""

from __future__ import annotations

import time

from celery.exceptions import TimeoutError as NoAnswerError

from apps.ops.tasks import test_celery
from core.celery import QUEUES


def dead_pools(seconds: float) -> list[str]:
    """The queues from which no canary came back within `seconds`."""
    canaries = {queue: test_celery.apply_async(queue=queue, expires=seconds) for queue in QUEUES}
    deadline = time.monotonic() + seconds
    dead = []
    for queue, canary in canaries.items():
        try:
            canary.get(timeout=max(0.01, deadline - time.monotonic()))
        except NoAnswerError:
            dead.append(queue)
    return dead
