from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import LazySettings, settings
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.services.sending.connections import CLEANUP_KEY, REGISTRY
from core.local.runtime import free_ports

ClientOf = Callable[[User], Client]
PAGE = "/ops/connections/"
CLOSE = "/ops/connections/close-idle/"
HTMX = {"hx-request": "true"}


@pytest.fixture(autouse=True)
def store() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        store.delete(REGISTRY, CLEANUP_KEY)
        yield store
        store.delete(REGISTRY, CLEANUP_KEY)


@pytest.fixture
def staff(workspace: Workspace, owner: User) -> User:
    owner.is_staff = True
    owner.save()
    return owner


def report(
    store: redis.Redis, process: str, relays: dict[str, Any], *, seconds_ago: float = 1
) -> None:
    store.hset(REGISTRY, process, json.dumps({"at": time.time() - seconds_ago, "open": relays}))


def test_the_page_is_for_staff_alone(
    staff: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    assert client_of(staff).get(PAGE).status_code == 200
    assert client_of(staff).get(CLOSE).status_code == 405
    for person in (teammate, outsider):
        assert client_of(person).get(PAGE).status_code == 404
        assert client_of(person).post(CLOSE).status_code == 404
    assert Client().get(PAGE).status_code == 302
    assert Client().post(CLOSE).status_code == 302


def test_the_sidebar_leads_staff_there_and_nobody_else(
    staff: User, teammate: User, client_of: ClientOf
) -> None:
    assert f'href="{PAGE}"' in client_of(staff).get("/w/shop/").content.decode()
    assert PAGE not in client_of(teammate).get("/w/shop/").content.decode()


def test_with_nothing_open_the_page_says_so(staff: User, client_of: ClientOf) -> None:
    page = client_of(staff).get(PAGE).content.decode()
    assert "No connections" in page
    assert "every 2s" in page


def test_connections_by_process_and_relay(
    store: redis.Redis, staff: User, client_of: ClientOf
) -> None:
    shop = {"open": 5, "idle": 2, "sent": 1200}
    other = {"open": 3, "idle": 0, "sent": 7}
    report(store, "mail1:41", {"smtp.<b>.com:587": shop, "127.0.0.1:1025": other})
    report(store, "mail1:42", {})
    report(store, "mail1:43", {"gone.example:25": other}, seconds_ago=3600)
    page = client_of(staff).get(PAGE).content.decode()
    for words in (
        *("8 open connections", "mail1:41", "smtp.&lt;b&gt;.com:587", "127.0.0.1:1025"),
        *("1,200", "1 more process reports"),
    ):
        assert words in page, words
    assert "gone.example" not in page
    fragment = client_of(staff).get(PAGE, headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert "8 open connections" in fragment


def test_idle_connections_are_asked_to_close(
    store: redis.Redis, staff: User, client_of: ClientOf
) -> None:
    report(store, "mail1:41", {"smtp.example.com:587": {"open": 4, "idle": 1, "sent": 9}})
    before = time.time()
    answer = client_of(staff).post(CLOSE, follow=True)
    assert "what is idle of 4 open connections" in answer.content.decode()
    asked = store.get(CLEANUP_KEY)
    assert asked is not None
    assert float(asked) >= before


def test_without_redis_the_page_says_so(
    staff: User, client_of: ClientOf, settings: LazySettings
) -> None:
    client = client_of(staff)
    settings.REDIS_URL = f"redis://127.0.0.1:{free_ports(1)[0]}/0"
    for headers in ({}, HTMX):
        page = client.get(PAGE, headers=headers)
        assert page.status_code == 200
        assert "Redis cannot be reached" in page.content.decode()
        assert "every 2s" in page.content.decode()
    answer = client.post(CLOSE, follow=True)
    assert answer.status_code == 200
    assert "the workers were not asked" in answer.content.decode()
