"""What the large providers let stand before the @ of their own domains.

Only what a provider never handed out counts: names from before its present rules are still in
use, so that today's shortest length is no proof where it was shorter once.
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
    # What does not count towards the lengths.
    counted: Callable[[str], str] = str


def _without_dots(name: str) -> str:
    return name.replace(".", "")


_RULES = {
    "gmail": Rule(
        re.compile(r"[a-z0-9.]+"),
        "https://support.google.com/mail/answer/9211434: 6 to 30 letters, digits and dots, and "
        "dots do not count",
        shortest=6,
        longest=30,
        counted=_without_dots,
    ),
    # Today a name begins with a letter; those from the days of Hotmail need not.
    "microsoft": Rule(
        re.compile(r"[a-z0-9._-]+"),
        "https://support.microsoft.com/account-billing: letters, digits, '.', '-' and '_'",
    ),
    # With a hyphen it is one of Yahoo's disposable addresses, base-keyword.
    "yahoo": Rule(
        re.compile(r"[a-z0-9_.]{1,32}(?:-[a-z0-9_.]+)?"),
        "https://help.yahoo.com/kb/SLN2057.html: up to 32 letters, digits, '_' and '.'",
    ),
    # Names of two letters are old; no name has two special characters in a row.
    "mailru": Rule(
        re.compile(r"[a-z0-9](?:[._-]?[a-z0-9])*[._-]?"),
        "https://help.mail.ru/mail/account/reg: up to 31 letters, digits, '_', '.' and '-'",
        longest=31,
    ),
    # A telephone number is an address too, so a digit may come first.
    "yandex": Rule(
        re.compile(r"[a-z0-9](?:[.-]?[a-z0-9])*"),
        "https://yandex.ru/support/id/authorization/registration.html: up to 30 letters, digits, "
        "'.' and '-'",
        longest=30,
    ),
    # Hide My Email makes names with dots, hyphens and underscores.
    "apple": Rule(
        re.compile(r"[a-z0-9._-]+"),
        "https://support.apple.com/guide/icloud: letters, digits, '.' and '_'",
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
    length = len(rule.counted(name))
    if rule.allowed.fullmatch(name) and rule.shortest <= length <= rule.longest:
        return None
    return rule.source
