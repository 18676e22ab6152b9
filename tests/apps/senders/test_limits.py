"""Limits against a real Valkey: nobody ever gets more, whoever asks at the same time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
import redis
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.accounts.models import Workspace
from apps.senders.models import ProviderLimit, Relay, SendingDomain, SentToday, WarmUp
from apps.senders.services import limits
from apps.senders.services.buckets import (
    FIRST_BLOCK_SECONDS,
    FORGET_SECONDS,
    FULL_RATE,
    LONGEST_BLOCK_SECONDS,
    SLOTS,
    START_RATE,
    Buckets,
    Window,
    connect,
)
from apps.senders.services.limits import Grant, Limits, Rules, Slowed, limits_for
from mailkit import providers
from mailkit.warmup import Plan
from tests.support import factories
from tests.support.concurrency import in_thread
from tests.support.limits import forget_rules

SLOW = "limits:test:slow"
NOW = 1_800_000_000.0


@pytest.fixture
def store() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def buckets(store: redis.Redis) -> Buckets:
    return Buckets(store)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_rules()
    limits._shared.cache_clear()


@pytest.fixture
def nowhere() -> Iterator[Buckets]:
    """Buckets of a Redis that is away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        client = connect(f"redis://127.0.0.1:{taken.getsockname()[1]}")
        yield Buckets(client)
        client.close()


@pytest.fixture
def relay(workspace: Workspace) -> Relay:
    return Relay.objects.create(workspace=workspace, host="relay.example", port=587)


@pytest.fixture
def domain(workspace: Workspace) -> SendingDomain:
    return SendingDomain.objects.create(workspace=workspace, name="shop.example")


def limited(buckets: Buckets, **fields: object) -> Limits:
    rules = Rules(scope="limits:test", **fields)  # type: ignore[arg-type]
    return Limits(rules, buckets, Slowed(buckets))


def per_minute(number: int) -> dict[str, providers.Limits]:
    return {"gmail": providers.Limits(per_minute=number)}


# Windows


@given(
    limit=st.integers(1, 30),
    seconds=st.sampled_from([5, 60, 3600]),
    asked=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), min_size=1, max_size=25),
    start=st.floats(NOW, NOW + 100_000),
)
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_window_wherever_it_begins_sees_more_than_its_limit(
    store: redis.Redis,
    buckets: Buckets,
    limit: int,
    seconds: int,
    asked: list[tuple[float, int]],
    start: float,
) -> None:
    store.flushdb()
    window = Window("limits:test:w", seconds, limit)
    given_out: list[tuple[float, int]] = []
    now = start
    for pause, wanted in asked:
        now += pause * seconds
        taken = buckets.take([window], wanted, slow=SLOW, provider="gmail", now=now)
        given_out.append((now, taken.granted))
        within = sum(number for at, number in given_out if at > now - seconds)
        assert within <= limit
        if taken.granted == wanted:
            assert taken.retry_after == 0
        else:
            # What it says is true: by then there is more, and not much later than it must be.
            assert 0 < taken.retry_after <= seconds * (SLOTS + 1) / SLOTS + 0.002
            now += taken.retry_after
            later = buckets.take([window], 1, slow=SLOW, provider="gmail", now=now)
            assert later.granted == 1
            given_out.append((now, 1))


def test_several_windows_give_what_the_fullest_has(buckets: Buckets) -> None:
    hour, day = Window("limits:test:h", 3600, 10), Window("limits:test:d", 86400, 13)
    asked = [NOW, NOW + 1, NOW + 4000, NOW + 4001]
    granted = [
        buckets.take([hour, day], 8, slow=SLOW, provider="gmail", now=at).granted for at in asked
    ]
    assert granted == [8, 2, 3, 0]
    # What the hour granted and the day did not is not counted against the hour.
    alone = buckets.take([hour], 8, slow=SLOW, provider="gmail", now=NOW + 4002)
    assert alone.granted == 7


def test_what_is_given_back_may_be_taken_again_and_no_more(buckets: Buckets) -> None:
    window = Window("limits:test:w", 3600, 10)
    taken = buckets.take([window], 10, slow=SLOW, provider="gmail", now=NOW)
    for _ in range(3):
        buckets.give_back([window], 4, taken.at, slow=SLOW, provider="gmail")
    assert buckets.take([window], 20, slow=SLOW, provider="gmail", now=NOW + 1).granted == 10
    buckets.give_back([window], 99, NOW - 40_000, slow=SLOW, provider="gmail")
    assert buckets.take([window], 20, slow=SLOW, provider="gmail", now=NOW + 2).granted == 0


def test_counters_do_not_stay_in_redis(store: redis.Redis, buckets: Buckets) -> None:
    window = Window("limits:test:w", 60, 1000)
    for second in range(600):
        buckets.take([window], 1, slow=SLOW, provider="gmail", now=NOW + second)
    assert store.hlen(window.key) <= SLOTS + 2
    assert 0 < store.ttl(window.key) <= 65


def test_many_workers_together_take_exactly_the_limit(store: redis.Redis) -> None:
    def worker(_number: int) -> int:
        mine = limited(
            Buckets(store), by_provider={"gmail": providers.Limits(per_hour=1000, per_day=997)}
        )
        return sum(mine.take("gmail", 7).granted for _ in range(60))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(worker, range(8))) == 997


def test_a_limit_a_minute_is_shared_out(buckets: Buckets) -> None:
    grant = limited(buckets, by_provider=per_minute(600)).take("gmail", 600)
    assert grant.granted == 60
    assert 0 < grant.retry_after < 6


def test_one_provider_waits_and_the_others_go_on(buckets: Buckets) -> None:
    mine = limited(buckets, by_provider=per_minute(10))
    assert mine.take("gmail", 50).granted == 1
    assert mine.take("gmail", 50).granted == 0
    assert mine.unlimited("yandex")
    assert mine.take("yandex", 50) == Grant(50)
    assert mine.take("yahoo-japan", 700).granted == 60  # its default: 600 a minute
    assert mine.take("no-such-key", 3) == Grant(3)
    assert mine.take("gmail", 0) == Grant(0)


def test_limits_give_back_what_was_not_used(buckets: Buckets) -> None:
    mine = limited(buckets, by_provider={"gmail": providers.Limits(per_day=10)})
    assert mine.take("gmail", 10).granted == 10
    mine.give_back("gmail", 6)
    assert mine.take("gmail", 10).granted == 6
    mine.give_back("yandex", 5)
    mine.give_back("gmail", -5)
    assert mine.take("gmail", 10).granted == 0


def test_a_flushed_redis_counts_from_the_beginning(buckets: Buckets, store: redis.Redis) -> None:
    mine = limited(buckets, by_provider={"gmail": providers.Limits(per_day=10)})
    assert mine.take("gmail", 20).granted == 10
    store.flushdb()
    store.script_flush()
    assert mine.take("gmail", 20).granted == 10
    assert mine.take("gmail", 20).granted == 0


# Slow-downs


def test_it_waits_twice_as_long_each_time_it_is_told_again(buckets: Buckets) -> None:
    now, waits = NOW, []
    for _ in range(9):
        waits.append(buckets.throttled(SLOW, "gmail", now=now))
        # Letters that were under way say so too: it counts once.
        assert buckets.throttled(SLOW, "gmail", now=now + 1) == pytest.approx(waits[-1] - 1)
        blocked = buckets.take([], 5, slow=SLOW, provider="gmail", now=now + 2)
        assert blocked.granted == 0
        assert blocked.retry_after == pytest.approx(waits[-1] - 2)
        now += waits[-1]
    assert waits[:3] == [FIRST_BLOCK_SECONDS, 2 * FIRST_BLOCK_SECONDS, 4 * FIRST_BLOCK_SECONDS]
    assert waits[-1] == LONGEST_BLOCK_SECONDS


def test_it_comes_back_step_by_step(buckets: Buckets) -> None:
    now = NOW + buckets.throttled(SLOW, "gmail", now=NOW, jitter=1.1)
    rates, seconds = [], 0.0
    while buckets.slowed(SLOW):
        taken = buckets.take([], 100_000, slow=SLOW, provider="gmail", now=now)
        rate = buckets.slowed(SLOW)["gmail"]["rate"]
        assert taken.granted <= rate * 10 / 60
        rates.append(buckets.succeeded(SLOW, "gmail", taken.granted, now=now))
        now += taken.retry_after
        seconds += taken.retry_after
    assert set(rates) == {0, *(START_RATE * 2**step for step in range(10))}
    assert rates == [*sorted(rates[:-1]), 0]
    assert START_RATE * 2**9 < FULL_RATE
    assert 180 < seconds < 900
    assert buckets.take([], 100_000, slow=SLOW, provider="gmail", now=now).granted == 100_000


def test_a_slow_down_from_long_ago_is_forgotten(buckets: Buckets) -> None:
    wait = buckets.throttled(SLOW, "gmail", now=NOW)
    late = NOW + wait + FORGET_SECONDS + 1
    assert buckets.throttled(SLOW, "gmail", now=late) == FIRST_BLOCK_SECONDS
    later = late + wait + FORGET_SECONDS + 1
    assert buckets.take([], 999, slow=SLOW, provider="gmail", now=later).granted == 999
    assert buckets.slowed(SLOW) == {}


def test_a_throttled_provider_waits_alone_on_its_relay(buckets: Buckets) -> None:
    mine = limited(buckets)
    elsewhere = Limits(Rules(scope="limits:elsewhere"), buckets, Slowed(buckets))
    assert mine.unlimited("gmail")
    mine.throttled("gmail")
    grant = mine.take("gmail", 10)
    assert grant.granted == 0
    assert 0.8 * FIRST_BLOCK_SECONDS - 5 < grant.retry_after <= 1.2 * FIRST_BLOCK_SECONDS
    assert mine.take("yandex", 10) == Grant(10)
    assert elsewhere.take("gmail", 10) == Grant(10)
    # Another process sees it at its next look.
    assert limited(buckets).take("gmail", 10).granted == 0


def test_one_server_among_all_others_slows_nobody_down(buckets: Buckets) -> None:
    mine = limited(buckets)
    mine.throttled("other", 3, of=50)
    assert mine.unlimited("other")
    mine.throttled("other", 40, of=50)
    assert mine.take("other", 10).granted == 0


# Redis is away


def test_without_redis_nothing_goes_that_has_a_limit(nowhere: Buckets) -> None:
    mine = limited(nowhere, by_provider=per_minute(600))
    grant = mine.take("gmail", 10)
    assert grant.granted == 0
    assert grant.retry_after > 0
    assert mine.take("yandex", 10) == Grant(10)
    mine.throttled("yandex")
    assert mine.take("yandex", 10).granted == 0  # known to this process
    mine.succeeded("yandex", 10)
    mine.give_back("gmail", 3)
    seats = mine.seats("yandex", 4)
    assert seats.number == 4  # no limit on its connections
    seats.release()


def test_a_limited_provider_has_no_connections_without_redis(nowhere: Buckets) -> None:
    mine = limited(nowhere, by_provider={"gmail": providers.Limits(connections=3)})
    seats = mine.seats("gmail", 4)
    assert seats.number == 0
    seats.renew()
    seats.release()


# Connections


def test_workers_share_the_connections_of_a_provider(store: redis.Redis, buckets: Buckets) -> None:
    mine = limited(buckets, by_provider={"gmail": providers.Limits(connections=5)})
    first, second, third = (mine.seats("gmail", 3) for _ in range(3))
    assert [first.number, second.number, third.number] == [3, 2, 0]
    first.renew()
    assert first.number == 3
    first.release()
    assert mine.seats("gmail", 9).number == 3
    assert store.ttl("limits:test:gmail:seats") > 0


def test_open_connections_stay_taken_while_redis_is_away(
    buckets: Buckets, nowhere: Buckets
) -> None:
    mine = limited(buckets, by_provider={"gmail": providers.Limits(connections=5)})
    seats = mine.seats("gmail", 3)
    seats._buckets = nowhere
    seats.renew()
    assert seats.number == 3
    seats._buckets = buckets
    seats.renew()
    assert mine.seats("gmail", 5).number == 2


def test_connections_of_a_dead_worker_are_free_again(buckets: Buckets) -> None:
    key = "limits:test:seats"
    assert buckets.seats(key, "dead", 5, 5, 60, now=NOW) == 5
    assert buckets.seats(key, "alive", 5, 5, 60, now=NOW + 59) == 0
    assert buckets.seats(key, "alive", 5, 5, 60, now=NOW + 61) == 5
    assert buckets.seats(key, "dead", 5, 5, 60, now=NOW + 62) == 0


# Rows


def test_the_rows_of_a_workspace_make_its_rules(
    workspace: Workspace, relay: Relay, domain: SendingDomain
) -> None:
    Relay.objects.filter(pk=relay.pk).update(per_hour=100)
    SendingDomain.objects.filter(pk=domain.pk).update(per_day=90)
    ProviderLimit.objects.create(workspace=workspace, provider="gmail", per_hour=80)
    stranger = factories.make_workspace()
    ProviderLimit.objects.create(workspace=stranger, provider="yandex", per_hour=1)
    mine = limits_for(workspace, relay.pk, "news.shop.example")
    assert mine.take("gmail", 1000).granted == 80
    assert mine.take("yandex", 1000).granted == 10  # the domain's 90 less 80
    assert limits_for(workspace, relay.pk, "else.example").take("yandex", 1000).granted == 10
    assert limits_for(workspace, relay.pk, "else.example").take("yandex", 1000).granted == 0
    # The sandbox, and another workspace that names a relay which is not its own.
    assert limits_for(workspace, None, "else.example").unlimited("yandex")
    assert limits_for(stranger, relay.pk, "shop.example").unlimited("gmail")


def test_a_changed_limit_holds_once_the_rows_are_read_again(
    workspace: Workspace, relay: Relay
) -> None:
    assert limits_for(workspace, relay.pk, "shop.example").unlimited("gmail")
    ProviderLimit.objects.create(workspace=workspace, provider="gmail", per_day=2)
    forget_rules()
    assert limits_for(workspace, relay.pk, "shop.example").take("gmail", 5).granted == 2


def test_rows_are_not_read_for_each_group(
    workspace: Workspace,
    relay: Relay,
    domain: SendingDomain,
    django_assert_max_num_queries: object,
) -> None:
    with django_assert_max_num_queries(4):  # type: ignore[operator]
        for _ in range(20):
            limits_for(workspace, relay.pk, "shop.example").take("gmail", 10)


# Warm-up


def warming(domain: SendingDomain, buckets: Buckets, at: datetime, cap: int = 10) -> Limits:
    plan = Plan(start=cap, growth_percent=100, ceiling=1000, started_on=date(2027, 1, 1))
    rules = Rules(scope="limits:test", domain_id=domain.pk, plans={"": plan})
    return Limits(rules, buckets, Slowed(buckets), today=lambda: at)


def test_a_warm_up_counts_by_provider_and_day_and_survives_a_flush(
    domain: SendingDomain, buckets: Buckets, store: redis.Redis
) -> None:
    noon = datetime(2027, 1, 1, 12, tzinfo=UTC)
    mine = warming(domain, buckets, noon)
    assert mine.take("gmail", 7) == Grant(7)
    store.flushdb()
    assert mine.take("gmail", 7) == Grant(3, 12 * 3600)
    assert mine.take("gmail", 7) == Grant(0, 12 * 3600)
    assert mine.take("yandex", 7) == Grant(7)
    mine.give_back("yandex", 5)
    assert mine.take("yandex", 20).granted == 8
    assert SentToday.objects.get(provider="gmail").number == 10
    tomorrow = warming(domain, buckets, datetime(2027, 1, 2, 0, 0, 1, tzinfo=UTC))
    assert tomorrow.take("gmail", 99).granted == 20


def test_a_warm_up_waits_for_the_windows_too(domain: SendingDomain, buckets: Buckets) -> None:
    at = datetime(2027, 1, 1, 12, tzinfo=UTC)
    plan = Plan(start=10, growth_percent=0, ceiling=10, started_on=at.date())
    rules = Rules(
        scope="limits:test",
        windows=(Window("limits:test:86400", 86400, 12),),
        domain_id=domain.pk,
        plans={"": plan},
    )
    mine = Limits(rules, buckets, Slowed(buckets), today=lambda: at)
    assert mine.take("gmail", 20).granted == 10  # and 2 are back in the window
    assert mine.take("yandex", 20).granted == 2
    assert SentToday.objects.get(provider="yandex").number == 2


def test_an_erased_domain_grants_nothing_until_the_rows_are_read(
    domain: SendingDomain, buckets: Buckets, transactional_db: None
) -> None:
    mine = warming(domain, buckets, datetime(2027, 1, 1, 12, tzinfo=UTC))
    domain.delete()
    assert mine.take("gmail", 7).granted == 0


@pytest.mark.django_db(transaction=True)
def test_workers_together_never_pass_a_warm_up(store: redis.Redis) -> None:
    owner = factories.make_user()
    workspace = factories.make_workspace(owner)
    domain = SendingDomain.objects.create(workspace=workspace, name="shop.example")
    WarmUp.objects.create(
        domain=domain, start=100, growth_percent=0, ceiling=100, started_on=date(2020, 1, 1)
    )

    def worker() -> int:
        mine = limits_for(workspace, None, "shop.example")
        return sum(mine.take("gmail", 9).granted for _ in range(12))

    futures = [in_thread(worker) for _ in range(4)]
    assert sum(future.result(timeout=60) for future in futures) == 100
    assert SentToday.objects.get(domain=domain).number == 100
