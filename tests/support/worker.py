"""A worker of all queues in a thread: it takes the messages from Valkey and runs their tasks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.conf import settings

from core.celery import QUEUES, app
from tests.support.concurrency import in_thread


@contextmanager
def running_worker() -> Iterator[list[str]]:
    """Work until the block ends, on messages sent within it; gives the names of the tasks run.

    Raises what a task raised. The test needs `transaction=True`: the thread has a connection
    of its own to the database.
    """
    queues = redis.Redis.from_url(settings.REDIS_URL)
    queues.delete(*QUEUES)
    over = threading.Event()
    done: list[str] = []

    def work() -> None:
        while not over.is_set():
            popped = queues.brpop(list(QUEUES), timeout=0.05)
            if popped:
                message = json.loads(popped[1])
                arguments, options, _embedded = json.loads(base64.b64decode(message["body"]))
                name = message["headers"]["task"]
                done.append(name)
                app.tasks[name](*arguments, **options)

    worker = in_thread(work)
    try:
        yield done
    finally:
        over.set()
        worker.result(timeout=60)
