"""How gunicorn serves the web app: `gunicorn core.wsgi --config python:core.gunicorn`."""

import os

from core.local import runtime

_port = int(os.environ.get("WEB_PORT") or 0) or (
    8000
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
    else runtime.load().web_port
)
bind = os.environ.get("WEB_BIND") or f"127.0.0.1:{_port}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "gthread"
threads = 4
timeout = 60
# An upload of 2 GB over a slow line outlives any time-out of a sync worker; threads keep beating.
graceful_timeout = 10
accesslog = None
control_socket_disable = True
