"""`make chaos`: kill, flush, crash and refuse, and hold the ledger against what arrived.

RECIPIENTS (20000), KILLS (60) and RUNS (names, parted by commas) make it smaller.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from benchmarks.chaos.runs import KILLS, RUNS, Outcome, Run, play
from benchmarks.support import BenchError, number, run, verdict
from tests.support.stack import running_stack

RECIPIENTS = 20_000
_COLUMNS = ("seconds", "letters", "sent", "failed", "deferred", "unknown", "bound", "lost",
            "duplicates")  # fmt: skip


def main() -> int:
    recipients, kills = number("RECIPIENTS", RECIPIENTS), number("KILLS", KILLS)
    runs = chosen()
    print_line("run", _COLUMNS)
    outcomes: list[Outcome] = []
    faults: list[str] = []
    with running_stack() as stack:
        for one in runs:
            outcome = play(stack, one, recipients, kills)
            print_outcome(one, outcome)
            outcomes.append(outcome)
            faults += [f"{one.name}: {fault}" for fault in outcome.faults()]
    return verdict(
        f"chaos: kills {sum(outcome.kills for outcome in outcomes)} "
        f"lost {sum(outcome.judged.lost for outcome in outcomes)} "
        f"duplicates {sum(outcome.judged.duplicates for outcome in outcomes)} "
        f"unknown {sum(outcome.judged.unknown for outcome in outcomes)} "
        f"in-flight-bound {sum(outcome.bound for outcome in outcomes)}",
        dict.fromkeys(faults, False),
    )


def chosen() -> list[Run]:
    known = {one.name: one for one in RUNS}
    names = [name for name in os.environ.get("RUNS", "").split(",") if name] or list(known)
    if strangers := set(names) - known.keys():
        raise BenchError(
            f"no such run: {', '.join(sorted(strangers))}; there are {', '.join(known)}"
        )
    return [known[name] for name in names]


def print_outcome(one: Run, outcome: Outcome) -> None:
    judged = outcome.judged
    print_line(
        one.name,
        (f"{outcome.seconds:.0f}", judged.letters, judged.sent, judged.failed, judged.again,
         judged.unknown, outcome.bound, judged.lost, judged.duplicates),
    )  # fmt: skip


def print_line(name: str, values: Sequence[object]) -> None:
    print(f"{name:10}" + "".join(f"{value!s:>11}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
