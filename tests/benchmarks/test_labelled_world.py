"""Verdicts and forecasts beside the sandbox's truth."""

from __future__ import annotations

import random

import pytest
from django.conf import LazySettings

from apps.accounts.models import Workspace
from apps.mailer import checks
from apps.mailer.models import Contact
from apps.mailer.services import domain_facts
from benchmarks import labelled
from mailkit.verify.dns import make_resolver
from tests.apps.mailer.helpers import check, csv_of, imported
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.django_db

# Out of a hundred, as lists that nobody has looked after for a year are.
_OLD_LIST = {
    "inbox": 72, "nosuch": 6, "disabled": 3, "denied": 2, "nxdomain": 4, "nomx": 1, "catchall": 3,
    "aonly": 1, "busy": 1, "blocked": 3, "policy": 2, "grey": 1, "servfail": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, sandbox: Sandbox) -> None:
    settings.PROBE_TIMEOUT_SECONDS = 1
    monkeypatch.setattr(
        domain_facts,
        "make_resolver",
        lambda servers, **_limits: make_resolver(servers, timeout=1, lifetime=1),
    )


def test_verdicts_keep_to_the_truth(workspace: Workspace) -> None:
    truths = labelled.labelled_addresses(10)
    check(imported(workspace, csv_of(truths)))
    found = labelled.compare(truths, Contact.objects.values_list("email", "verdict"))
    assert found.matrix.total() == len(truths)
    assert found.false_invalid == 0
    assert found.dead_found >= 98
    assert found.guessed == 0
    assert found.matrix[labelled.VALID, "valid"] > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_the_forecast_holds_the_truth(workspace: Workspace, seed: int) -> None:
    kinds = random.Random(seed).choices([*_OLD_LIST], [*_OLD_LIST.values()], k=400)
    people = [f"reader.{n}@shop-{n % 9}.{kind}.sandbox.test" for n, kind in enumerate(kinds)]
    job = imported(workspace, csv_of(people))
    check(job)
    found = checks.bounce_forecast(job)
    bounce = sum(map(labelled.bounces, people))
    assert found.everybody.low <= bounce / len(people) <= found.everybody.high
    assert abs(found.everybody.expected - bounce / len(people)) < 0.02
    sent = Contact.objects.exclude(verdict="invalid").values_list("email", flat=True)
    left = sum(map(labelled.bounces, sent)) / len(sent)
    assert found.mailable.low <= left <= found.mailable.high
    assert abs(found.mailable.expected - left) < 0.02
