"""Which opens and clicks of a letter no person made; docs/tracking.md has the rules' sources.

A class is a code: `honeypot`, `apple` and `gmail` (mail programs that fetch pictures by
themselves), `scanner` (known by its agent or network), `early` (sooner after the hand-over than a
person reads), `burst` (links followed faster than a person does), and empty for people.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

HONEYPOT, APPLE, GMAIL = "honeypot", "apple", "gmail"
SCANNER, EARLY, BURST = "scanner", "early", "burst"
# Fetched for a mail program that has the letter. The others may look at it before it is accepted.
ON_DELIVERY = (APPLE, GMAIL)
# The number of the link that no person sees.
HONEYPOT_LINK = 0

EARLY_SECONDS = 5.0
# The ledger is written after the hand-over, so that a request may seem to come before it. Longer
# before it there was an earlier one, of which the server's answer was lost.
BEFORE_SECONDS = 60.0
# So many links within so many seconds.
BURSTS = ((2, 1.0), (4, 10.0))
# What a machine did marks what came from its address so long before and after.
NEAR_SECONDS = 60.0

_APPLE_PROXY = "Mozilla/5.0"
_GMAIL_PREFETCH = ("Edge/12.246 Mozilla/5.0", "Gmail-content-sampling")
# They fetch a picture when a person looks at it, through addresses that all share.
_IMAGE_PROXIES = ("GoogleImageProxy", "YahooMailProxy")
_SCANNERS = re.compile(
    r"(?<!cu)bot\b|crawler|spider|scanner|headless|phantomjs|preview|facebookexternalhit|whatsapp"
    r"|barracuda|proofpoint|mimecast|forcepoint|ironport|symantec|messagelabs|sophos|trend ?micro"
    r"|fireeye|fortinet|mcafee|kaspersky|safelinks"
    r"|curl/|wget/|python|go-http-client|java/|apache-httpclient|okhttp|libwww|node-fetch|axios",
    re.IGNORECASE,
)
_NETWORKS = tuple(
    ip_network(net)
    for net in (
        # Proofpoint.
        *("67.231.144.0/20", "208.84.64.0/22", "208.86.200.0/22", "62.209.50.0/24"),
        *("91.209.104.0/24", "208.36.134.0/24", "209.66.100.64/26"),
        # Barracuda.
        *("209.222.80.0/21", "64.235.144.0/20"),
    )
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A request for a letter's pixel, or for its link with a number (None: the pixel).

    `at` in seconds of any clock; `agent` and `address` as the request had them, empty if unknown.
    """

    at: float
    link: int | None
    agent: str
    address: str


def classify(hits: Sequence[Hit], handed_over: float | None) -> list[str]:
    """The class of each request for one letter, in their order.

    `hits` are all that are known, in any order: what came later may tell what an earlier one was.
    `handed_over` is when the server took the letter, on the same clock.
    """
    bursts = _bursts(hits)
    classes = [_by_itself(hit, handed_over) for hit in hits]
    for number, known in enumerate(classes):
        if not known and number in bursts:
            classes[number] = BURST
    evidence = [
        (hit, code)
        for hit, code in zip(hits, classes, strict=True)
        if code and code not in ON_DELIVERY and not is_image_proxy(hit.agent)
    ]
    return [known or _by_neighbour(hit, evidence) for hit, known in zip(hits, classes, strict=True)]


@lru_cache(maxsize=10_000)
def is_image_proxy(agent: str) -> bool:
    """Whether the agent and the address are those of a proxy, and tell nothing of the person."""
    return agent == _APPLE_PROXY or any(word in agent for word in _IMAGE_PROXIES + _GMAIL_PREFETCH)


def _by_itself(hit: Hit, handed_over: float | None) -> str:
    known = _known(hit.agent, hit.address, hit.link)
    if known:
        return known
    if handed_over is not None and -BEFORE_SECONDS <= hit.at - handed_over < EARLY_SECONDS:
        return GMAIL if "GoogleImageProxy" in hit.agent else EARLY
    return ""


@lru_cache(maxsize=10_000)
def _known(agent: str, address: str, link: int | None) -> str:
    """What the request alone tells, whenever it came."""
    if link == HONEYPOT_LINK:
        return HONEYPOT
    if any(word in agent for word in _GMAIL_PREFETCH):
        return GMAIL
    if agent == _APPLE_PROXY and link is None:
        return APPLE
    if any(word in agent for word in _IMAGE_PROXIES) and link is None:
        return ""
    # Browsers and mail programs always say more than that.
    if len(agent) <= len(_APPLE_PROXY) or _SCANNERS.search(agent) or _in_networks(address):
        return SCANNER
    return ""


def _in_networks(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in net for net in _NETWORKS)


def _bursts(hits: Sequence[Hit]) -> set[int]:
    """The clicks that were made together with more other links than a person follows so fast."""
    clicks = sorted((hit.at, number) for number, hit in enumerate(hits) if hit.link is not None)
    times = [at for at, _number in clicks]
    found: set[int] = set()
    for links, seconds in BURSTS:
        for first, at in enumerate(times):
            window = clicks[first : bisect_right(times, at + seconds)]
            if len({hits[number].link for _at, number in window}) >= links:
                found.update(number for _at, number in window)
    return found


def _by_neighbour(hit: Hit, evidence: Sequence[tuple[Hit, str]]) -> str:
    """The class of what came from the same place at about the same time.

    Behind one address there may be people and the machine that looks at their mail, so the agent
    must be the same too. What followed the hidden link changes its agent on purpose.
    """
    if is_image_proxy(hit.agent):
        return ""
    codes = {
        code
        for other, code in evidence
        if other.address == hit.address
        and abs(other.at - hit.at) <= NEAR_SECONDS
        and (code == HONEYPOT or other.agent == hit.agent)
    }
    return min(codes, key=_WEIGHT.index) if codes else ""


_WEIGHT = (HONEYPOT, SCANNER, BURST, EARLY)
