"""When a campaign stops by itself: too many bounces, blocks or complaints.

`verdict` is a pure function of the ledger's counts. A Stop is stored as text, with numbers in
place of words, and put into words in the reader's language by `explain`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from apps.senders.templatetags.senders import provider_label

Code = Literal["bounces", "blocks", "complaints"]
# (provider, status, fault): how many letters. Complaints have the status "complained", which
# counts letters once more that were sent.
Counts = Mapping[tuple[str, str, str], int]

COMPLAINED = "complained"
BLOCKS = frozenset({"spam", "policy", "authentication", "relay", "content", "size"})
_ANSWERED = frozenset({"sent", "failed"})
_WAITING = frozenset({"waiting", "queued", "handing_off", "deferred"})
WHOLE = ""


class Policy(Protocol):
    """A row of SendingPolicy, or one that is not saved."""

    hard_bounce_percent: float
    block_percent: float
    complaint_percent: float
    least_sample: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Why to stop: `number` of `answered` letters, where `limit` percent are borne.

    provider: whose letters wait; "" is the whole campaign.
    """

    provider: str
    code: Code
    number: int
    answered: int
    limit: float

    @property
    def percent(self) -> float:
        return 100 * self.number / self.answered

    def stored(self) -> str:
        return json.dumps(asdict(self))


def verdict(counts: Counts, policy: Policy, since: Counts | None = None) -> list[Stop]:
    """The stops that the counts call for: of single providers, else of the whole campaign.

    since: the counts when a person last let the campaign go on, so that the same letters do not
    stop it again. Where every provider that still has letters would stop, the campaign does.
    """
    new = {key: number - (since or {}).get(key, 0) for key, number in counts.items()}
    stops: dict[str, Stop] = {}
    for provider in sorted({key[0] for key in new}):
        stop = _judge(provider, _of({provider}, new), policy)
        if stop:
            stops[provider] = stop
    going = {key[0] for key, number in counts.items() if key[1] in _WAITING and number > 0}
    rest = {key[0] for key in new} - set(stops)
    whole = _judge(WHOLE, _of(rest, new), policy)
    if not whole and stops and going <= set(stops):
        whole = _judge(WHOLE, _of(set(stops), new), policy)
    return [whole] if whole else list(stops.values())


def explain(stored: str) -> str:
    """A stored stop in words; any other text as it is."""
    try:
        stop = Stop(**json.loads(stored))
        numbers = {
            "number": number_format(stop.number, use_l10n=True, force_grouping=True),
            "answered": number_format(stop.answered, use_l10n=True, force_grouping=True),
            "percent": _percent(stop.percent),
            "limit": _percent(stop.limit),
            "provider": provider_label(stop.provider),
        }
        return _sentence(stop) % numbers
    except (ValueError, TypeError, KeyError, ZeroDivisionError):
        return stored


def _of(providers: set[str], counts: Counts) -> dict[tuple[str, str], int]:
    """The counts of some providers by status and fault."""
    found: dict[tuple[str, str], int] = {}
    for (provider, status, fault), number in counts.items():
        if provider in providers:
            found[status, fault] = found.get((status, fault), 0) + number
    return found


def _judge(provider: str, counts: Mapping[tuple[str, str], int], policy: Policy) -> Stop | None:
    answered = sum(number for (status, _fault), number in counts.items() if status in _ANSWERED)
    if answered < max(1, policy.least_sample):
        return None
    numbers: dict[Code, tuple[int, float]] = {
        "complaints": (
            sum(number for (status, _fault), number in counts.items() if status == COMPLAINED),
            policy.complaint_percent,
        ),
        "blocks": (
            sum(counts.get(("failed", fault), 0) for fault in BLOCKS),
            policy.block_percent,
        ),
        "bounces": (counts.get(("failed", "mailbox"), 0), policy.hard_bounce_percent),
    }
    for code, (number, limit) in numbers.items():
        if number * 100 > limit * answered:
            return Stop(provider, code, number, answered, limit)
    return None


def _sentence(stop: Stop) -> str:
    if stop.provider:
        return {
            "bounces": _(
                "%(provider)s: %(percent)s of the addresses do not exist (%(number)s of "
                "%(answered)s letters; your limit is %(limit)s). Check the list before you go on."
            ),
            "blocks": _(
                "%(provider)s: %(percent)s of the letters were blocked (%(number)s of "
                "%(answered)s; your limit is %(limit)s). Look at the replies in the report."
            ),
            "complaints": _(
                "%(provider)s: %(percent)s of the recipients complained of spam (%(number)s of "
                "%(answered)s letters; your limit is %(limit)s)."
            ),
        }[stop.code]
    return {
        "bounces": _(
            "%(percent)s of the addresses do not exist (%(number)s of %(answered)s letters; your "
            "limit is %(limit)s). Check the list before you go on."
        ),
        "blocks": _(
            "%(percent)s of the letters were blocked (%(number)s of %(answered)s; your limit is "
            "%(limit)s). Look at the replies in the report."
        ),
        "complaints": _(
            "%(percent)s of the recipients complained of spam (%(number)s of %(answered)s "
            "letters; your limit is %(limit)s)."
        ),
    }[stop.code]


def _percent(value: float) -> str:
    places = 2 if value < 1 else 1
    return f"{number_format(round(value, places), use_l10n=True)} %"
