"""`make bench-scale`: messages a second at several sizes, which should be the same.

SIZES, separated by commas (10000,100000,1000000), each as often as makes LETTERS (300,000), nine
times at most, in turns.
"""

from __future__ import annotations

import os
import sys

from benchmarks import support
from benchmarks.support import BenchError, Meter, Result, Service, Sink, median

MOST_SPREAD = 0.15
MOST_ROUNDS = 9


def main() -> int:
    words = (os.environ.get("SIZES") or "10000,100000,1000000").split(",")
    if len(words) < 2 or not all(word.strip().isdecimal() and int(word) for word in words):
        raise BenchError("SIZES must be two or more whole numbers, separated by commas.")
    sizes = sorted({int(word) for word in words})
    letters = support.number("LETTERS", 300_000)
    rounds = {size: min(MOST_ROUNDS, max(1, letters // size)) for size in sizes}
    support.check_free_disk(sum(size * rounds[size] for size in sizes) * 2e-6 + sum(sizes) * 3e-6)
    with support.running_service() as service, support.running_sink(service) as sink:
        line, bars = measure(service, sink, rounds)
    return support.verdict(line, bars)


def measure(service: Service, sink: Sink, rounds: dict[int, int]) -> Result:
    from benchmarks import pipeline
    from core.cli import print_table

    shop = pipeline.make_workspace("shop", sink=sink, connections=service.connections)
    support.say(f"inserting {sum(rounds)} contacts")
    lists = {size: pipeline.make_list(shop, size) for size in rounds}
    pipeline.send(lists[min(lists)])  # connections are opened, statements are planned

    rates: dict[int, list[float]] = {size: [] for size in rounds}
    meters = {size: Meter(service, sink) for size in rounds}
    for turn in range(max(rounds.values())):
        for size, target in lists.items():
            if turn < rounds[size]:
                with meters[size]:
                    rates[size].append(pipeline.send(target).rate)
                support.say(f"{size}: {rates[size][-1]:.0f} messages a second")

    for size, meter in meters.items():
        support.print_costs(f"{size} recipients {rounds[size]} times", meter)
    medians = {size: median(found) for size, found in rates.items()}
    rows = [
        (
            size,
            len(rates[size]),
            *(f"{value:.0f}" for value in (min(found), medians[size], max(found))),
        )
        for size, found in rates.items()
    ]
    print_table("Messages a second", ("recipients", "rounds", "least", "median", "most"), rows)
    spread = 1 - min(medians.values()) / max(medians.values())
    figures = " ".join(f"{size} {rate:.0f}" for size, rate in medians.items())
    return (
        f"bench-scale: {figures} spread {spread:.2f}",
        {f"within {MOST_SPREAD:.0%} of each other": spread <= MOST_SPREAD},
    )


if __name__ == "__main__":
    sys.exit(support.run(main))
