"""How gently mail servers are asked."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, DomainFact, Import, Verification
from apps.mailer.services import probing, verification
from apps.senders.services.buckets import Buckets, connect
from mailkit.verify.policy import Pace
from tests.apps.mailer.helpers import check, csv_of, imported, verdicts
from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandbox")]

PEOPLE = [f"p{number}@inbox.sandbox.test" for number in range(10)]


@pytest.fixture(autouse=True)
def _hurried(settings: LazySettings, sandbox: Sandbox) -> None:
    settings.PROBE_TIMEOUT_SECONDS = 2


def known(provider: str, host: str, **more: object) -> DomainFact:
    return DomainFact.objects.create(
        domain="inbox.sandbox.test", sandbox=True, status="mx", hosts=[host], provider=provider,
        expires_at=timezone.now() + timedelta(days=1), **more,
    )  # fmt: skip


@pytest.fixture
def job(workspace: Workspace) -> Import:
    return imported(workspace, csv_of(PEOPLE))


def test_what_is_beyond_the_pace_waits(job: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SANDBOX_PACE", Pace(connections=2, per_minute=16))
    known("other", f"mx.{uuid.uuid4().hex}.example")
    assert check(job).state == Verification.State.RUNNING
    # Four questions in the quarter of a minute, one of them about the made-up mailbox.
    assert Contact.objects.filter(verdict="valid").count() == 3
    waiting = Contact.objects.filter(verdict="", check_attempts=0, check_due_at__gt=timezone.now())
    assert waiting.count() == 7


def test_without_redis_nobody_is_asked(job: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_buckets", lambda: Buckets(connect("redis://127.0.0.1:1/0")))
    assert check(job).state == Verification.State.RUNNING
    waiting = Contact.objects.filter(verdict="", check_attempts=0, check_due_at__gt=timezone.now())
    assert waiting.count() == 10


def test_a_provider_that_punishes_is_not_asked(
    job: Import, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ask_servers", lambda *_arguments: pytest.fail("it was asked"))
    known("yahoo", "mta5.am0.yahoodns.net")
    assert check(job).state == Verification.State.FINISHED
    assert set(verdicts(workspace).values()) == {("unknown", "provider_not_probed")}
    assert "TSS04" in Contact.objects.all()[0].evidence["text"]


def test_whether_a_domain_takes_anything_is_remembered(job: Import, workspace: Workspace) -> None:
    check(job)
    fact = DomainFact.objects.get()
    assert fact.catch_all is False
    assert fact.catch_all_until
    assert fact.catch_all_until > timezone.now() + timedelta(days=6)
    # What is remembered is believed: here, that the domain takes anything.
    DomainFact.objects.update(catch_all=True)
    Contact.objects.update(check_due_at=timezone.now() - timedelta(hours=1))
    check(job)
    assert set(verdicts(workspace).values()) == {("risky", "catch_all")}


def test_seats_are_given_back(job: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SANDBOX_PACE", Pace(connections=1, per_minute=6000))
    host = f"mx.{uuid.uuid4().hex}.example"
    known("other", host)
    assert check(job).state == Verification.State.FINISHED
    key = f"verify:sandbox:{host.removeprefix('mx.')}:seats"
    assert probing._buckets().seats(key, "next", 1, 1, 10) == 1
    assert verification.ring_due_checks() == 0
