"""DMARC (RFC 7489, RFC 9989): reading a policy, and whether a domain is aligned with another.

Which domains belong to one organisation receivers tell by the public suffix list or by walking up
the DNS. `organisational_domain` comes near to both without either: the last two labels, and three
where the second last is one under which a country sells names ("co.uk", "com.br", "msk.ru").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

Policy = Literal["none", "quarantine", "reject"]
Mode = Literal["relaxed", "strict"]

# Second labels under two-letter top domains that are sold like a top domain.
_SOLD_BELOW = frozenset(
    (
        *("ac", "co", "com", "edu", "go", "gob", "gov", "gouv", "mil", "ne", "net", "or", "org"),
        *("asn", "gen", "govt", "id", "ind", "info", "firm", "ltd", "plc", "sch"),
    )
)
# Others, by top domain.
_SOLD_IN = {
    "br": frozenset(("art", "blog", "eco", "adv", "eng", "ind", "jus", "leg", "pro", "tv")),
    "jp": frozenset(("ad", "ed", "gr", "lg")),
    "nz": frozenset(("geek", "iwi", "kiwi", "maori", "school")),
    "pl": frozenset(("biz", "waw", "warszawa", "krakow", "gdansk", "poznan", "wroclaw")),
    "ru": frozenset(("msk", "spb", "nov", "pp")),
    "tr": frozenset(("bel", "gen", "web", "biz", "k12", "av", "dr", "pol", "name", "tel")),
    "ua": frozenset(("kiev", "kyiv", "kharkov", "lviv", "odessa", "od", "dp", "in")),
    "uk": frozenset(("me", "nhs", "police")),
    "za": frozenset(("web", "law", "nom")),
}
_TAG = re.compile(r"\s*([A-Za-z0-9_]+)\s*=\s*(.*?)\s*", re.S)
_POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """`policy` is that of the domain itself, `below` that of the names under it."""

    policy: Policy
    below: Policy
    dkim: Mode = "relaxed"
    spf: Mode = "relaxed"


def records_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Those of the TXT records at a _dmarc name that mean DMARC."""
    return tuple(text for text in texts if re.match(r"v\s*=\s*DMARC1\s*(;|$)", text))


def parse_record(text: str) -> DmarcRecord | None:
    """None for a record that receivers do not follow; unknown tags do not count. Never raises.

    RFC 9989 takes a record without p= for "none", RFC 7489 for broken: so it is taken here.
    """
    if not records_of([text]):
        return None
    tags: dict[str, str] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        tag = _TAG.fullmatch(part)
        if tag is None:
            return None
        tags.setdefault(tag[1].lower(), tag[2].lower())
    policy = tags.get("p", "")
    if policy not in _POLICIES:
        return None
    below = tags.get("sp", policy)
    modes = {"s": "strict"}
    return DmarcRecord(
        policy=cast(Policy, policy),
        below=cast(Policy, below if below in _POLICIES else policy),
        dkim=cast(Mode, modes.get(tags.get("adkim", "r"), "relaxed")),
        spf=cast(Mode, modes.get(tags.get("aspf", "r"), "relaxed")),
    )


def organisational_domain(domain: str) -> str:
    """The domain that somebody registered, of which this is part."""
    labels = domain.lower().rstrip(".").split(".")
    top, second = labels[-1], labels[-2] if len(labels) > 1 else ""
    sold = len(top) == 2 and (second in _SOLD_BELOW or second in _SOLD_IN.get(top, ()))
    return ".".join(labels[-3 if sold else -2 :])


def aligned(domain: str, with_from: str, mode: Mode) -> bool:
    """Whether a domain that SPF or DKIM proved stands for the domain of From."""
    domain, with_from = domain.lower().rstrip("."), with_from.lower().rstrip(".")
    if mode == "strict" or not domain:
        return bool(domain) and domain == with_from
    return organisational_domain(domain) == organisational_domain(with_from)
