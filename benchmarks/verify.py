"""`make bench-verify`: how fast addresses are verified, and how truly.

N (100,000) addresses over DOMAINS (20,000) at the quick level, beside dnspython's resolver that
does nothing but ask for these domains; FULL (20,000) addresses at the full level, of servers
that take LATENCY (50) milliseconds for each reply; and the sandbox's labelled world.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import labelled, support
from benchmarks.labelled import Accuracy
from benchmarks.support import BenchError, Result
from core.local.servers import die_with_parent

LEAST_RATIO = 0.8
LEAST_FULL = 300
LEAST_FOUND = 98
VERDICTS = ("valid", "risky", "invalid", "unknown")
# What dnspython is given: more at once makes it no faster.
BASELINE_AT_ONCE = 100


def main() -> int:
    addresses, domains = support.number("N", 100_000), support.number("DOMAINS", 20_000)
    full, latency = support.number("FULL", 20_000), support.number("LATENCY", 50)
    rounds = support.number("ROUNDS", 3)
    with support.running_service(only_servers=True), running_mail_servers(latency) as ports:
        line, bars = measure(ports, addresses, domains, full, rounds)
    return support.verdict(line, bars)


@dataclass(frozen=True, slots=True)
class Ports:
    fast_dns: int
    smtp: int
    dns: int


@contextlib.contextmanager
def running_mail_servers(latency: int) -> Iterator[Ports]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mail_servers", str(latency)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        if len(said) != 3:
            raise BenchError("the mail servers did not start")
        yield Ports(*map(int, said))
    finally:
        process.terminate()
        process.wait(10)


def measure(ports: Ports, addresses: int, domains: int, full: int, rounds: int) -> Result:
    from core.cli import print_table

    names = [f"shop-{number}.example" for number in range(1, domains + 1)]
    emails = [f"customer.{number}@{names[number % domains]}" for number in range(addresses)]
    alone, quick = [], []
    for turn in range(rounds):
        support.say(f"round {turn + 1} of {rounds}")
        alone.append(domains / resolve_all(names, ports.fast_dns))
        quick.append(addresses / verify("quick", emails, ports.smtp, ports.fast_dns))
    per_domain = support.median(quick) * domains / addresses
    ratio = support.ratio(per_domain, support.median(alone))
    kinds = ("inbox", "inbox", "inbox", "nosuch", "catchall")
    several = [
        f"customer.{number}@shop-{number // 5}.{kinds[number // 5 % len(kinds)]}.sandbox.test"
        for number in range(full)
    ]
    asked = full / verify("full", several, ports.smtp, ports.dns)
    print_table(
        "Verification",
        ("what", "a second"),
        [
            ("domains, dnspython alone", f"{support.median(alone):.0f}"),
            ("domains, quick level", f"{per_domain:.0f}"),
            ("addresses, quick level", f"{support.median(quick):.0f}"),
            ("addresses, full level", f"{asked:.0f}"),
        ],
    )
    accuracy = judge_labelled(ports)
    print_table(
        "The sandbox's labelled world",
        ("truth", *VERDICTS),
        [
            (truth, *(accuracy.matrix[truth, verdict] for verdict in VERDICTS))
            for truth in (labelled.VALID, labelled.DEAD, labelled.UNKNOWABLE)
        ],
    )
    false_invalid, found = accuracy.false_invalid, accuracy.dead_found
    return (
        f"bench-verify: quick {support.median(quick):.0f} ratio {ratio:.2f} full {asked:.0f} "
        f"false_invalid {false_invalid} dead_found {found:.1f}",
        {
            f"quick at least {LEAST_RATIO} x dnspython": ratio >= LEAST_RATIO,
            f"full at least {LEAST_FULL} a second": asked >= LEAST_FULL,
            "no valid mailbox called invalid": false_invalid == 0,
            f"at least {LEAST_FOUND} % of the dead found": found >= LEAST_FOUND,
            "nothing guessed": accuracy.guessed == 0,
        },
    )


def judge_labelled(ports: Ports) -> Accuracy:
    """Verdicts at the full level beside the truth, after one check of each address."""
    from apps.mailer.models import Contact

    truths = labelled.labelled_addresses(support.number("LABELLED", 100))
    verify("full", list(truths), ports.smtp, ports.dns)
    newest = Contact.objects.order_by("-workspace_id").values_list("workspace_id", flat=True)[:1]
    rows = Contact.objects.filter(workspace__in=newest).values_list("email", "verdict")
    return labelled.compare(truths, rows)


def resolve_all(domains: Sequence[str], port: int) -> float:
    """Seconds that dnspython's resolver takes for the MX question of each domain."""
    import dns.exception
    import uvloop

    from mailkit.verify.dns import make_resolver

    resolver = make_resolver([("127.0.0.1", port)], timeout=2, lifetime=5)

    async def ask(names: Iterator[str]) -> None:
        for name in names:
            with contextlib.suppress(dns.exception.DNSException):
                await resolver.resolve(f"{name}.", "MX")

    async def ask_all() -> None:
        names = iter(domains)
        await asyncio.gather(*(ask(names) for _ in range(BASELINE_AT_ONCE)))

    began = time.monotonic()
    uvloop.run(ask_all())
    return time.monotonic() - began


def verify(level: str, emails: Sequence[str], smtp_port: int, dns_port: int) -> float:
    """Seconds until each of so many fresh contacts has its verdict, by this process alone."""
    from django.conf import settings
    from django.db import connection

    from apps.accounts.models import Workspace
    from apps.mailer.models import Contact, DomainFact, Verification
    from apps.mailer.services import verification

    settings.SANDBOX_SMTP_PORT, settings.SANDBOX_DNS_PORT = smtp_port, dns_port
    workspace = Workspace.objects.create(name="Bench", slug=f"bench-{time.monotonic_ns()}")
    DomainFact.objects.all().delete()
    run = Verification.objects.create(workspace=workspace, level=level, total=len(emails))
    lines = "".join(f"{workspace.pk}\t{email}\t{run.pk}\n" for email in emails)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS fresh (workspace int, email text, run int)")
        cursor.execute("TRUNCATE fresh")
        with cursor.copy("COPY fresh FROM STDIN") as copy:
            copy.write(lines)
        cursor.execute(
            "INSERT INTO mailer_contact (workspace_id, email, first_name, last_name, fields, "
            "status, verdict, reason, evidence, verification_id, check_due_at, check_attempts, "
            "created_at, updated_at) "
            "SELECT workspace, email, '', '', '{}', 'subscribed', '', '', '{}', run, now(), 0, "
            "now(), now() FROM fresh ORDER BY email"
        )
        cursor.execute("ANALYZE mailer_contact")
    began = time.monotonic()
    while verification.validate_batch(run.pk):
        pass
    took = time.monotonic() - began
    left = Contact.objects.filter(workspace=workspace, verdict="").count()
    if left:
        raise BenchError(f"{left} of {len(emails)} addresses were left at level {level}")
    return took


if __name__ == "__main__":
    sys.exit(support.run(main))
