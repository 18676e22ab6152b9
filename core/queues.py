"""The broker's queues, looked at from outside."""

from __future__ import annotations

import redis
from django.conf import settings


def waiting(queue: str) -> int:
    """How many messages wait in a queue, without those that a worker has taken."""
    return int(redis.Redis.from_url(settings.REDIS_URL).llen(queue))
