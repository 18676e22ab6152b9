"""The sandbox world: which names exist under `sandbox.test`, and how they behave.

`BEHAVIOURS` is the one table. The DNS server, the SMTP server and the page docs/sandbox.md all
follow it. `.test` is reserved (RFC 6761), so none of these names can belong to anyone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

ROOT = "sandbox.test"

Verdict = Literal["valid", "invalid", "risky", "unknown"]


class Dns(Enum):
    """What the DNS server says about a domain; the value is the wording in the documentation."""

    MX = "MX"
    NULL_MX = "null MX (RFC 7505), and an A record that must not be used"
    ADDRESS_ONLY = "no MX, an A record"
    ALIAS = "a CNAME to a domain with MX"
    BAD_MX = "MX that names `localhost`"
    NO_DATA = "exists, neither MX nor A"
    NO_NAME = "NXDOMAIN"
    SERVFAIL = "SERVFAIL"
    SILENT = "never answers"
    FORWARDED = "passed on to the system's resolvers"


class Smtp(Enum):
    """What the SMTP server does with a recipient."""

    ACCEPT = "accepts and stores the message"
    REFUSE = "refuses RCPT"
    GREYLIST = "refuses RCPT until the sender comes back after the greylisting delay, then accepts"
    SILENT = "never answers RCPT"
    DROP_ONCE = (
        "accepts RCPT; the first time a Message-ID comes for the recipient, breaks the connection "
        "in the middle of DATA and stores nothing; accepts it the next time"
    )
    DROP = "accepts RCPT, breaks the connection in the middle of DATA each time, stores nothing"
    REPORT_BACK = (
        "accepts and stores the message, then sends a delivery report to its return path: "
        "no such mailbox"
    )
    COMPLAIN = "accepts and stores the message, then sends a complaint to its return path"
    LOSE_REPLY = "stores the message, then closes the connection without an answer to the final dot"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row of the world.

    `domain` is the label before `sandbox.test` that brings the behaviour about, `word` the local
    part that does so where the domain has `mailboxes`, that is where the local part is looked at.
    `reply` is the whole SMTP reply to RCPT for REFUSE and GREYLIST. `verdict` and `meaning` are
    what verification makes of an address.
    """

    domain: str | None
    word: str | None
    dns: Dns
    smtp: Smtp
    verdict: Verdict
    meaning: str
    reply: str = ""
    mailboxes: bool = False


_NO_SUCH_USER = "550 5.1.1 No such user here"

INBOX = Behaviour("inbox", None, Dns.MX, Smtp.ACCEPT, "valid", "a normal mailbox", mailboxes=True)
NO_SUCH = Behaviour(
    "nosuch", "nosuch", Dns.MX, Smtp.REFUSE, "invalid", "no such mailbox", _NO_SUCH_USER
)
NXDOMAIN = Behaviour(
    "nxdomain",
    None,
    Dns.NO_NAME,
    Smtp.REFUSE,
    "invalid",
    "no such domain",
    "550 5.1.2 Domain not found",
)
OUTSIDE = Behaviour(
    None, None, Dns.FORWARDED, Smtp.ACCEPT, "unknown", "depends on the real DNS; mail is caught"
)

BEHAVIOURS: tuple[Behaviour, ...] = (
    INBOX,
    NO_SUCH,
    Behaviour(
        "disabled",
        "disabled",
        Dns.MX,
        Smtp.REFUSE,
        "invalid",
        "a mailbox that was closed",
        "550 5.2.1 This mailbox is disabled",
    ),
    Behaviour(
        "denied",
        "denied",
        Dns.MX,
        Smtp.REFUSE,
        "invalid",
        "no such mailbox, in the words of Exchange Online",
        "550 5.4.1 Recipient address rejected: Access denied",
    ),
    Behaviour(
        "full",
        "full",
        Dns.MX,
        Smtp.REFUSE,
        "risky",
        "exists, mailbox full",
        "552 5.2.2 Mailbox full",
    ),
    Behaviour(
        "catchall", None, Dns.MX, Smtp.ACCEPT, "risky", "catch-all: random local parts exist too"
    ),
    Behaviour(
        "grey",
        "grey",
        Dns.MX,
        Smtp.GREYLIST,
        "unknown",
        "greylisted; valid when tried again after the delay",
        "451 4.7.1 Greylisted, try again later",
        mailboxes=True,
    ),
    Behaviour(
        "busy",
        "busy",
        Dns.MX,
        Smtp.REFUSE,
        "unknown",
        "always a temporary failure",
        "451 4.3.0 Temporary failure, try again later",
    ),
    Behaviour(
        "blocked",
        "blocked",
        Dns.MX,
        Smtp.REFUSE,
        "unknown",
        "about the sender, not about the recipient",
        "550 5.7.1 Client host [127.0.0.1] is blocked by our policy",
    ),
    Behaviour(
        "policy",
        "policy",
        Dns.MX,
        Smtp.REFUSE,
        "unknown",
        "about the sender, in words that name no one",
        "554 5.7.1 Refused for policy reasons",
    ),
    Behaviour("timeout", "slow", Dns.MX, Smtp.SILENT, "unknown", "the mail server is silent"),
    Behaviour(
        "drop",
        "drop",
        Dns.MX,
        Smtp.DROP_ONCE,
        "valid",
        "the trouble shows only when mail is sent",
        mailboxes=True,
    ),
    Behaviour(
        "dropalways",
        "dropalways",
        Dns.MX,
        Smtp.DROP,
        "valid",
        "the trouble shows only when mail is sent",
        mailboxes=True,
    ),
    Behaviour(
        "lost",
        "lost",
        Dns.MX,
        Smtp.LOSE_REPLY,
        "valid",
        "the trouble shows only when mail is sent",
        mailboxes=True,
    ),
    Behaviour(
        "latebounce",
        "latebounce",
        Dns.MX,
        Smtp.REPORT_BACK,
        "valid",
        "the trouble shows only after mail is sent",
        mailboxes=True,
    ),
    Behaviour(
        "complain",
        "complain",
        Dns.MX,
        Smtp.COMPLAIN,
        "valid",
        "a mailbox whose owner calls everything spam",
        mailboxes=True,
    ),
    Behaviour(
        "aonly",
        None,
        Dns.ADDRESS_ONLY,
        Smtp.ACCEPT,
        "valid",
        "a normal mailbox at the implicit MX (RFC 5321, 5.1)",
        mailboxes=True,
    ),
    Behaviour(
        "alias",
        None,
        Dns.ALIAS,
        Smtp.ACCEPT,
        "valid",
        "a normal mailbox behind an alias",
        mailboxes=True,
    ),
    Behaviour(
        "badmx",
        None,
        Dns.BAD_MX,
        Smtp.REFUSE,
        "invalid",
        "no MX names a possible mail server",
        "550 5.1.2 Domain has no mail server",
    ),
    Behaviour(
        "nullmx",
        None,
        Dns.NULL_MX,
        Smtp.REFUSE,
        "invalid",
        "the domain takes no mail",
        "556 5.1.10 Recipient address has null MX",
    ),
    Behaviour(
        "nomx",
        None,
        Dns.NO_DATA,
        Smtp.REFUSE,
        "invalid",
        "the domain has no mail server",
        "550 5.1.2 Domain has no mail server",
    ),
    NXDOMAIN,
    Behaviour(
        "servfail",
        None,
        Dns.SERVFAIL,
        Smtp.REFUSE,
        "unknown",
        "DNS failure",
        "451 4.4.3 DNS failure, try again later",
    ),
    Behaviour(
        "dnstimeout",
        None,
        Dns.SILENT,
        Smtp.REFUSE,
        "unknown",
        "DNS time-out",
        "451 4.4.3 DNS time-out, try again later",
    ),
    OUTSIDE,
)

_BY_DOMAIN = {row.domain: row for row in BEHAVIOURS if row.domain}
_BY_WORD = {row.word: row for row in BEHAVIOURS if row.word}

# What senders publish: letters from these names pass SPF and DMARC when the sandbox relays them.
_SPF = "v=spf1 ip4:127.0.0.1 -all"
TEXTS = {
    ROOT: (_SPF,),
    f"inbox.{ROOT}": (_SPF,),
    f"returns.{ROOT}": (_SPF,),
    f"_dmarc.{ROOT}": ("v=DMARC1; p=none",),
}

# A behaviour word counts only where it ends: dropbox@ and greyson@ are people.
_WORD = re.compile(rf"({'|'.join(_BY_WORD)})(?=$|[0-9._+-])", re.IGNORECASE)
_ALTERNATION = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])", re.IGNORECASE)
_SEPARATOR = re.compile(r"[._+-]")
_RANDOM_LENGTH = 12
_RANDOM_ALTERNATIONS = 3


def domain_behaviour(domain: str) -> Behaviour:
    """The row for a domain name, in any case, with or without the trailing dot."""
    labels = domain.lower().rstrip(".").split(".")
    if labels[-2:] != ["sandbox", "test"]:
        return OUTSIDE
    if len(labels) == 2:
        return INBOX
    return _BY_DOMAIN.get(labels[-3], NXDOMAIN)


def recipient_behaviour(local_part: str, domain: str) -> Behaviour:
    """The row for an address. The local part matters only where the domain has mailboxes."""
    row = domain_behaviour(domain)
    if not row.mailboxes:
        return row
    if word := _WORD.match(local_part):
        return _BY_WORD[word[1].lower()]
    return NO_SUCH if looks_random(local_part) else row


def looks_random(local_part: str) -> bool:
    """Whether a local part is one that no person has, such as a catch-all check makes up.

    True when a word of it (a piece between `.`, `_`, `-` and `+`) has 12 or more characters in
    which letters and digits change over three or more times: `x7f3k9q2m4w8z1`, but not
    `anna.petrova17` or `ivan2000petrov`. Of random 32-digit hexadecimal strings, about one
    in 70,000 escapes.
    """
    return any(
        len(word) >= _RANDOM_LENGTH and len(_ALTERNATION.findall(word)) >= _RANDOM_ALTERNATIONS
        for word in _SEPARATOR.split(local_part)
    )


def mail_hosts(domain: str) -> tuple[str, ...]:
    """The MX hosts of a domain, the preferred first: the same for all domains of one kind."""
    kind = domain_behaviour(domain).domain
    return (f"mx1.{kind}.{ROOT}", f"mx2.{kind}.{ROOT}")


def is_mail_host(name: str) -> bool:
    return name.lower().rstrip(".") in mail_hosts(name)


def markdown_table() -> Iterator[str]:
    """The lines of the table in docs/sandbox.md (`python -m apps.sandbox.world`)."""
    yield "| Domain | Mailbox | DNS | SMTP | Verification |"
    yield "|---|---|---|---|---|"
    for row in BEHAVIOURS:
        yield f"| {_domain_cell(row)} | {_mailbox_cell(row)} | {row.dns.value} |" + (
            f" {_smtp_cell(row)} | {row.verdict}: {row.meaning} |"
        )


def _domain_cell(row: Behaviour) -> str:
    if row is OUTSIDE:
        return "any name outside `sandbox.test`"
    if row is INBOX:
        return f"`inbox.{ROOT}`, `{ROOT}`"
    if row is NXDOMAIN:
        return f"`nxdomain.{ROOT}`, any other name under `{ROOT}`"
    return f"`{row.domain}.{ROOT}`"


def _mailbox_cell(row: Behaviour) -> str:
    return f"`{row.word}@{ROOT}`" if row.word else ""


def _smtp_cell(row: Behaviour) -> str:
    return f"{row.smtp.value}: `{row.reply}`" if row.reply else row.smtp.value


if __name__ == "__main__":
    print("\n".join(markdown_table()))
