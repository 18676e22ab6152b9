"""The broker's queues, looked at from outside."""

from __future__ import annotations

import logging
from typing import Any

import redis
from celery import Signature, Task
from django.conf import settings
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def ring(task: Task[Any, Any] | Signature[Any], *arguments: object, **named: object) -> bool:
    """Ask for a task. Where the broker is away nothing is lost: the sweeper rings again.

    Whether it could be asked for.
    """
    try:
        task.delay(*arguments, **named)
    except OperationalError as error:
        logger.warning("%s could not be asked for: %s", task.name, error)
        return False
    return True


def waiting(queue: str) -> int:
    """How many messages wait in a queue, without those that a worker has taken.

    0 where the broker is away.
    """
    try:
        return int(redis.Redis.from_url(settings.REDIS_URL).llen(queue))
    except redis.RedisError as error:
        logger.warning("the queue %s cannot be looked at: %s", queue, error)
        return 0
