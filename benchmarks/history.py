"""`make bench-history`: a new campaign beside the same one on top of many old deliveries.

ROWS old deliveries (20,000,000), N recipients (100,000), ROUNDS (3) before and after.
"""

from __future__ import annotations

import sys
import time

from benchmarks import support
from benchmarks.support import BenchError, Meter, Result, Service, Sink, median

OF_BEFORE = 0.9
GB_A_ROW = 5e-7  # of the table, its key and the log that is written meanwhile


def main() -> int:
    rows = support.number("ROWS", 20_000_000)
    recipients = support.number("N", 100_000)
    rounds = support.number("ROUNDS", 3)
    support.check_free_disk(rows * GB_A_ROW + 8)
    with support.running_service() as service, support.running_sink(service) as sink:
        line, bars = measure(service, sink, rows, recipients, rounds)
    return support.verdict(line, bars)


def measure(service: Service, sink: Sink, rows: int, recipients: int, rounds: int) -> Result:
    from apps.campaigns.models import Delivery
    from benchmarks import baselines, pipeline
    from core.cli import print_table

    shop = pipeline.make_workspace("shop", sink=sink, connections=service.connections)
    readers = pipeline.make_list(shop, recipients)
    # Ids of their own, before those of the new campaigns and in the same partition as far as
    # they fit: the worst neighbours that a new campaign can have.
    old = [pipeline.make_campaign(readers).pk for _ in range(-(-rows // recipients))]
    pipeline.send(readers)  # connections are opened, statements are planned

    def several(title: str) -> tuple[float, float]:
        ours, source = [], []
        meter = Meter(service, sink)
        for _ in range(rounds):
            source.append(
                baselines.smtp_source(sink, service.total_connections, recipients, 12_000)
            )
            with meter:
                ours.append(pipeline.send(readers).rate)
            support.say(f"{title}: {ours[-1]:.0f} messages a second")
        support.print_costs(title, meter)
        return median(ours), median(source)

    before, source_before = several("without history")
    loaded = load(old, readers.pk, rows)
    counted = Delivery.objects.filter(campaign_id__in=old).count()
    if counted != rows:
        raise BenchError(f"{counted} old deliveries instead of {rows}")
    after, source_after = several(f"with {rows} old deliveries")

    print_table(
        f"{recipients} recipients, messages a second (old rows loaded in {loaded:.0f} s)",
        ("old deliveries", "ours", "smtp-source"),
        [
            (0, f"{before:.0f}", f"{source_before:.0f}"),
            (rows, f"{after:.0f}", f"{source_after:.0f}"),
        ],
    )
    kept = support.ratio(after, before)
    return (
        f"bench-history: rows {rows} without {before:.0f} with {after:.0f} ratio {kept:.2f}",
        {f"at least {OF_BEFORE} of the speed without history": kept >= OF_BEFORE},
    )


def load(campaign_ids: list[int], list_id: int, rows: int) -> float:
    """Final rows of finished campaigns to the same people, as the ledger keeps them; seconds."""
    from django.db import connection

    from apps.campaigns.services.partitions import ensure_partition

    began, left = time.monotonic(), rows
    for number, campaign_id in enumerate(campaign_ids, start=1):
        ensure_partition(campaign_id)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO campaigns_delivery
                    (campaign_id, contact_id, email, status, attempts, stage, code, reply)
                SELECT %s, contact.id, contact.email,
                       CASE WHEN contact.id %% 50 = 0 THEN 'failed' ELSE 'sent' END, 1, 'body',
                       CASE WHEN contact.id %% 50 = 0 THEN 550 ELSE 250 END,
                       '2.0.0 Ok: queued as ' || md5(contact.id::text)
                FROM mailer_listmember member JOIN mailer_contact contact
                    ON contact.id = member.contact_id
                WHERE member.list_id = %s ORDER BY contact.id LIMIT %s
                """,
                [campaign_id, list_id, left],
            )
            left -= cursor.rowcount
            cursor.execute(
                "UPDATE campaigns_campaign SET state = 'finished', audience = %s, "
                "launched_at = now() - interval '30 days', "
                "finished_at = now() - interval '30 days' WHERE id = %s",
                [cursor.rowcount, campaign_id],
            )
        if number % 10 == 0:
            support.say(f"{rows - left} of {rows} old deliveries")
    with connection.cursor() as cursor:
        # As autovacuum leaves a table that has been at rest.
        cursor.execute("VACUUM (ANALYZE) campaigns_delivery")
        cursor.execute("CHECKPOINT")
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(support.run(main))
