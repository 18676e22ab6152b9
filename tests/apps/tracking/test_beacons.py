"""Open pixels and tracked links, asked for as a web server does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings, settings
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import Client, override_settings

from apps.campaigns import letters, links, tokens
from apps.campaigns.models import Campaign, CampaignLink, Delivery
from apps.campaigns.services import launch
from apps.campaigns.tokens import Kind
from apps.tracking import stream
from apps.tracking.models import Event
from core import valkey
from core.local import servers
from core.local.runtime import BASE_DIR, Runtime, free_ports
from core.wsgi import application
from tests.support.concurrency import in_thread
from tests.support.factories import make_campaign

URL = "https://shop.test/a%20b?q=%7B1%7D&x=[1]|{2}~;p=%2F..%2f#top"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Reply:
    def __init__(self, method: str, path: str, **environ: Any) -> None:
        query = path.partition("?")[2]
        asked = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.partition("?")[0].encode().decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_USER_AGENT": BROWSER,
            "REMOTE_ADDR": "198.51.100.7",
            "wsgi.input": BytesIO(),
            "wsgi.url_scheme": "http",
            **environ,
        }
        # Django would close the test's own connection before its view.
        request_started.disconnect(close_old_connections)
        try:
            body = application(asked, self._start)
            self.body = b"".join(body)
        finally:
            request_started.connect(close_old_connections)

    def _start(self, status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        self.status = int(status.split()[0])
        self.headers = dict(headers)


def get(path: str, **environ: Any) -> Reply:
    return Reply("GET", path, **environ)


def click_path(row: Delivery, number: int = 1) -> str:
    return f"/c/{tokens.sign(Kind.CLICK, row.campaign_id, row.contact_id, number)}"


def open_path(row: Delivery) -> str:
    return f"/o/{tokens.sign(Kind.OPEN, row.campaign_id, row.contact_id)}.gif"


def noted() -> list[stream.Beacon]:
    assert stream.outbox.flush(10)
    return [beacon for _id, beacon in stream.read(100) if beacon]


@pytest.fixture
def linked(delivery: Delivery) -> Delivery:
    CampaignLink.objects.create(campaign_id=delivery.campaign_id, number=1, url=URL)
    links.publish(delivery.campaign_id)
    return delivery


def test_neither_table_nor_session_is_touched(
    linked: Delivery, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(0):
        click, pixel = get(click_path(linked)), get(open_path(linked))
        links.forget()  # another process
        again = get(click_path(linked))
    assert (click.status, click.headers["Location"]) == (302, URL)
    assert (again.status, again.headers["Location"]) == (302, URL)
    assert (pixel.status, pixel.headers["Content-Type"]) == (200, "image/gif")
    assert pixel.body.startswith(b"GIF89a")
    for reply in (click, pixel):
        assert "Set-Cookie" not in reply.headers
        assert "no-store" in reply.headers["Cache-Control"]
        assert int(reply.headers["Content-Length"]) == len(reply.body)
    assert click.headers["Referrer-Policy"] == "no-referrer"
    ids = (linked.campaign_id, linked.contact_id)
    assert [one[2:] for one in noted()] == [
        ("click", *ids, 1, BROWSER, "198.51.100.7"),
        ("open", *ids, 0, BROWSER, "198.51.100.7"),
        ("click", *ids, 1, BROWSER, "198.51.100.7"),
    ]
    assert not Event.objects.exists()


def test_head_counts_nothing_and_post_is_not_taken(linked: Delivery) -> None:
    for path, status in ((click_path(linked), 302), (open_path(linked), 200)):
        reply = Reply("HEAD", path)
        assert (reply.status, reply.body) == (status, b"")
        assert Client().post(path).status_code == 405
        assert Client().head(path).status_code == status
    assert noted() == []


def test_what_a_request_says_changes_no_target(linked: Delivery) -> None:
    reply = get(click_path(linked) + "?url=https://evil.test/", HTTP_REFERER="https://evil.test/")
    assert reply.headers["Location"] == URL


def test_what_is_noted_is_bounded(linked: Delivery) -> None:
    get(open_path(linked), HTTP_USER_AGENT="x" * 5000, REMOTE_ADDR="1" * 500)
    get(open_path(linked), HTTP_USER_AGENT="\x80\xffÿ")
    [first, second] = noted()
    assert (len(first.agent), len(first.address)) == (300, 64)
    assert second.agent == "\x80\xffÿ"


def test_the_address_behind_a_proxy_of_ours(linked: Delivery, settings: LazySettings) -> None:
    forwarded = {"HTTP_X_FORWARDED_FOR": "203.0.113.9, 198.51.100.20"}
    get(open_path(linked), **forwarded)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    get(open_path(linked), **forwarded)
    get(open_path(linked))
    assert [one.address for one in noted()] == ["198.51.100.7", "198.51.100.20", "198.51.100.7"]


def hostile(row: Delivery) -> list[str]:
    good = tokens.sign(Kind.CLICK, row.campaign_id, row.contact_id, 1)
    return [
        good[:-1],
        good + "A",
        good.replace(".1.", ".2."),
        good.replace(".1.", ".01."),
        good.replace(".1.", ".١."),
        "test",
        "",
        "\0",
        "../../etc/passwd",
        "A" * 5000,
        "ÿ" * 40,
        tokens.sign(Kind.OPEN, row.campaign_id, row.contact_id),
        tokens.sign(Kind.UNSUBSCRIBE, row.campaign_id, row.contact_id),
    ]


def test_forged_tokens_lead_nowhere_and_count_nothing(linked: Delivery) -> None:
    for bad in hostile(linked):
        reply = get(f"/c/{bad}")
        assert reply.status == 404, bad
        assert "Location" not in reply.headers
        if "/" not in bad and bad:
            assert "This link does not work" in reply.body.decode(), bad
    click = click_path(linked)[3:]
    for bad in ("test", "", "\0", "A" * 5000, click, open_path(linked)[3:-5]):
        reply = get(f"/o/{bad}.gif")
        assert (reply.status, reply.body) == (200, get("/o/x.gif").body), bad
    assert noted() == []


def test_links_that_are_not_there(linked: Delivery) -> None:
    for ids in ((linked.campaign_id, linked.contact_id, 2), (10**9, linked.contact_id, 1)):
        reply = get(f"/c/{tokens.sign(Kind.CLICK, *ids)}")
        assert reply.status == 404
    assert noted() == []


def test_the_link_that_nobody_sees_is_noted_and_leads_to_no_page(linked: Delivery) -> None:
    reply = get(click_path(linked, 0))
    assert reply.status == 302
    assert reply.headers["Location"].endswith("/c/-")
    assert [(one.kind, one.link) for one in noted()] == [("click", 0)]
    assert get("/c/-").status == 404


ODD = (
    "https://shop.test/a%2Fb/%2f;v=1;w?x=1;y=2&copy=3&lt=4&amp=5&para",
    "https://shop.test/?q=a+b&r=%20%26&s='\"<>`^{}|\\",
    "HTTPS://Shop.Test:443/A/../b//c?#",
    "https://shop.test/" + "x" * 2000,
    "http://user:pass@shop.test/@me?email=a@b.test#/route?x=1",
)


@pytest.mark.parametrize("url", ODD)
def test_addresses_survive_byte_for_byte(workspace, url: str) -> None:
    href = url.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    campaign = make_campaign(workspace, html=f'<a href=" {href} ">x</a>')
    launch._fix_links(campaign)
    links.publish(campaign.pk)
    reply = get(f"/c/{tokens.sign(Kind.CLICK, campaign.pk, 1, 1)}")
    assert reply.headers["Location"] == url


@pytest.mark.parametrize(
    "href", ["https://shop.test/?a=1&copy=2&region=eu&lt=3", "https://s.test/?a&b"]
)
def test_an_ampersand_that_was_not_escaped_is_no_character(workspace, href: str) -> None:
    campaign = make_campaign(workspace, html=f'<a href="{href}">x</a>')
    assert letters.compiled(campaign).links == (href,)


def test_an_address_beyond_ascii_is_written_as_headers_take_it(linked: Delivery) -> None:
    for number, url in (
        (2, "https://пример.test/путь"),
        (3, "https://shop.test/a\r\nSet-Cookie: x"),
    ):
        CampaignLink.objects.create(campaign_id=linked.campaign_id, number=number, url=url)
    links.publish(linked.campaign_id)
    links.forget()
    reply = get(click_path(linked, 2))
    assert reply.headers["Location"].isascii()
    assert reply.headers["Location"].endswith("/%D0%BF%D1%83%D1%82%D1%8C")
    assert "\r" not in get(click_path(linked, 3)).headers["Location"]


def test_other_links_are_left_alone(workspace) -> None:
    html = (
        '<a href="mailto:a@b.test?subject=x">m</a><a href="tel:+7495">t</a><a href="#end">e</a>'
        '<a href="{{ unsubscribe_url }}">u</a><a href="https://x.test/{{ email }}">p</a>'
    )
    assert letters.compiled(make_campaign(workspace, html=html)).links == ()


def test_links_that_valkey_forgot_come_from_the_table_and_are_put_back(
    linked: Delivery, django_assert_num_queries: Callable[[int], Any]
) -> None:
    valkey.client().delete(f"links:{linked.campaign_id}")
    links.forget()
    assert get(click_path(linked)).headers["Location"] == URL
    with django_assert_num_queries(0):
        assert get(click_path(linked)).headers["Location"] == URL
    assert len(noted()) == 2


@pytest.mark.django_db(transaction=True)
def test_a_launch_publishes_the_links(workspace) -> None:
    campaign = make_campaign(
        workspace, html=f'<a href="{URL}">x</a>', state=Campaign.State.PREPARING
    )
    launch.prepare_campaign(campaign.pk)
    assert links.known(campaign.pk, 1) == URL


def test_without_valkey_pixels_and_links_still_work(
    linked: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(click_path(linked))
    assert stream.outbox.flush(10)
    lost = stream.outbox.lost
    monkeypatch.setattr(stream, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(stream, "MOST_KEPT", 3)
    port = free_ports(1)[0]
    runtime = Runtime(0, port, 0, 0, 0, 0, 0, "secret", "x", "x")
    with override_settings(REDIS_URL=runtime.redis_url):
        for path in (click_path(linked), open_path(linked), open_path(linked), open_path(linked)):
            assert get(path).status in (200, 302)
        assert len(stream.outbox.waiting) == 3
        assert stream.outbox.lost == lost + 1
        links.forget()
        reply = get(click_path(linked))  # from the table
        assert reply.headers["Location"] == URL
        # It is back: what was kept goes there, with the moments at which it happened.
        command = servers.valkey_command(runtime, tmp_path / "valkey")
        with ExitStack() as running:
            running.enter_context(servers.running(command, tmp_path / "valkey.log"))
            servers.wait_for_valkey(runtime)
            assert [one.kind for one in noted()] == ["click", "open", "open"]
            before = noted()
            get(open_path(linked))
            assert len(noted()) == 4
        with (
            ExitStack() as running
        ):  # it starts anew with what it had, and connections are made again
            running.enter_context(servers.running(command, tmp_path / "valkey.log"))
            servers.wait_for_valkey(runtime)
            assert noted()[:3] == before
            get(open_path(linked))
            assert len(noted()) == 5


def test_what_a_process_has_noted_is_sent_before_it_ends() -> None:
    noting = (
        "import django; django.setup(); from apps.tracking import stream\n"
        "for n in range(1200): stream.append(stream.beacon('open', 1, n, 0, 'agent', 'address'))"
    )
    subprocess.run(
        [sys.executable, "-c", noting],
        cwd=BASE_DIR, env={**os.environ, "REDIS_URL": settings.REDIS_URL}, check=True,
    )  # fmt: skip
    assert [one.contact_id for _id, one in stream.read(2000) if one] == list(range(1200))


def test_many_at_once_from_many_threads(linked: Delivery) -> None:
    def ask() -> None:
        for _ in range(300):
            get(open_path(linked))

    for thread in [in_thread(ask) for _ in range(4)]:
        thread.result(timeout=60)
    assert stream.outbox.flush(10)
    found = [one for _id, one in stream.read(2000) if one]
    assert len({(one.at, one.number) for one in found}) == len(found) == 1200
