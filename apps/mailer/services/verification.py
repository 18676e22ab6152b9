"""Verification: judge contacts that are due by what is known, ask mail servers about the rest."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import cast

import uvloop
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from apps.mailer import selectors
from apps.mailer.models import Contact, Import, Verification
from apps.mailer.services import arrays, probing
from apps.mailer.services.domain_facts import Known, keep_catch_all, known_domains
from apps.senders.selectors import has_relay
from core import queues
from mailkit.addresses import Address, Fault, parse_address
from mailkit.verify.policy import not_probed_because
from mailkit.verify.probe import ProbeResult
from mailkit.verify.verdict import Level, Verdict, decide, retry_after

BATCHES: dict[str, int] = {"quick": 2000, "full": 1000}
# A batch is given up before its contacts become due again for another worker.
LEASE = timedelta(seconds=probing.SECONDS + 90)
STALE_AFTER = timedelta(days=90)
_WAIT_FOR_FACTS = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A contact that is due; `attempts` checks were made before."""

    pk: int
    address: Address | Fault
    domain: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A contact's new verdict and, where another check may tell more, after how long."""

    contact_id: int
    verdict: Verdict
    check_after: timedelta | None


def verification_of(job: Import) -> Verification:
    """The run of checks that belongs to an import; made on first use."""
    run, _created = Verification.objects.get_or_create(
        of_import=job, defaults={"workspace": job.workspace, "level": job.level}
    )
    return run


def ring(verification_id: int, *, after: timedelta = timedelta(0)) -> None:
    from apps.mailer.tasks import validate_contact_batch

    bell = validate_contact_batch.signature((verification_id,), countdown=after.total_seconds())
    queues.ring(bell)


def ring_if_idle(verification_id: int) -> None:
    """Ring unless enough messages wait for the import pool already.

    An import rings after each chunk; a bell for each would keep other imports waiting behind.
    """
    if queues.waiting("import") < settings.IMPORT_CONCURRENCY:
        ring(verification_id)


def validate_batch(verification_id: int) -> bool:
    """Check a batch of the contacts that are due; whether more may be due now."""
    run = Verification.objects.select_related("workspace").filter(pk=verification_id).first()
    if run is None:
        return False
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        checked_some = _check_some(run, runner)
    finish_if_done(verification_id)
    return checked_some


def _check_some(run: Verification, runner: asyncio.Runner) -> bool:
    """Check contacts of the first domains that no other worker is asking about."""
    sandbox = not has_relay(run.workspace)
    others_ask, after = False, ""
    while domains := _due_domains(run, after):
        known = known_domains(domains, sandbox, runner)
        if known:
            to_ask = _judge_by_what_is_known(run, known, sandbox)
            if to_ask:
                _ask_about(run, to_ask, known, sandbox, runner)
            return True
        others_ask, after = True, domains[-1]
    if others_ask:
        # What the other worker learns is for all.
        ring(run.pk, after=_WAIT_FOR_FACTS)
    return False


def finish_if_done(verification_id: int) -> None:
    """Finished once the import is over, or the list's members are chosen, and every contact has
    had a first answer.
    """
    run = Verification.objects.filter(
        pk=verification_id, state=Verification.State.RUNNING, chosen_up_to__isnull=True
    ).first()
    importing = Import.objects.filter(
        verification=verification_id, state__in=[Import.State.QUEUED, Import.State.RUNNING]
    )
    if run is None or importing.exists() or _somebody_waits(run):
        return
    Verification.objects.filter(pk=verification_id, state=Verification.State.RUNNING).update(
        state=Verification.State.FINISHED, finished_at=timezone.now()
    )


def _somebody_waits(run: Verification) -> bool:
    # In this order it is one look into contact_check_pending. Without one, PostgreSQL expects to
    # meet such a row soon and reads through the whole table when there is none.
    in_order = (some.order_by("verification_id", "domain") for some in selectors.waiting(run))
    return any(some.values("pk").first() for some in in_order)


def ring_due_checks() -> int:
    """Ask for a batch for each run with contacts that are due or to be chosen; for how many."""
    due = set(
        Contact.objects.filter(check_due_at__lt=timezone.now(), verification__isnull=False)
        .values_list("verification", flat=True)
        .distinct()
    )
    unfinished = Verification.objects.filter(state=Verification.State.RUNNING)
    due |= set(unfinished.filter(chosen_up_to__isnull=False).values_list("pk", flat=True))
    for verification_id in sorted(due):
        ring(verification_id)
    for verification_id in unfinished.values_list("pk", flat=True):
        finish_if_done(verification_id)
    return len(due)


def _due_domains(run: Verification, after: str) -> list[str]:
    """The domains of a batch of contacts that are due, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT domain FROM (
                SELECT domain FROM mailer_contact
                WHERE verification_id = %s AND check_due_at <= now() AND domain > %s
                ORDER BY domain LIMIT %s) AS due
            ORDER BY domain
            """,
            [run.pk, after, BATCHES[run.level]],
        )
        return [domain for (domain,) in cursor.fetchall()]


def _judge_by_what_is_known(
    run: Verification, known: Mapping[str, Known], sandbox: bool
) -> list[Due]:
    """Settle the contacts about which no server is asked, claim the others and return them.

    Contacts that another worker holds are its own. In one transaction, so that most contacts
    are written once.
    """
    with transaction.atomic():
        contacts = _locked(run, sorted(known))
        to_ask = [one for one in contacts if _is_asked_about(run, one, known[one.domain], sandbox)]
        asked = {one.pk for one in to_ask}
        answered = _settle(
            run,
            [
                _judge(one, known[one.domain], None, run.level)
                for one in contacts
                if one.pk not in asked
            ],
        )
        if asked:
            Contact.objects.filter(pk__in=asked).update(check_due_at=timezone.now() + LEASE)
    _count(run, answered)
    return to_ask


def _locked(run: Verification, domains: Sequence[str]) -> list[Due]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, email, domain, check_attempts FROM mailer_contact
            WHERE verification_id = %s AND check_due_at <= now() AND domain = ANY(%s::text[])
            ORDER BY domain LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
            """,
            [run.pk, arrays.of_texts(domains), BATCHES[run.level]],
        )
        return [
            Due(pk, parse_address(email), domain, attempts)
            for pk, email, domain, attempts in cursor.fetchall()
        ]


def _is_asked_about(run: Verification, one: Due, known: Known, sandbox: bool) -> bool:
    """Whether the mail server is asked about a contact."""
    facts = known.facts
    return (
        run.level == Import.Level.FULL
        and bool(facts.hosts)
        and isinstance(one.address, Address)
        and one.address.domain == one.domain
        and (not sandbox or _is_demo_domain(one.domain))
        and not_probed_because(known.provider, one.domain, facts.hosts) is None
        and decide(one.address, facts, None, "quick").verdict != "invalid"
    )


def _ask_about(
    run: Verification,
    contacts: Sequence[Due],
    known: Mapping[str, Known],
    sandbox: bool,
    runner: asyncio.Runner,
) -> None:
    by_domain: dict[str, list[Address]] = defaultdict(list)
    by_email: dict[str, Due] = {}
    for one in contacts:
        assert isinstance(one.address, Address)
        by_domain[one.domain].append(one.address)
        by_email[one.address.email] = one
    asked = probing.ask_servers(by_domain, known, sandbox, runner)
    keep_catch_all(asked.catch_all, sandbox)
    answered = _settle(
        run,
        [
            _judge(by_email[email], known[by_email[email].domain], probe, run.level)
            for email, probe in asked.probes.items()
        ],
    )
    _count(run, answered)
    _postpone({by_email[email].pk: seconds for email, seconds in asked.later.items()})


def _judge(one: Due, known: Known, probe: ProbeResult | None, level: str) -> Checked:
    verdict = decide(one.address, known.facts, probe, cast(Level, level))
    return Checked(one.pk, verdict, retry_after(verdict.reason, one.attempts + 1))


def _is_demo_domain(domain: str) -> bool:
    """Without a relay nothing but the sandbox's own domains is probed."""
    return f".{domain}".endswith(f".{settings.SANDBOX_DOMAIN}")


def _postpone(seconds: Mapping[int, float]) -> None:
    """Let contacts be due again in so many seconds: their providers take no more now."""
    by_due: dict[int, list[int]] = defaultdict(list)
    for contact_id, number in seconds.items():
        by_due[int(number) + 1 if number else 0].append(contact_id)
    for number, ids in by_due.items():
        with transaction.atomic():
            # In the order of imports, or both could deadlock.
            list(Contact.objects.filter(pk__in=ids).order_by("email").select_for_update())
            Contact.objects.filter(pk__in=ids, check_due_at__isnull=False).update(
                check_due_at=timezone.now() + timedelta(seconds=number)
            )


def _count(run: Verification, answered: int) -> None:
    """For the progress of a list's run; outside of transactions that hold contacts, so that other
    workers do not wait. A worker killed before it leaves the number too low until the end.
    """
    if answered and run.of_list_id:
        Verification.objects.filter(pk=run.pk).update(checked=F("checked") + answered)


def _settle(run: Verification, checked: Sequence[Checked]) -> int:
    """Write the verdicts, save where another run has taken the contact over meanwhile.

    How many of them are first answers.
    """
    if not checked:
        return 0
    # Most findings of the quick level are alike: each is written once, and contacts name theirs.
    numbers: dict[tuple[Verdict, timedelta | None], int] = {}
    of_contact = [
        numbers.setdefault((one.verdict, one.check_after), len(numbers) + 1) for one in checked
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS MATERIALIZED (
                SELECT id FROM mailer_contact WHERE id = ANY(%(ids)s::bigint[])
                -- The order of imports, or both could deadlock.
                ORDER BY email FOR NO KEY UPDATE
            ), changed AS (
                UPDATE mailer_contact
                SET verdict = (%(verdicts)s::text[])[number],
                    reason = (%(reasons)s::text[])[number],
                    evidence = (%(evidence)s::jsonb[])[number],
                    check_due_at = now() + (%(after)s::interval[])[number],
                    check_attempts = check_attempts + 1, verified_at = now()
                FROM locked
                JOIN unnest(%(ids)s::bigint[], %(numbers)s::int[]) AS new (id, number) USING (id)
                WHERE mailer_contact.id = new.id AND verification_id = %(run)s
                  AND check_due_at IS NOT NULL
                RETURNING check_attempts
            )
            SELECT count(*) FILTER (WHERE check_attempts = 1) FROM changed
            """,
            {
                "run": run.pk,
                "ids": arrays.of_numbers(one.contact_id for one in checked),
                "numbers": arrays.of_numbers(of_contact),
                "verdicts": [verdict.verdict for verdict, _after in numbers],
                "reasons": [verdict.reason for verdict, _after in numbers],
                "evidence": [json.dumps(asdict(verdict.evidence)) for verdict, _after in numbers],
                "after": [after for _verdict, after in numbers],
            },
        )
        return int(cursor.fetchone()[0])
