"""`make bench-report`: milliseconds of every page of reports, with many events behind them.

N events (10,000,000) in CAMPAIGNS campaigns (20), half of them in the newest, which has LINKS
links (50); ROUNDS (7) of each page, warm. They come in as the writer of events writes them, so
that the counters are kept on the way.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks import support
from benchmarks.segments import timed
from benchmarks.support import Bars, BenchError, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.accounts.models import Workspace
    from apps.campaigns.models import Campaign

MOST_MS = 200
GB_AN_EVENT = 0.8e-6
CHUNK = 20_000
EVENTS_A_LETTER = 4


def main() -> int:
    events, campaigns = support.number("N", 10_000_000), support.number("CAMPAIGNS", 20, least=2)
    links, rounds = support.number("LINKS", 50), support.number("ROUNDS", 7)
    support.check_free_disk(events * GB_AN_EVENT + 1)
    with support.running_service():
        line, bars = measure(events, campaigns, links, rounds)
    return support.verdict(line, bars)


def measure(events: int, campaigns: int, links: int, rounds: int) -> Result:
    from apps.tracking.services import counting
    from benchmarks import pipeline
    from core.cli import print_table

    shop = pipeline.make_workspace("shop", sink=None)
    made = make_campaigns(shop, campaigns, links, events // 2 // EVENTS_A_LETTER)
    began, waiting = time.monotonic(), 0.0
    for place, campaign in enumerate(made):
        newest = place == campaigns - 1
        number = events // 2 if newest else events // 2 // (campaigns - 1)
        for first in range(0, number, CHUNK):
            happen(campaign, first, min(CHUNK, number - first), links)
            if first // CHUNK % 20 == 19:  # as the sweep does
                before = time.monotonic()
                counting.fold()
                waiting += time.monotonic() - before
        support.say(f"{place + 1} of {campaigns} campaigns have their events")
    rate = events / (time.monotonic() - began)
    while counting.fold():
        pass
    tidy()
    pages = pages_of(shop, made[-1])
    taken = {name: timed(get, rounds)[0] for name, get in pages.items()}
    print_table(
        f"{events} events in {campaigns} campaigns, written at {rate:.0f} a second "
        f"({waiting:.0f} s of it folding); medians, warm",
        ("page", "ms"),
        [(name, f"{milliseconds:.0f}") for name, milliseconds in taken.items()],
    )
    worst = max(taken.values())
    bars: Bars = {f"every page in at most {MOST_MS} ms": worst <= MOST_MS}
    return f"bench-report: events {events} worst_ms {worst:.0f} write_rate {rate:.0f}", bars


def make_campaigns(shop: Workspace, number: int, links: int, letters: int) -> list[Campaign]:
    """Finished campaigns of the last month, whose letters were all accepted."""
    from django.db import connection
    from django.utils import timezone

    from apps.campaigns.models import Campaign, CampaignLink
    from apps.campaigns.services.partitions import ensure_partition

    html = "".join(
        f'<p><a href="https://shop.test/{one}">Book {one}</a></p>' for one in range(links)
    )
    made = []
    for place in range(number):
        when = timezone.now() - timedelta(days=30 * (number - place) / number)
        campaign = Campaign.objects.create(
            workspace=shop, name=f"Campaign {place}", subject="Books", html=html,
            from_name="Shop", from_email="news@shop.test", state=Campaign.State.FINISHED,
            launched_at=when, finished_at=when,
        )  # fmt: skip
        CampaignLink.objects.bulk_create(
            CampaignLink(campaign=campaign, number=one + 1, url=f"https://shop.test/{one}")
            for one in range(links)
        )
        ensure_partition(campaign.pk)
        newest = place == number - 1
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO campaigns_delivery (campaign_id, contact_id, email, provider, status,
                                                fault, attempts, stage, reply, variant, updated_at)
                SELECT %(campaign)s, n, 'reader.' || n || '@mail.bench.test',
                       (ARRAY['gmail', 'mailru', 'yandex', 'microsoft', 'other'])[1 + n %% 5],
                       CASE WHEN n %% 40 = 0 THEN 'failed' ELSE 'sent' END,
                       CASE WHEN n %% 40 = 0 THEN 'full' ELSE '' END, 1, 'body', '250 Ok',
                       1 + n %% 2, %(when)s + n * interval '1 millisecond'
                FROM generate_series(0, %(letters)s - 1) n
                """,
                {
                    "campaign": campaign.pk,
                    "when": when,
                    "letters": max(letters if newest else letters // (number - 1), 1),
                },
            )
        made.append(campaign)
    return made


def happen(campaign: Campaign, first: int, number: int, links: int) -> None:
    """Opens and clicks of the next letters, most of them soon after the launch."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tracking_event (at, number, workspace_id, campaign_id, contact_id, kind,
                                        link, machine, variant, provider, device, country, agent)
            SELECT %(when)s + power(random(), 4) * interval '29 days',
                   %(campaign)s * 10000000000 + n, %(workspace)s, %(campaign)s, n / %(each)s,
                   CASE WHEN n %% 4 = 3 THEN 'click' ELSE 'open' END,
                   CASE WHEN n %% 4 = 3 THEN 1 + (random() * (%(links)s - 1))::int ELSE 0 END,
                   CASE WHEN n %% 7 = 0 THEN 'scanner' ELSE '' END,
                   1 + n / %(each)s %% 2,
                   (ARRAY['gmail', 'mailru', 'yandex', 'microsoft', 'other'])
                       [1 + n / %(each)s %% 5],
                   (ARRAY['phone', 'desktop', ''])[1 + n %% 3],
                   (ARRAY['de', 'ru', 'fr', 'pl', ''])[1 + n %% 5],
                   'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15'
            FROM generate_series(%(first)s, %(first)s + %(number)s - 1) n
            """,
            {
                "when": campaign.launched_at,
                "campaign": campaign.pk,
                "workspace": campaign.workspace_id,
                "each": EVENTS_A_LETTER,
                "links": links,
                "first": first,
                "number": number,
            },
        )


def tidy() -> None:
    """As autovacuum leaves tables that have been at rest."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table in ("tracking_count", "tracking_letter", "campaigns_tally"):
            cursor.execute(f"VACUUM (ANALYZE) {table}")


def pages_of(shop: Workspace, campaign: Campaign) -> dict[str, Callable[[], int]]:
    from django.test import Client
    from django.urls import reverse

    from apps.tracking.services import shares

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(shop.members.get())

    def asked(address: str) -> Callable[[], int]:
        """Of a file that is streamed the first piece."""

        def get() -> int:
            answer = client.get(address)
            if answer.status_code != 200:
                raise BenchError(f"{address} answered {answer.status_code}")
            pieces = getattr(answer, "streaming_content", None)
            size = len(next(iter(pieces)) if pieces else answer.content)
            answer.close()
            return size

        return get

    def page(name: str, *more: object) -> Callable[[], int]:
        return asked(reverse(f"tracking:{name}", args=[shop.slug, *more]))

    def letters(query: str) -> Callable[[], int]:
        path = reverse("campaigns:deliveries", args=[shop.slug, campaign.pk])
        return asked(f"{path}?{query}")

    shared = shares.share(campaign=campaign, by=shop.members.get(), days=7)
    return {
        "report of the newest campaign": page("report", campaign.pk),
        "its live part": page("report_live", campaign.pk),
        "its click map": page("click_map", campaign.pk),
        "its figures by day (CSV)": page("report_csv", campaign.pk, "days"),
        "its workbook": page("report_xlsx", campaign.pk),
        "its shared link": asked(shares.path_of(shared)),
        "its recipients (CSV)": page("report_csv", campaign.pk, "recipients"),
        "its recipients (XLSX)": page("recipients_xlsx", campaign.pk),
        "its letters": letters(""),
        "its letters, accepted": letters("status=sent"),
        "its letters, failed for a reason": letters("status=failed&fault=full"),
        "its letters, of a reason": letters("fault=full"),
        "its letters, of a provider": letters("provider=gmail"),
        "its letters, of a provider without any": letters("provider=yahoo"),
        "its letters, of an address": letters("search=reader.7"),
        "its letters, of an unknown address": letters("search=nobody"),
        "list of reports": page("reports"),
        "dashboard": page("dashboard"),
    }


if __name__ == "__main__":
    sys.exit(support.run(main))
