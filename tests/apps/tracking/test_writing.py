"""From the stream into the table: nothing lost, nothing doubled, people told from machines."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings, settings
from django.db import connection, transaction
from django.utils import timezone

from apps.campaigns import selectors
from apps.campaigns.models import Campaign, CampaignLink, Delivery, Engagement
from apps.campaigns.services.ledger import leases
from apps.mailer.models import Contact
from apps.mailer.services import contacts_erasure
from apps.tracking import geo, stream
from apps.tracking.models import Event
from apps.tracking.services import judging, writing
from core import valkey
from core.local.runtime import BASE_DIR
from tests.apps.tracking.conftest import sent
from tests.support.concurrency import in_thread
from tests.support.factories import make_campaign, make_contact, make_delivery

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
APPLE = "Mozilla/5.0"


def request(
    row: Delivery,
    link: int | None = None,
    *,
    seconds: float = 3600,
    agent: str = BROWSER,
    address: str = "198.51.100.7",
) -> stream.Beacon:
    """A request so many seconds after the letter was handed over."""
    at = row.updated_at + timedelta(seconds=seconds)
    return stream.Beacon(
        round(at.timestamp() * 1000),
        random.getrandbits(48),
        "open" if link is None else "click",
        row.campaign_id,
        row.contact_id,
        link or 0,
        agent,
        address,
    )


def write(*beacons: stream.Beacon) -> None:
    for one in beacons:
        stream.append(one)
    assert stream.outbox.flush(10)
    while writing.write_waiting():
        pass


def machines() -> list[str]:
    return list(Event.objects.order_by("at").values_list("machine", flat=True))


def check_ledger(row: Delivery) -> None:
    """What the ledger says of people is what the events say; counters and contacts agree."""
    row.refresh_from_db()
    people = Event.objects.filter(
        campaign_id=row.campaign_id,
        contact_id=row.contact_id,
        machine="",
        kind__in=["open", "click"],
    ).order_by("at")
    first, click = people.first(), people.filter(kind="click").first()
    assert row.opened_at == (first and first.at)
    assert row.clicked_at == (click and click.at)
    tallied = selectors.tallied(Campaign.objects.get(pk=row.campaign_id))
    assert (tallied.opens, tallied.clicks) == (int(first is not None), int(click is not None))
    known = Engagement.objects.filter(contact=row.contact_id).first()
    assert (known.opened if known else []) == ([first.at] if first else [])
    assert (known.clicked if known else []) == ([click.at] if click else [])


def test_an_event_says_all_that_is_known(delivery: Delivery) -> None:
    Delivery.objects.update(variant=2, provider="gmail")
    one = request(delivery, 3, agent=IPHONE)
    write(one)
    event = Event.objects.get()
    assert event.at == judging.moment(one.at)
    assert (event.number, event.kind, event.link) == (one.number, "click", 3)
    assert (event.workspace_id, event.campaign_id, event.contact_id) == (
        Campaign.objects.get().workspace_id,
        delivery.campaign_id,
        delivery.contact_id,
    )
    assert (event.variant, event.provider, event.device) == (2, "gmail", "phone")
    assert (event.agent, event.address, event.machine) == (IPHONE, "198.51.100.7", "")
    assert stream.waiting() == 0
    check_ledger(delivery)


def test_the_first_open_and_click_stay(delivery: Delivery) -> None:
    write(request(delivery, seconds=100))
    write(request(delivery, 1, seconds=200), request(delivery, 1, seconds=300))
    write(request(delivery, seconds=400))
    assert Event.objects.count() == 4
    check_ledger(delivery)
    assert delivery.clicked_at == delivery.updated_at + timedelta(seconds=200)


def test_a_click_is_an_open(delivery: Delivery) -> None:
    write(request(delivery, 1))
    check_ledger(delivery)
    assert delivery.opened_at == delivery.clicked_at


def test_what_comes_twice_is_one_event(delivery: Delivery) -> None:
    one = request(delivery)
    write(one, one)
    write(one)
    assert Event.objects.count() == 1
    check_ledger(delivery)


def test_killed_between_the_table_and_the_stream(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.append(request(delivery))
    stream.append(request(delivery, 1, seconds=3700))
    assert stream.outbox.flush(10)
    with monkeypatch.context() as patched:
        patched.setattr(stream, "delete", lambda ids: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writing.write_waiting()
    assert (Event.objects.count(), stream.waiting()) == (2, 2)
    write()
    assert (Event.objects.count(), stream.waiting()) == (2, 0)
    check_ledger(delivery)


def test_a_machine_is_no_reader(delivery: Delivery) -> None:
    write(request(delivery, agent=APPLE), request(delivery, seconds=2))
    assert machines() == ["early", "apple"]
    check_ledger(delivery)
    assert delivery.opened_at is None
    assert Event.objects.get(machine="apple").device == ""


def test_later_evidence_takes_an_open_and_a_click_back(delivery: Delivery) -> None:
    scanner: dict[str, Any] = {
        "address": "203.0.113.5",
        "agent": "Mozilla/5.0 (Windows NT 10.0) Chrome/100",
    }
    write(request(delivery, seconds=100, **scanner), request(delivery, 1, seconds=110, **scanner))
    check_ledger(delivery)
    assert delivery.clicked_at is not None
    write(request(delivery, 0, seconds=115, address="203.0.113.5", agent=BROWSER))
    assert machines() == ["honeypot"] * 3
    check_ledger(delivery)
    assert delivery.opened_at is None
    write(request(delivery, 1, seconds=4000))
    check_ledger(delivery)
    assert delivery.clicked_at is not None


def test_a_person_beside_the_machine_stays(delivery: Delivery) -> None:
    """Two letters to one contact: of one the first open is taken back, of the other it stays."""
    other = make_campaign(Campaign.objects.get().workspace, state=Campaign.State.SENDING)
    row = sent(make_delivery(other, make_contact(other.workspace), status="sent"))
    Delivery.objects.filter(pk=row.pk).update(contact_id=delivery.contact_id)
    row = Delivery.objects.get(campaign=other)
    write(
        request(delivery, seconds=100, address="203.0.113.5"),
        request(delivery, seconds=200),
        request(row, seconds=300),
    )
    write(request(delivery, 0, seconds=101, address="203.0.113.5"))
    delivery.refresh_from_db()
    row.refresh_from_db()
    assert delivery.opened_at == delivery.updated_at + timedelta(seconds=200)
    assert set(Engagement.objects.get().opened) == {delivery.opened_at, row.opened_at}


@pytest.mark.parametrize("first", [0, 1])
def test_the_order_of_arrival_does_not_matter(delivery: Delivery, first: int) -> None:
    pair = [request(delivery, 1, seconds=100), request(delivery, 2, seconds=100.4)]
    write(pair[first])
    write(pair[1 - first])
    assert machines() == ["burst", "burst"]
    check_ledger(delivery)
    assert delivery.opened_at is None


@pytest.mark.parametrize(
    ("agent", "seconds", "status"),
    [(BROWSER, 3600, "sent"), (APPLE, 3600, "sent"), ("curl/8", 3600, "unknown")],
)
def test_whoever_reads_an_unknown_letter_was_sent_it(
    delivery: Delivery, agent: str, seconds: float, status: str
) -> None:
    Delivery.objects.update(status="unknown", fault="network", token=uuid.uuid4())
    write(request(delivery, agent=agent, seconds=seconds))
    row = Delivery.objects.get()
    assert row.status == status
    assert row.updated_at == delivery.updated_at
    if status == "sent":
        assert (row.fault, row.token) == ("", None)
        assert "accepted" in row.reply


@pytest.mark.parametrize("status", ["deferred", "failed", "suppressed", "sent"])
def test_an_open_says_nothing_else_of_a_status(delivery: Delivery, status: str) -> None:
    Delivery.objects.update(status=status, reply="as it was")
    write(request(delivery))
    row = Delivery.objects.get()
    assert (row.status, row.reply) == (status, "as it was")


def test_a_letter_that_was_read_while_its_process_died_was_sent(delivery: Delivery) -> None:
    Delivery.objects.update(
        status="handing_off", token=uuid.uuid4(), lease_until=delivery.updated_at
    )
    write(request(delivery))
    leases.expire_leases()
    assert Delivery.objects.get().status == "sent"


def test_nobody_s_requests_and_broken_entries_are_left_out(delivery: Delivery) -> None:
    good = request(delivery)
    store = valkey.client()
    for raw in (b"", b"[]", b"{", b"[1,2,3]", b"\xff", b"null"):
        store.xadd(stream.KEY, {"event": raw})
    store.xadd(stream.KEY, {"other": "field"})
    write(
        good._replace(contact_id=10**9, number=1),
        good._replace(campaign_id=10**9, number=2),
        good._replace(number=2**70, at=good.at + 1),
        good._replace(link=2**40, number=4),
        good._replace(address="no address", agent="a\0b" + BROWSER, number=5),
        good,
    )
    assert stream.waiting() == 0
    assert set(Event.objects.values_list("number", flat=True)) == {5, good.number}
    assert Event.objects.get(number=5).address is None


def test_of_the_erased_neither_agent_nor_address_is_kept(delivery: Delivery) -> None:
    write(request(delivery))
    contact = delivery.contact
    contacts_erasure.erase(contact=contact)
    event = Event.objects.get()
    assert (event.agent, event.address) == ("", None)
    write(request(Delivery.objects.get(), 1))
    assert Event.objects.count() == 2
    for event in Event.objects.all():
        assert (event.agent, event.address) == ("", None)
        assert event.machine == ""  # nothing is left to judge it by
    assert not Engagement.objects.exists()


def test_one_letter_asked_for_all_the_time_costs_no_more(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_JUDGED", 5)
    write(*[request(delivery, seconds=1000 + 100 * n) for n in range(8)])
    write(*[request(delivery, seconds=5000 + 100 * n) for n in range(4)])
    assert machines() == [""] * 5 + ["burst"] * 7
    check_ledger(delivery)


def test_the_country_where_there_is_a_database(
    delivery: Delivery, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GEOIP_DATABASE = "/nowhere/countries.mmdb"
    assert geo.country_of("198.51.100.7") == ""

    class Reader:
        def get(self, address: str) -> object:
            return {"198.51.100.7": {"country": {"iso_code": "DE"}}, "::1": {}}.get(address)

    monkeypatch.setattr(geo, "_reader", lambda path: Reader())
    assert [geo.country_of(a) for a in ("198.51.100.7", "::1", "10.0.0.1", "")] == [
        "DE",
        "",
        "",
        "",
    ]
    write(request(delivery), request(delivery, seconds=3700, agent=APPLE))
    assert list(Event.objects.order_by("at").values_list("country", flat=True)) == ["DE", ""]


def test_a_batch_costs_a_few_statements(
    delivery: Delivery, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    campaign = delivery.campaign
    rows = [
        sent(make_delivery(campaign, make_contact(campaign.workspace), status="sent"))
        for _ in range(50)
    ]
    for row in rows:
        stream.append(request(row))
        stream.append(request(row, 1, seconds=3700))
    assert stream.outbox.flush(10)
    with django_assert_max_num_queries(10):
        assert writing.write_waiting() == 100
    assert selectors.tallied(campaign).clicks == 50


@pytest.mark.django_db(transaction=True)
def test_one_writer_at_a_time(delivery: Delivery) -> None:
    stream.append(request(delivery))
    assert stream.outbox.flush(10)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            writing._lock()
            held.set()
            over.wait(30)

    other = in_thread(hold)
    held.wait(30)
    with pytest.raises(writing.NotTheWriter):
        writing.write_waiting()
    assert (stream.waiting(), Event.objects.count()) == (1, 0)
    over.set()
    other.result(timeout=30)
    write()
    assert (stream.waiting(), Event.objects.count()) == (0, 1)


def many_letters(campaign: Campaign, number: int) -> list[Delivery]:
    people = Contact.objects.bulk_create(
        Contact(workspace=campaign.workspace, email=f"p{n}@inbox.sandbox.test")
        for n in range(number)
    )
    then = timezone.now() - timedelta(hours=10)
    return Delivery.objects.bulk_create(
        Delivery(campaign=campaign, contact=one, email=one.email, status="sent", updated_at=then)
        for one in people
    )


@pytest.mark.django_db(transaction=True)
def test_two_writers_at_once_double_nothing(delivery: Delivery) -> None:
    rows = many_letters(delivery.campaign, 1500)
    with valkey.client().pipeline() as pipeline:
        for row in rows:
            for one in (request(row), request(row, 1, seconds=3700), request(row, 2, seconds=3800)):
                pipeline.xadd(stream.KEY, {"event": json.dumps(one)})
        pipeline.execute()

    def work() -> None:
        while stream.waiting():
            try:
                writing.write_waiting()
            except writing.NotTheWriter:
                continue

    for writer in [in_thread(work), in_thread(work)]:
        writer.result(timeout=120)
    assert Event.objects.count() == 4500
    tallied = selectors.tallied(delivery.campaign)
    assert (tallied.opens, tallied.clicks) == (1500, 1500)


@pytest.mark.django_db(transaction=True)
def test_kill_9_loses_and_doubles_nothing(delivery: Delivery) -> None:
    rows = many_letters(delivery.campaign, 600)
    parameters = connection.get_connection_params()
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(
        **{
            name: quote(str(value), safe="")
            for name, value in parameters.items()
            if name in ("user", "password", "host", "port", "dbname")
        }
    )
    command = [sys.executable, "manage.py", "write_events"]
    environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=BASE_DIR, env=environment)

    appended = 0
    for turn in range(3):
        process = start()
        try:
            begun = Event.objects.count()
            for row in rows:
                stream.append(request(row, seconds=1000 * (turn + 1)))
                stream.append(request(row, turn + 1, seconds=1000 * (turn + 1) + 50))
                appended += 2
            assert stream.outbox.flush(10)
            deadline = time.monotonic() + 120
            while Event.objects.count() == begun and time.monotonic() < deadline:
                time.sleep(0.01)
            assert Event.objects.count() > begun, "it writes"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    process = start()
    stream.append(request(rows[0], seconds=9000))
    assert stream.outbox.flush(10)
    appended += 1
    deadline = time.monotonic() + 120
    while stream.waiting() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 0
    assert Event.objects.count() == appended
    tallied = selectors.tallied(delivery.campaign)
    assert (tallied.opens, tallied.clicks) == (600, 600)
    assert not CampaignLink.objects.exists()
