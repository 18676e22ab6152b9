"""What the large providers let stand before the @ of their own domains.

Only what a provider never handed out counts: names from before its present rules are still in
use, so that today's rule is no proof where another was in force once. Rules that no source
confirms are left out (Yandex), and docs/verification.md says which those are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mailkit.providers import PROVIDERS


@dataclass(frozen=True, slots=True)
class Rule:
    """`allowed` describes the name without a subaddress; `source` says where that comes from."""

    allowed: re.Pattern[str]
    source: str
    shortest: int = 1
    longest: int = 64
    # What is left of a name for `longest`.
    counted_to_longest: Callable[[str], str] = str


def _without_dots(name: str) -> str:
    return name.replace(".", "")


_RULES = {
    # Each length is the more lenient one: whether dots count towards it is said nowhere.
    "gmail": Rule(
        re.compile(r"[a-z0-9.]+"),
        "https://support.google.com/mail/answer/9211434: 6 to 30 letters, digits and dots",
        shortest=6,
        longest=30,
        counted_to_longest=_without_dots,
    ),
    # Today a name begins with a letter; those from the days of Hotmail need not.
    "microsoft": Rule(
        re.compile(r"[a-z0-9._-]+"),
        "https://www.ttcs.tt/2013/05/21/can-email-addresses-be-just-a-few-characters/: letters, "
        "digits, '.', '-' and '_'",
    ),
    # With a hyphen it is one of Yahoo's disposable addresses, of whose length nothing is known.
    "yahoo": Rule(
        re.compile(r"[a-z0-9_.-]+"),
        "https://verb.fyi/2008/08/29/webmail-username-criteria/: letters, digits, '_' and '.'",
    ),
    # Today a name has at least 4 characters, and '.', '-' and '_' stand alone inside it.
    "mailru": Rule(
        re.compile(r"[a-z0-9._-]+"),
        "https://help.mail.ru/engmail-help/registration/namepass: up to 31 letters, digits, '.', "
        "'-' and '_'",
        longest=31,
    ),
    # Hide My Email makes names that are longer than the 20 characters of others.
    "apple": Rule(
        re.compile(r"[a-z0-9._-]+"),
        "https://verb.fyi/2008/08/29/webmail-username-criteria/ and Apple's help on aliases: from "
        "3 letters, digits, '.', '-' and '_'",
        shortest=3,
    ),
}
# Domains that a provider took over with the names of others in them.
_WITH_OTHER_RULES = frozenset(
    (
        *("att.net", "sbcglobal.net", "bellsouth.net", "verizon.net", "aol.com", "aim.com"),
        *("passport.com", "vk.com", "internet.ru", "xmail.ru", "mac.com"),
    )
)
_RULE_OF_DOMAIN = {
    domain: rule
    for key, rule in _RULES.items()
    for domain in PROVIDERS[key].domains
    if domain not in _WITH_OTHER_RULES
}


def breaks_provider_rule(local: str, domain: str) -> str | None:
    """The source of the provider's rule that no mailbox called `local` can meet, else None.

    local and domain as in an `Address`. A subaddress (from the first `+`) does not count.
    """
    rule = _RULE_OF_DOMAIN.get(domain)
    if rule is None:
        return None
    name = local.partition("+")[0]
    long_enough = len(name) >= rule.shortest
    short_enough = len(rule.counted_to_longest(name)) <= rule.longest
    if rule.allowed.fullmatch(name) and long_enough and short_enough:
        return None
    return rule.source
