"""`make bench-fair`: small campaigns behind a large one, in its workspace and in another.

BIG recipients of the large campaign (1,000,000), SMALL of the small ones (500).
"""

from __future__ import annotations

import sys

from benchmarks import support
from benchmarks.support import BenchError, Result, Service, Sink, median

SECONDS_MORE = 10
ALONE_ROUNDS = 3
UNDER_WAY = 5000  # letters of the large campaign before the second pair is launched


def main() -> int:
    big, small = support.number("BIG", 1_000_000), support.number("SMALL", 500)
    support.check_free_disk(big * 5e-6)
    with support.running_service() as service, support.running_sink(service) as sink:
        line, bars = measure(service, sink, big, small)
    return support.verdict(line, bars)


def measure(service: Service, sink: Sink, big: int, small: int) -> Result:
    from benchmarks import pipeline
    from core.cli import print_table

    crowd = pipeline.make_workspace("crowd", sink=sink, connections=service.connections)
    other = pipeline.make_workspace("other", sink=sink, connections=service.connections)
    support.say(f"inserting {big} contacts")
    everybody = pipeline.make_list(crowd, big)
    few = {
        "the same": pipeline.make_list(crowd, small),
        "another": pipeline.make_list(other, small),
    }
    alone = median([pipeline.send(few["another"]).seconds for _ in range(ALONE_ROUNDS)])

    large = pipeline.start(everybody)
    rows: list[tuple[str, str, str]] = []
    seconds: list[float] = []

    def behind(when: str) -> None:
        started = {place: pipeline.start(few[place]) for place in ("another", "the same")}
        for place, campaign in started.items():
            seconds.append(pipeline.wait(campaign).seconds)
            rows.append((when, place, f"{seconds[-1]:.1f}"))

    support.say("launching small campaigns while the large one is prepared")
    behind("launched at once")
    pipeline.wait_until_moving(large, UNDER_WAY)
    support.say("launching small campaigns while the large one is sent")
    behind("while it is sent")
    large.refresh_from_db()
    if not large.in_motion:
        raise BenchError("the large campaign ended before the small ones: set BIG higher")

    rows.append(("alone", "another", f"{alone:.1f}"))
    print_table(
        f"{small} recipients behind {big}", ("the small campaign", "workspace", "seconds"), rows
    )
    worst = max(seconds)
    return (
        f"bench-fair: small_seconds {worst:.1f} alone_seconds {alone:.1f}",
        {f"at most {SECONDS_MORE} s more than alone": worst <= alone + SECONDS_MORE},
    )


if __name__ == "__main__":
    sys.exit(support.run(main))
