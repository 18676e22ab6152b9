from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from core.beat import GuardedScheduler
from core.celery import BEAT_SCHEDULE, app
from tests.support.concurrency import own_database_url

MakeScheduler = Callable[[], GuardedScheduler]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scheduler(settings: LazySettings) -> Iterator[MakeScheduler]:
    """Makes schedulers that send nothing, and which lock in the test's own database."""
    # Advisory locks are of one database: other test processes do not get in the way.
    settings.DATABASE_URL = own_database_url()
    made: list[GuardedScheduler] = []

    class Silent(GuardedScheduler):
        def apply_async(self, entry: object, *args: object, **kwargs: object) -> None:
            sent.append(self)

    sent: list[GuardedScheduler] = []

    def make() -> GuardedScheduler:
        made.append(Silent(app=app))
        made[-1].sent = sent
        return made[-1]

    yield make
    for one in made:
        one.close()


def ticks(scheduler: GuardedScheduler) -> bool:
    """Whether a tick of it sends what is due."""
    sent: list[GuardedScheduler] = scheduler.sent
    sent.clear()
    PeriodicTask.objects.update(last_run_at=None, start_time=None)
    scheduler._heap = None
    scheduler._schedule = scheduler.all_as_schedule()
    for entry in scheduler._schedule.values():
        entry.last_run_at -= timedelta(days=1)
    for _entry in BEAT_SCHEDULE:
        scheduler.tick()
    return bool(sent)


def end_session(scheduler: GuardedScheduler) -> None:
    """As when the process dies or the network does."""
    assert scheduler._connection is not None
    pid = scheduler._connection.info.backend_pid
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert cursor.fetchone()[0]


def test_only_one_of_two_ticks_until_its_connection_dies(scheduler: MakeScheduler) -> None:
    first, second = scheduler(), scheduler()
    assert ticks(first)
    assert not ticks(second)
    assert ticks(first)
    end_session(first)
    assert ticks(second)
    assert not ticks(first)
    second.close()
    assert ticks(first)


def test_a_lost_connection_is_a_lost_lock_and_closed(scheduler: MakeScheduler) -> None:
    only = scheduler()
    assert only._holds_lock()
    lost = only._connection
    assert lost is not None
    end_session(only)
    assert not only._holds_lock()
    assert lost.closed
    assert only._holds_lock()


def test_without_a_database_it_waits(scheduler: MakeScheduler, settings: LazySettings) -> None:
    only = scheduler()
    settings.DATABASE_URL = "postgresql://127.0.0.1:1/nowhere"
    assert only.tick() == 5.0
    assert not only.sent


def test_the_schedule_in_code_is_a_default(scheduler: MakeScheduler) -> None:
    scheduler()
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == set(BEAT_SCHEDULE)
    task = PeriodicTask.objects.get(name="sweep_due_work")
    assert task.interval.every == 30
    task.interval = IntervalSchedule.objects.create(every=7, period="minutes")
    task.enabled = False
    task.save()
    PeriodicTask.objects.filter(name="cleanup_stuck_campaigns").delete()
    scheduler()
    task.refresh_from_db()
    assert (task.interval.every, task.interval.period, task.enabled) == (7, "minutes", False)
    # What is gone comes back: the product cannot do without.
    assert PeriodicTask.objects.filter(name="cleanup_stuck_campaigns").exists()


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()
    for entry in BEAT_SCHEDULE.values():
        assert entry["task"] in app.tasks
