"""Verifying addresses: syntax, the domain's DNS, the mail server, and the verdict from these."""

from __future__ import annotations

from mailkit.verify.dns import (
    DomainFacts,
    DomainStatus,
    lookup_domain,
    make_resolver,
    resolve_host,
)
from mailkit.verify.probe import ProbeResult, probe_domain
from mailkit.verify.syntax import is_role_account
from mailkit.verify.verdict import REASONS, Evidence, Level, Reason, Verdict, decide, retry_after

__all__ = [
    "REASONS",
    "DomainFacts",
    "DomainStatus",
    "Evidence",
    "Level",
    "ProbeResult",
    "Reason",
    "Verdict",
    "decide",
    "is_role_account",
    "lookup_domain",
    "make_resolver",
    "probe_domain",
    "resolve_host",
    "retry_after",
]
