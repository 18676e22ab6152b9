"""The Celery application: queues, routes, limits and the beat schedule."""

from __future__ import annotations

import gc
import os
from datetime import timedelta

from celery import Celery
from celery.signals import worker_before_create_process
from django.conf import settings
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

QUEUES = ("import", "email", "campaigns", "default")

ROUTES = {
    "apps.mailer.tasks.import_contacts_async": "import",
    "apps.mailer.tasks.validate_contact_batch": "import",
    "apps.campaigns.tasks.send_campaign": "campaigns",
    "apps.campaigns.tasks.send_email_batch": "email",
    "apps.campaigns.tasks.send_single_email": "email",
}

BEAT_SCHEDULE = {
    "monitor_campaign_progress": {
        "task": "apps.campaigns.tasks.monitor_campaign_progress",
        "schedule": timedelta(minutes=5),
    },
    "cleanup_stuck_campaigns": {
        "task": "apps.campaigns.tasks.cleanup_stuck_campaigns",
        "schedule": timedelta(minutes=10),
    },
    "cleanup_smtp_connections": {
        "task": "apps.campaigns.tasks.cleanup_smtp_connections",
        "schedule": timedelta(minutes=10),
    },
    "remove_orphaned_attachments": {
        "task": "apps.campaigns.tasks.remove_orphaned_attachments",
        "schedule": timedelta(hours=1),
    },
    "sweep_due_work": {
        "task": "apps.ops.tasks.sweep_due_work",
        "schedule": timedelta(seconds=settings.SWEEP_SECONDS),
    },
}


def create_app() -> Celery:
    celery_app = Celery("vashsender", broker=settings.REDIS_URL, backend=settings.REDIS_URL)
    celery_app.conf.update(
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue="default",
        task_routes={task: {"queue": queue} for task, queue in ROUTES.items()},
        beat_schedule=BEAT_SCHEDULE,
        beat_scheduler="core.beat.GuardedScheduler",
        timezone="UTC",
        accept_content=["json"],
        task_ignore_result=True,
        result_expires=3600,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=1000,
        worker_soft_shutdown_timeout=8,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        task_soft_time_limit=25 * 60,
        task_time_limit=30 * 60,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        # Above the longest task, or Redis would hand a running task to a second worker.
        broker_transport_options={
            "visibility_timeout": 3600,
            "unacked_restore_interval": 10,
            "socket_keepalive": True,
        },
    )
    celery_app.autodiscover_tasks()
    return celery_app


@worker_before_create_process.connect
def _keep_what_is_loaded(**_sent: object) -> None:
    """Out of all rounds of the garbage collector: children go on sharing that memory."""
    gc.collect()
    gc.freeze()


app = create_app()
