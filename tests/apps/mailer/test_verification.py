"""Checks of contacts against the sandbox's real DNS and SMTP servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.mailer import selectors
from apps.mailer.models import Contact, DomainFact, Import, Verification
from apps.mailer.services import domain_facts, imports, probing, verification
from apps.mailer.services.domain_facts import Known
from apps.mailer.tasks import validate_contact_batch
from apps.sandbox import world
from apps.senders.models import Relay
from mailkit.smtp.session import Session
from mailkit.verify.dns import DomainFacts, make_resolver
from tests.apps.mailer.helpers import (
    check,
    csv_of,
    imported,
    make_due,
    queued,
    run,
    verdicts,
)
from tests.support import factories
from tests.support.concurrency import in_thread, wait_until_blocked
from tests.support.sandbox import LoopThread, Sandbox

pytestmark = pytest.mark.django_db

State = Verification.State


def give_up_after(seconds: float, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PROBE_TIMEOUT_SECONDS = seconds
    monkeypatch.setattr(
        domain_facts,
        "make_resolver",
        lambda servers, **_limits: make_resolver(servers, timeout=seconds, lifetime=seconds),
    )


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, sandbox: Sandbox) -> None:
    give_up_after(0.7, settings, monkeypatch)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts to which SMTP connections are opened."""
    hosts: list[str] = []
    real = Session.open

    async def open_connection(endpoint: Any, timeouts: Any) -> Any:
        hosts.append(endpoint.host)
        return await real(endpoint, timeouts)

    monkeypatch.setattr(Session, "open", open_connection)
    return hosts


def while_checking(
    monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], *, level: str = "full"
) -> None:
    """Let something happen once, after a batch was chosen and before its verdicts are kept."""
    where, name = (probing, "ask_servers") if level == "full" else (verification, "known_domains")
    real = getattr(where, name)

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(where, name, real)
        action()
        return real(*arguments)

    monkeypatch.setattr(where, name, meanwhile)


def pass_greylist(sandbox: Sandbox) -> None:
    sandbox.smtp._clock = lambda: time.monotonic() + 3600


# Verdicts


def test_every_behaviour_of_the_sandbox(workspace: Workspace) -> None:
    expected = {}
    for row in world.BEHAVIOURS:
        domain = f"{row.domain}.sandbox.test" if row.domain else "somewhere.example"
        expected[f"person@{domain}"] = row.verdict
        if row.word:
            expected[f"{row.word}@sandbox.test"] = row.verdict
            expected[f"{row.word}.2@inbox.sandbox.test"] = row.verdict
    finished = check(imported(workspace, csv_of(expected)))
    assert {email: verdict for email, (verdict, _reason) in verdicts(workspace).items()} == expected
    assert finished.state == State.FINISHED
    assert finished.total == len(expected)


def test_reasons_and_evidence(workspace: Workspace) -> None:
    people = {
        "ann@inbox.sandbox.test": ("valid", "mailbox_exists"),
        "info@inbox.sandbox.test": ("risky", "role"),
        "nosuch@inbox.sandbox.test": ("invalid", "mailbox_not_found"),
        "ann@catchall.sandbox.test": ("risky", "catch_all"),
        "full@inbox.sandbox.test": ("risky", "mailbox_full"),
        "grey@inbox.sandbox.test": ("unknown", "greylisted"),
        "busy@inbox.sandbox.test": ("unknown", "temporary_failure"),
        "blocked@inbox.sandbox.test": ("unknown", "probe_blocked"),
        "slow@inbox.sandbox.test": ("unknown", "timeout"),
        "ann@nullmx.sandbox.test": ("invalid", "null_mx"),
        "ann@nomx.sandbox.test": ("invalid", "no_mx"),
        "ann@nxdomain.sandbox.test": ("invalid", "no_mx"),
        "ann@servfail.sandbox.test": ("unknown", "servfail"),
        "ann@dnstimeout.sandbox.test": ("unknown", "timeout"),
    }
    job = imported(workspace, csv_of(people))
    check(job)
    assert verdicts(workspace) == people
    evidence = Contact.objects.get(email="nosuch@inbox.sandbox.test").evidence
    assert evidence["code"] == 550
    assert "No such user" in evidence["text"]
    assert selectors.verdict_counts(job) == {"valid": 1, "risky": 3, "invalid": 4, "unknown": 6}


def test_quick_level_opens_no_connection(workspace: Workspace, opened: list[str]) -> None:
    addresses = [f"ann@{name}.sandbox.test" for name in ("aonly", "inbox", "nosuch", "nxdomain")]
    finished = check(imported(workspace, csv_of(addresses), level="quick"))
    assert opened == []
    assert list(verdicts(workspace).values()) == [
        ("unknown", "not_probed"), ("unknown", "not_probed"), ("unknown", "not_probed"),
        ("invalid", "no_mx"),
    ]  # fmt: skip
    assert finished.state == State.FINISHED


def test_without_a_relay_only_the_sandbox_is_probed(
    workspace: Workspace, opened: list[str]
) -> None:
    domains = ["somewhere.example", "notsandbox.test", "sandbox.test.example"]
    tomorrow = timezone.now() + timedelta(days=1)
    for domain in domains:
        DomainFact.objects.create(
            domain=domain, sandbox=True, status="mx", hosts=[f"mx.{domain}"], expires_at=tomorrow
        )
    check(imported(workspace, csv_of(f"ann@{domain}" for domain in domains)))
    assert opened == []
    assert set(verdicts(workspace).values()) == {("unknown", "not_probed")}


def test_an_mx_record_does_not_lead_into_our_network(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    # Every mail host of the sandbox's DNS is at 127.0.0.1.
    real = domain_facts.resolver_for
    monkeypatch.setattr(domain_facts, "resolver_for", lambda _sandbox: real(True))
    Relay.objects.create(workspace=workspace, host="relay.example.com")
    check(imported(workspace, csv_of(["ann@inbox.sandbox.test"])))
    assert opened == []
    assert verdicts(workspace) == {"ann@inbox.sandbox.test": ("unknown", "connection_failed")}
    assert DomainFact.objects.get().sandbox is False


def test_no_mail_server_there(
    workspace: Workspace, sandbox: Sandbox, loop_thread: LoopThread
) -> None:
    loop_thread.run(sandbox.smtp.stop())
    finished = check(imported(workspace, csv_of(["ann@inbox.sandbox.test"])))
    assert verdicts(workspace) == {"ann@inbox.sandbox.test": ("unknown", "connection_failed")}
    assert finished.state == State.FINISHED
    assert Contact.objects.filter(check_due_at__gt=timezone.now()).exists()


# Questions to the DNS


def test_one_question_a_domain(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "BATCHES", {"full": 7})
    people = [f"p{n}@{name}.sandbox.test" for n in range(20) for name in ("inbox", "a.inbox")]
    check(imported(workspace, csv_of(people)))
    assert {verdict for verdict, _reason in verdicts(workspace).values()} == {"valid"}
    assert sandbox.dns.queries == {"inbox.sandbox.test": 1, "a.inbox.sandbox.test": 1}


def test_facts_serve_all_workspaces_until_they_expire(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    def questions(of: Workspace, name: str) -> int:
        check(imported(of, csv_of([f"{name}@inbox.sandbox.test"])))
        return sandbox.dns.queries["inbox.sandbox.test"]

    assert questions(workspace, "ann") == 1
    fact = DomainFact.objects.get()
    assert (fact.status, fact.sandbox, len(fact.hosts)) == ("mx", True, 2)
    assert timedelta(hours=23) < fact.expires_at - timezone.now() < timedelta(hours=25)
    assert questions(workspace, "bob") == 1
    assert questions(factories.make_workspace(), "ann") == 1
    # What the Internet's DNS says is another matter.
    DomainFact.objects.update(sandbox=False)
    assert questions(workspace, "cat") == 2
    DomainFact.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert questions(workspace, "dan") == 3


def test_a_failure_of_the_dns_is_soon_forgotten(workspace: Workspace) -> None:
    check(imported(workspace, csv_of(["ann@servfail.sandbox.test"])))
    left = DomainFact.objects.get().expires_at - timezone.now()
    assert left < timedelta(minutes=3)


def test_what_another_worker_is_asking_is_waited_for(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    soon = timezone.now() + timedelta(seconds=30)
    DomainFact.objects.create(
        domain="inbox.sandbox.test", sandbox=True, status="asking", expires_at=soon
    )
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test", "bob@nosuch.sandbox.test"]))
    unfinished = check(job)
    assert unfinished.state == State.RUNNING
    assert "inbox.sandbox.test" not in sandbox.dns.queries
    ann = Contact.objects.get(email="ann@inbox.sandbox.test")
    assert (ann.verdict, ann.check_attempts) == ("", 0)
    assert verdicts(workspace)["bob@nosuch.sandbox.test"][0] == "invalid"
    # That worker died: after a while the question is asked by another.
    make_due(workspace)
    assert check(job).state == State.FINISHED
    assert sandbox.dns.queries["inbox.sandbox.test"] == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "BATCHES", {"full": 10})
    names = ("inbox", "a.inbox", "b.inbox", "nosuch")
    people = [f"p{n}@{name}.sandbox.test" for n in range(20) for name in names]
    job = imported(workspace, csv_of(people))
    for worker in [in_thread(check, job) for _number in range(2)]:
        worker.result(timeout=60)
    Contact.objects.filter(verdict="").update(check_due_at=timezone.now())
    assert check(job).state == State.FINISHED
    assert set(Contact.objects.values_list("check_attempts", flat=True)) == {1}
    counts = selectors.verdict_counts(job)
    assert (counts["valid"], counts["invalid"]) == (60, 20)
    assert set(sandbox.dns.queries.values()) == {1}


@pytest.mark.django_db(transaction=True)
def test_contacts_are_locked_in_the_order_of_imports(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an import of the same contacts and their verdicts would deadlock."""
    for name in "cba":  # in the table they lie the other way round
        factories.make_contact(workspace, f"{name}@inbox.sandbox.test", verdict="")
    job = imported(workspace, csv_of(f"{name}@inbox.sandbox.test" for name in "abc"))
    claimed, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        claimed.set()
        assert go_on.wait(20)

    while_checking(monkeypatch, pause)
    worker = in_thread(check, job)
    assert claimed.wait(20)
    with transaction.atomic():
        Contact.objects.select_for_update().get(email="b@inbox.sandbox.test")
        go_on.set()
        wait_until_blocked()
        # The batch has a, waits for b, and has not touched c.
        Contact.objects.select_for_update(nowait=True).get(email="c@inbox.sandbox.test")
    worker.result(timeout=60)


# Due times, leases, the end of a run


def test_a_greylisted_mailbox_is_valid_when_asked_again(
    workspace: Workspace, sandbox: Sandbox
) -> None:
    job = imported(workspace, csv_of(["ann@grey.sandbox.test"]))
    assert check(job).state == State.FINISHED  # it has its first answer
    ann = Contact.objects.get()
    assert (ann.verdict, ann.reason, ann.check_attempts) == ("unknown", "greylisted", 1)
    assert ann.check_due_at
    assert timedelta(minutes=4) < ann.check_due_at - timezone.now() < timedelta(minutes=6)
    assert verification.ring_due_checks() == 0
    assert selectors.check_progress(job).checked == 1

    pass_greylist(sandbox)
    make_due(workspace)
    assert verification.ring_due_checks() == 1
    check(job)
    again = Contact.objects.get()
    assert (again.verdict, again.check_attempts, again.check_due_at) == ("valid", 2, None)
    assert verification.ring_due_checks() == 0


@pytest.mark.parametrize("name", ["busy", "servfail", "timeout", "dnstimeout"])
def test_other_open_answers_are_tried_a_few_times(
    workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    give_up_after(0.2, settings, monkeypatch)
    job = imported(workspace, csv_of([f"ann@{name}.sandbox.test"]))
    attempts = 0
    while Contact.objects.filter(check_due_at__isnull=False).exists():
        make_due(workspace)
        check(job)
        attempts += 1
    assert attempts == Contact.objects.get().check_attempts == 5
    assert Contact.objects.get().verdict == "unknown"


def test_contacts_of_a_dead_worker_come_back(workspace: Workspace) -> None:
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    checks = verification.verification_of(job)
    known = {
        "inbox.sandbox.test": Known(DomainFacts("inbox.sandbox.test", "mx", ("mx",)), "", None)
    }
    assert len(verification._judge_by_what_is_known(checks, known, sandbox=True)) == 1
    # The lease outlasts a batch, and until it ends nobody else takes them.
    due = Contact.objects.get().check_due_at
    assert due
    assert due - timezone.now() > timedelta(seconds=probing.SECONDS)
    assert not verification.validate_batch(checks.pk)
    assert verification.ring_due_checks() == 0
    checks.refresh_from_db()
    assert checks.state == State.RUNNING
    make_due(workspace)
    assert verification.ring_due_checks() == 1
    assert check(job).state == State.FINISHED


def test_a_run_does_not_finish_before_its_import(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    for state in (Import.State.QUEUED, Import.State.RUNNING):
        Import.objects.update(state=state)
        assert check(job).state == State.RUNNING
    for state in (Import.State.FAILED, Import.State.CANCELLED):
        Import.objects.update(state=state)
        Verification.objects.update(state=State.RUNNING)
        verification.ring_due_checks()  # the sweeper sees the end that no worker saw
        assert Verification.objects.get().state == State.FINISHED


def test_contacts_without_need_of_a_check_do_not_keep_a_run_open(workspace: Workspace) -> None:
    factories.make_contact(workspace, "ann@inbox.sandbox.test", verified_at=timezone.now())
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    assert Verification.objects.get(of_import=job).state == State.FINISHED
    assert selectors.check_progress(job) == selectors.CheckProgress(0, 0, finished=True)


def test_a_contact_deleted_while_it_is_checked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test", "bob@inbox.sandbox.test"]))
    while_checking(
        monkeypatch, lambda: Contact.objects.filter(email="ann@inbox.sandbox.test").delete()
    )
    assert check(job).state == State.FINISHED
    assert verdicts(workspace) == {"bob@inbox.sandbox.test": ("valid", "mailbox_exists")}


def test_messages_for_runs_that_are_gone_or_over(workspace: Workspace) -> None:
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    finished = check(job)
    validate_contact_batch(finished.pk)
    validate_contact_batch(finished.pk + 1_000_000)
    finished.refresh_from_db()
    assert (finished.state, finished.total) == (State.FINISHED, 1)


def test_a_retried_import_opens_its_run_again(workspace: Workspace) -> None:
    job = queued(workspace, csv_of(["ann@inbox.sandbox.test", "bob@nosuch.sandbox.test"]))
    checks = verification.verification_of(job)
    imports.cancel_import(job=job)
    verification.finish_if_done(checks.pk)
    assert selectors.check_progress(job).finished
    imports.retry_import(job=job)
    run(job)
    assert selectors.check_progress(job) == selectors.CheckProgress(0, 2, finished=False)
    assert check(job).state == State.FINISHED


# Slow servers


def test_a_silent_server_costs_the_others_nothing(workspace: Workspace, opened: list[str]) -> None:
    slow = [f"p{n}@timeout.sandbox.test" for n in range(30)]
    job = imported(workspace, csv_of([*slow, "ann@inbox.sandbox.test"]))
    assert check(job).state == State.FINISHED
    assert len(opened) <= 5  # not one time-out for each of them
    found = verdicts(workspace)
    assert found.pop("ann@inbox.sandbox.test") == ("valid", "mailbox_exists")
    assert set(found.values()) == {("unknown", "timeout")}


def test_a_batch_is_given_up_in_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.PROBE_TIMEOUT_SECONDS = 30
    monkeypatch.setattr(probing, "SECONDS", 1)
    monkeypatch.setattr(probing, "DOMAINS_AT_ONCE", 2)
    names = ("a.inbox", "b.timeout", "c.timeout", "d.timeout", "e.inbox", "f.nxdomain")
    people = [f"ann@{name}.sandbox.test" for name in names]
    job = imported(workspace, csv_of([*people, "ann@outside.example"]))
    checks = verification.verification_of(job)
    assert verification.validate_batch(checks.pk)
    found = list(verdicts(workspace).values())
    timeout, no_turn = ("unknown", "timeout"), ("", "")
    assert found == [
        ("valid", "mailbox_exists"), timeout, timeout, no_turn, no_turn, ("invalid", "no_mx"),
        ("unknown", "servfail"),
    ]  # fmt: skip
    # Those that took all the time wait; those without a turn come the next time.
    before = timezone.now() - timedelta(hours=1)
    Contact.objects.filter(check_attempts=0).update(check_due_at=before)
    check(job)
    assert list(verdicts(workspace).values())[3:5] == [timeout, ("valid", "mailbox_exists")]
    assert Verification.objects.get().state == State.FINISHED


# Two runs over the same contacts


def test_a_run_waits_for_what_another_run_checks(workspace: Workspace) -> None:
    first = imported(workspace, csv_of(["ann@inbox.sandbox.test", "bob@inbox.sandbox.test"]))
    second = imported(workspace, csv_of(["bob@inbox.sandbox.test"]), level="quick")
    # A quick check would make less of bob than the full one that he waits for.
    assert check(second).state == State.RUNNING
    assert selectors.check_progress(second) == selectors.CheckProgress(0, 1, finished=False)
    assert check(first).state == State.FINISHED
    assert set(verdicts(workspace).values()) == {("valid", "mailbox_exists")}
    verification.ring_due_checks()
    assert selectors.check_progress(second) == selectors.CheckProgress(1, 1, finished=True)


def test_a_more_thorough_run_takes_contacts_over(workspace: Workspace) -> None:
    first = imported(workspace, csv_of(["ann@inbox.sandbox.test"]), level="quick")
    second = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    assert check(first).state == State.RUNNING
    assert check(second).state == State.FINISHED
    assert set(verdicts(workspace).values()) == {("valid", "mailbox_exists")}
    verification.ring_due_checks()
    assert selectors.check_progress(first).finished


def test_a_contact_taken_over_while_it_is_checked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = imported(workspace, csv_of(["ann@inbox.sandbox.test"]), level="quick")
    while_checking(
        monkeypatch,
        lambda: imported(workspace, csv_of(["ann@inbox.sandbox.test"])),
        level="quick",
    )
    check(first)
    assert verdicts(workspace) == {"ann@inbox.sandbox.test": ("", "")}
    check(Import.objects.exclude(pk=first.pk).get())
    assert verdicts(workspace) == {"ann@inbox.sandbox.test": ("valid", "mailbox_exists")}


def test_a_run_checks_no_other_workspace(workspace: Workspace) -> None:
    elsewhere = factories.make_workspace()
    job = imported(workspace, csv_of(["ann@inbox.sandbox.test"]))
    imported(elsewhere, csv_of(["ann@inbox.sandbox.test"]))
    check(job)
    assert verdicts(elsewhere) == {"ann@inbox.sandbox.test": ("", "")}
