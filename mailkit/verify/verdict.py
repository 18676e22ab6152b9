"""From what is known about an address to a verdict: unknown is not invalid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from mailkit.addresses import Address, Fault
from mailkit.providers import provider_of
from mailkit.verify.dns import DomainFacts
from mailkit.verify.domains import is_disposable, suggest_domain, typo_trap
from mailkit.verify.local_parts import breaks_provider_rule
from mailkit.verify.policy import not_probed_because
from mailkit.verify.probe import ProbeResult
from mailkit.verify.replies import ReplyMeaning, classify_other, classify_rcpt
from mailkit.verify.syntax import is_role_account

Level = Literal["quick", "full"]
VerdictName = Literal["valid", "risky", "invalid", "unknown"]
Reason = Literal[
    ReplyMeaning,
    "confirmed",
    "catch_all",
    "catch_all_unknown",
    "role",
    "disposable",
    "possible_typo",
    "bad_syntax",
    "bad_local_part",
    "no_mx",
    "null_mx",
    "bad_mx",
    "servfail",
    "timeout",
    "connection_failed",
    "not_probed",
    "provider_not_probed",
]

# Each reason has one verdict.
REASONS: dict[Reason, VerdictName] = {
    "mailbox_exists": "valid",  # the server accepts it and refuses a made-up one
    "confirmed": "valid",  # its owner answered a letter; no check of ours gives it
    "catch_all": "risky",  # the server accepts a made-up one too
    "catch_all_unknown": "risky",  # accepted; whether a made-up one is too could not be learnt
    "mailbox_full": "risky",  # it exists, today it takes nothing
    "role": "risky",  # it exists, and is read by a group: complaints are likelier
    "disposable": "risky",  # a mailbox to be thrown away
    "possible_typo": "risky",  # a domain that lives off slips of the keyboard
    "bad_syntax": "invalid",
    "bad_local_part": "invalid",  # the provider never handed such a name out
    "no_mx": "invalid",  # NXDOMAIN, or neither MX nor address
    "null_mx": "invalid",  # the domain says that it takes no mail (RFC 7505)
    "bad_mx": "invalid",  # no MX names a possible mail host (RFC 5321 §5.1: an error)
    "mailbox_not_found": "invalid",  # a 5xx about the mailbox
    "servfail": "unknown",
    "timeout": "unknown",  # of the DNS or of the mail server
    "connection_failed": "unknown",  # no mail host took a connection, or it broke
    "greylisted": "unknown",
    "temporary_failure": "unknown",
    "probe_blocked": "unknown",  # the server turns us away, not the address
    "unclear_reply": "unknown",  # a refusal that may be about anything
    "not_probed": "unknown",  # quick level, or probing is not possible from here
    "provider_not_probed": "unknown",  # its answers are untrue, or it punishes who asks
}

_DNS_REASONS: dict[str, Reason] = {
    "nxdomain": "no_mx",
    "no_mx": "no_mx",
    "null_mx": "null_mx",
    "bad_mx": "bad_mx",
    "servfail": "servfail",
    "timeout": "timeout",
}
_RETRIED: frozenset[str] = frozenset(
    ("greylisted", "temporary_failure", "timeout", "servfail", "connection_failed")
)
# The first outlasts the usual greylisting delay (5 minutes), the last most outages.
_DELAYS = (
    timedelta(minutes=5),
    timedelta(minutes=20),
    timedelta(minutes=60),
    timedelta(hours=4),
)
_MAY_BE_ROLE: frozenset[Reason] = frozenset(("mailbox_exists", "not_probed", "provider_not_probed"))
_LONGEST_EVIDENCE = 500


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict rests on: the mail host and its reply, as far as there was one.

    text: one line of at most 500 printable characters. suggestion: the domain that was probably
    meant, where this one looks like a slip of the keyboard.
    """

    host: str | None = None
    code: int | None = None
    text: str = ""
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    verdict: VerdictName
    reason: Reason
    evidence: Evidence


def decide(
    address: Address | Fault,
    facts: DomainFacts | None,
    probe: ProbeResult | None,
    level: Level,
) -> Verdict:
    """Judge one address by its syntax, its domain and, at level `full`, its probe.

    facts: None when the DNS was not asked; probe: None when the server was not asked.
    """
    if isinstance(address, Fault):
        return _verdict("bad_syntax", Evidence(text=address.code))
    if rule := breaks_provider_rule(address.local, address.domain):
        return _verdict("bad_local_part", Evidence(text=_printable(rule)))
    if facts is not None and facts.status in _DNS_REASONS:
        # Of a domain whose servers are only silent nothing is known: it may be anybody's.
        dead = REASONS[_DNS_REASONS[facts.status]] == "invalid"
        meant = suggest_domain(address.domain) if dead else None
        return _verdict(
            _DNS_REASONS[facts.status], Evidence(text=facts.status, suggestion=meant or "")
        )
    found = _unasked(address, facts, level) if probe is None or level == "quick" else _asked(probe)
    return _beyond_the_mailbox(address, facts, found)


def _unasked(address: Address, facts: DomainFacts | None, level: Level) -> Verdict:
    if level == "full" and facts is not None:
        provider = provider_of(facts.domain, facts.hosts)
        if because := not_probed_because(provider, facts.domain, facts.hosts):
            return _verdict("provider_not_probed", Evidence(text=because))
    return _verdict("not_probed", Evidence())


def _asked(probe: ProbeResult) -> Verdict:
    evidence = Evidence(probe.host, probe.code, _printable(probe.text))
    return _verdict(_probe_reason(probe), evidence)


def _beyond_the_mailbox(address: Address, facts: DomainFacts | None, found: Verdict) -> Verdict:
    """What is said against an address whether or not its mailbox exists."""
    if found.verdict == "invalid":
        return found
    if meant := typo_trap(address.domain):
        return _verdict("possible_typo", replace(found.evidence, suggestion=meant))
    if is_disposable(address.domain, facts.hosts if facts else ()):
        return _verdict("disposable", found.evidence)
    if found.reason in _MAY_BE_ROLE and is_role_account(address.local):
        return _verdict("role", found.evidence)
    return found


def retry_after(reason: Reason, attempt: int) -> timedelta | None:
    """How long to wait before the next check; None when another would not help.

    attempt: how many checks were made, 1 after the first. Raises ValueError below 1.
    """
    if attempt < 1:
        raise ValueError("attempt counts from 1")
    if reason not in _RETRIED or attempt > len(_DELAYS):
        return None
    return _DELAYS[attempt - 1]


def _probe_reason(probe: ProbeResult) -> Reason:
    if probe.error == "unsendable":
        return "not_probed"
    if probe.error == "timeout":
        return "timeout"
    if probe.error is not None or probe.code is None:
        return "connection_failed"
    if probe.stage != "rcpt":
        return classify_other(probe.code, probe.enhanced, probe.text)
    meaning = classify_rcpt(probe.code, probe.enhanced, probe.text)
    if meaning == "mailbox_exists" and probe.catch_all is not False:
        return "catch_all_unknown" if probe.catch_all is None else "catch_all"
    return meaning


def _verdict(reason: Reason, evidence: Evidence) -> Verdict:
    return Verdict(REASONS[reason], reason, evidence)


def _printable(text: str) -> str:
    line = " ".join(text.split())
    return "".join(ch if ch.isprintable() else "?" for ch in line)[:_LONGEST_EVIDENCE]
