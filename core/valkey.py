"""The Valkey server, for requests that must not wait for it, and for those who may."""

from __future__ import annotations

from functools import lru_cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry


def client() -> redis.Redis:
    """Gives up after a second; a connection that the server closed is opened anew, once."""
    return _client(settings.REDIS_URL, 0.5)


def patient_client() -> redis.Redis:
    """For what no request waits for: a slow server is not asked again and again."""
    return _client(settings.REDIS_URL, 10)


@lru_cache(maxsize=4)
def _client(url: str, seconds: float) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 1),
    )
