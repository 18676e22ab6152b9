"""A smaller `make chaos`: whatever dies or refuses, nothing is lost and nothing sent twice."""

from __future__ import annotations

import random

import pytest

from benchmarks.chaos.runs import (
    Outcome,
    Run,
    again_and_again,
    at,
    just_send,
    pause_and_cancel,
    play,
)
from benchmarks.chaos.scene import Scene
from benchmarks.chaos.sink import AFTER_THE_DOT, BEFORE_THE_DOT
from tests.support.stack import RunningStack

pytestmark = pytest.mark.timeout(280)

RECIPIENTS = 2500
DEATHS = [
    ("worker-email", False),
    ("worker-email", True),
    ("beat", True),
    ("web", True),
    ("worker-default", False),
    ("worker-email", False),
]


def everything_dies(scene: Scene, kills: int) -> None:
    chance = random.Random(5)
    deaths = [
        lambda program=program, parent=parent: scene.kill(program, parent=parent, chance=chance)
        for program, parent in DEATHS
    ]
    others = [scene.flush_redis, scene.crash_postgres, lambda: scene.restart_redis(away=1.0)]
    again_and_again(scene, [*deaths[:3], *others, *deaths[3:]])


def outcome_of(stack: RunningStack, run: Run) -> Outcome:
    outcome = play(stack, run, RECIPIENTS, kills=0)
    assert outcome.faults() == []
    return outcome


def test_everything_dies(stack: RunningStack) -> None:
    outcome = outcome_of(stack, Run("deaths", everything_dies, pace=100.0))

    assert outcome.judged.sent + outcome.judged.unknown == outcome.judged.letters
    assert outcome.judged.failed == 0


def test_servers_that_hang_up_and_refuse(stack: RunningStack) -> None:
    verbs = ("mail", "rcpt", "data", "dot")
    rules = [
        *at((*BEFORE_THE_DOT, *AFTER_THE_DOT), "drop", 0.01),
        *at(["dot"], "silent", 0.002),
        *at(("banner", "ehlo", *verbs), "421", 0.01),
        *at(verbs, "450", 0.01),
        *at(verbs, "550", 0.01),
    ]

    outcome = outcome_of(stack, Run("hang-ups", just_send, rules))

    assert outcome.judged.failed > 0
    assert outcome.judged.unknown > 0
    assert outcome.judged.again > 0


def test_pause_and_cancel(stack: RunningStack) -> None:
    outcome_of(stack, Run("steering", pause_and_cancel, pace=300.0))
