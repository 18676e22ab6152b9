"""`make bench-segments`: the count of a segment and the first screen of the contact list.

N contacts (1,000,000), EVENTS opens and clicks (5,000,000), ROUNDS (7) of each figure, warm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks import support
from benchmarks.support import Bars, BenchError, Result, median

if TYPE_CHECKING:
    from apps.accounts.models import Workspace

MOST_COUNT_MS, MOST_PAGE_MS = 500, 150
GB_A_CONTACT, GB_AN_EVENT = 1.5e-6, 1e-6
DAYS, TIMES = 30, 2
# What the segment asks, and what is timed beside it.
RULES = {
    "match": "all",
    "rules": [
        {
            "what": "opened",
            "operator": "did",
            "values": {"campaign": "", "days": DAYS, "times": TIMES},
        },
        {"what": "tag", "operator": "any", "values": {"value": ["customer"]}},
        {"what": "status", "operator": "is", "values": {"value": ["subscribed"]}},
    ],
}


def main() -> int:
    contacts, events = support.number("N", 1_000_000), support.number("EVENTS", 5_000_000)
    rounds = support.number("ROUNDS", 7)
    support.check_free_disk(contacts * GB_A_CONTACT + events * GB_AN_EVENT + 1)
    with support.running_service():
        line, bars = measure(contacts, events, rounds)
    return support.verdict(line, bars)


def measure(contacts: int, events: int, rounds: int) -> Result:
    from benchmarks import pipeline, segment_data
    from core.cli import print_table

    shop = pipeline.make_workspace("shop", sink=None)
    support.say(f"inserting {contacts} contacts")
    readers = segment_data.make_contacts(shop, contacts)
    made = segment_data.make_events(readers, events)
    support.say(f"{made} opens and clicks")

    ours, found = timed(lambda: count(shop), rounds)
    naive, expected = timed(lambda: naive_count(shop), max(rounds // 2, 1))
    # Meanwhile opens have become older than the days that are asked for, and none are new.
    later = count(shop)
    if not later <= expected <= found:
        raise BenchError(f"the segment has {found} to {later} contacts, naively {expected}")
    page, _length = timed(page_of(shop), rounds)
    print_table(
        f"{contacts} contacts, {made} events, {found} of them in the segment; medians, warm",
        ("question", "ms"),
        [
            ("count of the segment", f"{ours:.0f}"),
            ("the same asked with the ORM", f"{naive:.0f}"),
            ("first screen of the contact list", f"{page:.0f}"),
        ],
    )
    bars: Bars = {
        f"at most {MOST_COUNT_MS} ms for the count": ours <= MOST_COUNT_MS,
        f"at most {MOST_PAGE_MS} ms for the page": page <= MOST_PAGE_MS,
    }
    return f"bench-segments: count_ms {ours:.0f} page_ms {page:.0f}", bars


def timed(ask: Callable[[], int], rounds: int) -> tuple[float, int]:
    """(median milliseconds, the answer), after two rounds that warm the caches."""
    taken = []
    for turn in range(-2, rounds):
        began = time.perf_counter()
        answer = ask()
        if turn >= 0:
            taken.append(1000 * (time.perf_counter() - began))
    return median(taken), answer


def count(workspace: Workspace) -> int:
    """As the editor counts while somebody writes the rules."""
    from apps.mailer.segments import counting
    from apps.mailer.segments.rules import parse
    from apps.mailer.segments.subjects import Scope

    scope = Scope(workspace)
    counted = counting.count(parse(RULES, scope), scope, seconds=600)
    if counted.number is None or not counted.exact:
        raise BenchError("the count took more than 600 seconds")
    return counted.number


def naive_count(workspace: Workspace) -> int:
    """One condition after the other, as the ORM puts it."""
    from django.db.models import Count
    from django.utils import timezone

    from apps.mailer.models import Contact

    return (
        Contact.objects.filter(workspace=workspace, tags__overlap=["customer"])
        .filter(status=Contact.Status.SUBSCRIBED)
        .filter(
            deliveries__campaign__workspace=workspace,
            deliveries__opened_at__gte=timezone.now() - timedelta(days=DAYS),
        )
        .annotate(opens=Count("deliveries"))
        .filter(opens__gte=TIMES)
        .count()
    )


def page_of(workspace: Workspace) -> Callable[[], int]:
    """The contact list as an owner's browser asks for it."""
    from django.test import Client
    from django.urls import reverse

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(workspace.members.get())
    address = reverse("mailer:contacts", args=[workspace.slug])

    def get() -> int:
        answer = client.get(address)
        if answer.status_code != 200:
            raise BenchError(f"the contact list answered {answer.status_code}")
        return len(answer.content)

    return get


if __name__ == "__main__":
    sys.exit(support.run(main))
