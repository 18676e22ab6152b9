"""`make bench-prepare`: how long a large audience takes to come into the ledger, and what memory.

N recipients (1,000,000) beside FEW (10,000), each ROUNDS (3) times.
"""

from __future__ import annotations

import sys
import time

from benchmarks import support
from benchmarks.support import Meter, Result, Service, Sink, median

MOST_SECONDS = 30
# What an interpreter and a database take differs a little from run to run.
MOST_MEMORY = 1.2
EVERY = 0.2
PREPARES = ("worker-campaigns", "postgres")


def main() -> int:
    many, few = support.number("N", 1_000_000), support.number("FEW", 10_000)
    rounds = support.number("ROUNDS", 3)
    support.check_free_disk(many * rounds * 2e-6)
    with support.running_service() as service, support.running_sink(service) as sink:
        line, bars = measure(service, sink, many, few, rounds)
    return support.verdict(line, bars)


def measure(service: Service, sink: Sink, many: int, few: int, rounds: int) -> Result:
    from apps.campaigns.services import launch
    from benchmarks import pipeline
    from core.cli import print_table

    shop = pipeline.make_workspace("shop", sink=sink, connections=service.connections)
    support.say(f"inserting {many + few} contacts")
    lists = {size: pipeline.make_list(shop, size) for size in (few, many)}
    # What a process loads with its first task is no part of a campaign's memory.
    first = pipeline.make_list(shop, 100)
    for _ in range(4):
        pipeline.send(first)

    seconds: dict[int, list[float]] = {few: [], many: []}
    meters = {size: Meter(service, every=EVERY) for size in lists}
    for turn in range(rounds):
        support.say(f"round {turn + 1} of {rounds}")
        for size, target in lists.items():
            campaign = pipeline.make_campaign(target)
            with meters[size]:
                began = time.monotonic()
                launch.launch_campaign(campaign=campaign, by=None)
                pipeline.wait_until_prepared(campaign)
                seconds[size].append(time.monotonic() - began)
            # Out of the way of the next one, with its rows still queued.
            launch.pause_campaign(campaign=campaign)

    for size, meter in meters.items():
        support.print_costs(f"Preparing {size} recipients {rounds} times", meter)
    memory = {size: sum(map(meter.peak, PREPARES)) for size, meter in meters.items()}
    rows = [
        (
            size,
            f"{median(seconds[size]):.2f}",
            *(f"{meters[size].peak(kind):.0f}" for kind in PREPARES),
        )
        for size in lists
    ]
    print_table(
        "Preparation", ("recipients", "seconds", *(f"{kind}, MB" for kind in PREPARES)), rows
    )
    took, more = median(seconds[many]), support.ratio(memory[many], memory[few])
    return (
        f"bench-prepare: recipients {many} seconds {took:.1f} memory_ratio {more:.2f}",
        {
            f"under {MOST_SECONDS} s": took < MOST_SECONDS,
            f"at most {MOST_MEMORY} times the memory": more <= MOST_MEMORY,
        },
    )


if __name__ == "__main__":
    sys.exit(support.run(main))
