"""Which providers are asked about mailboxes, and how gently.

An answer to RCPT is worth having where it is true and costs us nothing. Some accept everything
and bounce later; some answer who asks too much by refusing their mail, which is the very mail
that the marketer wants delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailkit.providers import OTHER, PROVIDERS


@dataclass(frozen=True, slots=True)
class Pace:
    """What all workers together may ask of one provider: connections at once, RCPT a minute."""

    connections: int
    per_minute: int


# Why a provider is not asked, by its key in the table of providers; where that is known from, and
# what nobody confirms, is in docs/verification.md.
NOT_PROBED: dict[str, str] = {
    "microsoft": "Outlook.com and Hotmail block servers of little reputation (S3140, S3150)",
    "yahoo": "accepts every mailbox at RCPT, and defers unexpected servers (421 4.7.0 TSS04)",
    "yahoo-japan": "accepts at RCPT and bounces later, as far as we know",
    "yandex": "has 550 5.7.1 both for mailboxes and for senders, as far as we know",
    "t-online": "refuses every server that it does not know (554 bad reputation)",
    "orange": "suspends servers beyond a few connections, each time for longer (421 OFR004_104)",
    "qq": "answers 550 to whoever is beyond limits that it keeps secret",
    "netease": "bars servers that name many mailboxes that do not exist (421 HL:REP)",
    "mimecast": "each customer chooses whether any address is accepted",
    "proofpoint": "a gateway answers, not the mailbox, and rates servers for all its customers",
    "barracuda": "a gateway answers, not the mailbox, as each customer has set it up",
}
# Microsoft 365 answers for companies' domains; only the consumers' servers punish.
_CONSUMER_MX = {"microsoft": ("olc.protection.outlook.com",)}

_PACES = {
    # Gmail answers truly and slows down who asks fast (421 4.7.28).
    "gmail": Pace(connections=3, per_minute=120),
    "microsoft": Pace(connections=5, per_minute=300),
    "apple": Pace(connections=2, per_minute=60),
    "mailru": Pace(connections=2, per_minute=60),
    "rambler": Pace(connections=2, per_minute=60),
}
_DEFAULT_PACE = Pace(connections=5, per_minute=300)


def not_probed_because(provider: str, domain: str, mx_hosts: Iterable[str] = ()) -> str | None:
    """Why the domain's server is not asked; None where it is."""
    consumers = _CONSUMER_MX.get(provider)
    if consumers and domain not in PROVIDERS[provider].domains:
        hosts = tuple(mx_hosts)
        if not any(host.endswith(suffix) for host in hosts for suffix in consumers):
            return None
    return NOT_PROBED.get(provider)


def pace_key(provider: str, mx_hosts: Sequence[str]) -> str:
    """Under which name questions are counted: the provider's, else whoever runs the first host.

    That is taken to be the last two labels of its name: too few for `mx.firm.co.uk`, where many
    firms then share one pace, which is slower and harms nobody.
    """
    if provider != OTHER or not mx_hosts:
        return provider
    return ".".join(mx_hosts[0].split(".")[-2:])


def pace_of(key: str) -> Pace:
    """The pace for a `pace_key`."""
    return _PACES.get(key, _DEFAULT_PACE)
