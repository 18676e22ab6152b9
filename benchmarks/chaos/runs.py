"""The runs: what is done to the service while it sends, and what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.chaos.oracle import Judgement, Record
from benchmarks.chaos.scene import Person, Scene, Unfinished, wait_until
from benchmarks.chaos.sink import AFTER_THE_DOT, BEFORE_THE_DOT
from tests.support.stack import RunningStack

SLOW = 150.0  # letters a second, where a campaign has to last
KILLS = 60
PROGRESS = 10_000  # bytes that the log grows by between two acts, some dozens of letters
SETTLED_WITHIN = 5.0  # seconds after a pause or a cancellation
WATCHED = 3.0  # seconds after those, in which nothing may be handed over

# (program, its parent) and how often of 20.
_VICTIMS = (
    [("worker-email", False)] * 9
    + [("worker-email", True)] * 3
    + [("beat", True)] * 2
    + [("web", False), ("web", True)]
    + [("worker-campaigns", False), ("worker-campaigns", True)]
    + [("worker-default", False), ("worker-default", True)]
)


@dataclass(frozen=True, slots=True)
class Run:
    """`act` launches what it needs; the end of all campaigns is waited for after it."""

    name: str
    act: Callable[[Scene, int], None]
    rules: Sequence[Mapping[str, object]] = ()
    pace: float | None = None
    messages_a_connection: int = 1000

    @property
    def plan(self) -> Mapping[str, object]:
        return {"rules": list(self.rules), "pace": self.pace}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run's figures; `late` steps of hand-offs came after a pause or a cancellation."""

    seconds: float
    kills: int
    bound: int
    late: int
    judged: Judgement

    def faults(self) -> list[str]:
        """What is not as promised, in words; empty where all is well."""
        found = list(self.judged.wrong)
        if self.judged.lost:
            found.append(f"{self.judged.lost} letters lost")
        if self.judged.duplicates:
            found.append(f"{self.judged.duplicates} letters doubled")
        if self.judged.unknown > self.bound:
            found.append(f"{self.judged.unknown} unknown, but only {self.bound} were in flight")
        if self.late:
            found.append(f"{self.late} steps of hand-offs after {SETTLED_WITHIN:g} s")
        return found


def play(stack: RunningStack, run: Run, recipients: int, kills: int) -> Outcome:
    """Make the scene, act, wait for the end, judge."""
    scene = Scene(stack, run.name, recipients, run.plan, run.messages_a_connection)
    began = time.monotonic()
    wrong = []
    try:
        try:
            run.act(scene, kills)
            scene.finish()
        except Unfinished as error:
            wrong.append(f"unfinished: {error}")
        seconds = time.monotonic() - began
        judged = scene.judge()
    finally:
        scene.sink.stop()
    judged.wrong[:0] = wrong
    return Outcome(seconds, scene.kills, scene.bound, scene.late, judged)


def just_send(scene: Scene, kills: int) -> None:
    scene.launch()


def kill_processes(scene: Scene, kills: int) -> None:
    """Kill after kill, each once letters have arrived since the one before."""
    chance = random.Random(2)
    victims = (_VICTIMS * (kills // len(_VICTIMS) + 1))[:kills]
    chance.shuffle(victims)
    victims.sort(key=lambda victim: victim[0] != "worker-campaigns")
    acts = [
        partial(scene.kill, program, parent=parent, chance=chance) for program, parent in victims
    ]
    again_and_again(scene, acts)
    scene.kills = kills


def lose_redis(scene: Scene, kills: int) -> None:
    number = max(1, kills // 6)
    again_and_again(scene, [scene.flush_redis, lambda: scene.restart_redis(away=2.0)] * number)


def crash_postgres(scene: Scene, kills: int) -> None:
    again_and_again(scene, [scene.crash_postgres] * max(1, kills // 12))


def two_beats(scene: Scene, kills: int) -> None:
    """The first one is killed in the middle: the second takes over, then both are there again."""
    with scene.second_beat():
        campaign = scene.launch()
        scene.wait_for_share(campaign, 0.3)
        scene.kill("beat", parent=True, chance=random.Random(3))
        scene.finish()


def pause_and_cancel(scene: Scene, kills: int) -> None:
    person = Person(scene)
    paused = scene.launch()
    scene.wait_for_share(paused, 0.2)
    scene.late += _count_late(scene, person.steer(paused, "pause"))
    person.steer(paused, "resume")
    wait_until(lambda: not scene.is_sending(paused), 120)
    cancelled = scene.launch()
    scene.wait_for_share(cancelled, 0.2)
    scene.late += _count_late(scene, person.steer(cancelled, "cancel"))


def _count_late(scene: Scene, returned: float) -> int:
    """Steps of hand-offs that came too long after the request had returned."""
    until = returned + SETTLED_WITHIN + WATCHED
    while time.monotonic() < until:
        time.sleep(0.1)
    return Record.read(scene.sink.log).hand_offs(returned + SETTLED_WITHIN, until)


def again_and_again(scene: Scene, acts: Sequence[Callable[[], None]]) -> None:
    """Do one thing after the other in the middle of a campaign, as many as it takes."""
    campaign = scene.launch()
    for act in acts:
        if not scene.is_sending(campaign):
            campaign = scene.launch()
        act()
        enough = scene.sink.size() + PROGRESS
        deadline = time.monotonic() + 90
        while scene.sink.size() < enough and scene.is_sending(campaign):
            if time.monotonic() > deadline:
                raise Unfinished("no letter has come for 90 s")
            time.sleep(0.05)
    scene.ready()
    scene.sink.behave({})


def at(
    places: Sequence[str], do: str, share: float = 0.02, times: int = 1
) -> list[Mapping[str, object]]:
    return [{"at": place, "do": do, "share": share, "times": times} for place in places]


_VERBS = ("mail", "rcpt", "data", "dot")
_OPENING = ("banner", "ehlo")

RUNS = (
    Run("kills", kill_processes, pace=SLOW),
    Run("redis", lose_redis, pace=2 * SLOW),
    Run("postgres", crash_postgres, pace=2 * SLOW),
    Run("silent", just_send, rules=at(["dot"], "silent", 0.01)),
    Run("drops", just_send, rules=at((*BEFORE_THE_DOT, *AFTER_THE_DOT), "drop")),
    Run(
        "refusals",
        just_send,
        rules=[
            *at(_OPENING, "450", 0.05),
            *at(_OPENING, "554", 0.05),
            *at(_VERBS, "451"),
            *at(_VERBS, "550"),
        ],
        messages_a_connection=50,
    ),
    Run(
        "421",
        just_send,
        rules=[*at(_OPENING, "421", 0.05), *at(_VERBS, "421", 0.01)],
        messages_a_connection=50,
    ),
    Run("beats", two_beats, rules=at(["rcpt"], "450", 0.05), pace=1000.0),
    Run("pause", pause_and_cancel, pace=800.0),
)
