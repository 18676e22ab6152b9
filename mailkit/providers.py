"""Who runs a mailbox, and what these providers take from one sender.

Recipients are grouped by the provider whose servers decide (MX rollup), since that is who slows
a sender down or blocks it. A domain of its own that is hosted at a provider is told by its MX.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider takes; None is no limit that it names.

    `connections` and `messages_per_connection` are for the server that speaks to the provider.
    """

    connections: int | None = None
    messages_per_connection: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """`source` says where the limits come from; empty where there are none."""

    key: str
    label: str
    domains: tuple[str, ...] = ()
    mx_suffixes: tuple[str, ...] = ()
    limits: Limits = Limits()
    source: str = ""


# KumoMTA, Apache License 2.0, https://github.com/KumoCorp/kumomta: the numbers of its traffic
# shaping rules in assets/policy-extras/shaping.toml and, contributed by its community,
# assets/community/shaping.toml.
_KUMO = "KumoMTA policy-extras/shaping.toml"
_KUMO_COMMUNITY = "KumoMTA community/shaping.toml"

_TABLE = (
    Provider(
        "gmail",
        "Gmail",
        ("gmail.com", "googlemail.com"),
        ("google.com", "googlemail.com", "psmtp.com"),
        Limits(connections=5, messages_per_connection=50),
        f"{_KUMO}; https://support.google.com/mail/answer/81126 asks to raise volume slowly",
    ),
    Provider(
        "microsoft",
        "Microsoft (Outlook, Hotmail, Microsoft 365)",
        ("outlook.com", "hotmail.com", "live.com", "msn.com", "hotmail.co.uk", "hotmail.fr",
         "hotmail.de", "hotmail.it", "hotmail.es", "live.co.uk", "live.fr", "live.nl", "live.ru",
         "outlook.fr", "outlook.de", "outlook.es", "outlook.it", "passport.com"),
        ("protection.outlook.com", "mx.microsoft", "hotmail.com"),
        Limits(connections=5, messages_per_connection=50),
        f"{_KUMO}; https://sendersupport.olc.protection.outlook.com/pm/Policies",
    ),
    Provider(
        "yahoo",
        "Yahoo and AOL",
        ("yahoo.com", "ymail.com", "rocketmail.com", "myyahoo.com", "yahoo.co.uk", "yahoo.fr",
         "yahoo.de", "yahoo.it", "yahoo.es", "yahoo.ca", "yahoo.in", "yahoo.co.in",
         "yahoo.com.br", "yahoo.com.au", "yahoo.com.mx", "aol.com", "aim.com", "verizon.net",
         "att.net", "sbcglobal.net", "bellsouth.net"),
        ("yahoodns.net",),
        Limits(messages_per_connection=20),
        f"{_KUMO} (given by Yahoo); https://senders.yahooinc.com/best-practices",
    ),
    Provider(
        "yahoo-japan",
        "Yahoo Japan",
        ("yahoo.co.jp", "ybb.ne.jp"),
        ("mail.yahoo.co.jp",),
        Limits(connections=2, messages_per_connection=20, per_minute=600),
        f"{_KUMO_COMMUNITY} (10 a second)",
    ),
    Provider(
        "apple",
        "Apple iCloud",
        ("icloud.com", "me.com", "mac.com"),
        ("icloud.com",),
        Limits(connections=10, messages_per_connection=5),
        f"{_KUMO}; https://support.apple.com/en-us/102322",
    ),
    Provider(
        "mailru",
        "Mail.ru",
        ("mail.ru", "inbox.ru", "list.ru", "bk.ru", "internet.ru", "xmail.ru", "vk.com"),
        ("mail.ru",),
    ),
    Provider(
        "yandex",
        "Yandex",
        ("yandex.ru", "ya.ru", "yandex.com", "yandex.by", "yandex.kz", "yandex.ua", "yandex.uz",
         "narod.ru"),
        ("yandex.ru", "yandex.net"),
    ),
    Provider(
        "rambler",
        "Rambler",
        ("rambler.ru", "lenta.ru", "autorambler.ru", "myrambler.ru", "ro.ru", "rambler.ua"),
        ("rambler.ru",),
    ),
    Provider(
        "gmx",
        "GMX, WEB.DE and mail.com",
        ("gmx.de", "gmx.net", "gmx.com", "gmx.at", "gmx.ch", "gmx.fr", "web.de", "mail.com",
         "email.com"),
        ("gmx.net", "web.de", "mail.com"),
        Limits(connections=4, messages_per_connection=20),
        f"{_KUMO_COMMUNITY}; https://postmaster.gmx.net/en/",
    ),
    Provider(
        "t-online", "T-Online", ("t-online.de", "magenta.de"), ("t-online.de",),
    ),
    Provider(
        "orange",
        "Orange",
        ("orange.fr", "wanadoo.fr"),
        ("orange.fr",),
        Limits(connections=3),
        f"{_KUMO}; https://messagerie.orange.fr/postmaster.html",
    ),
    Provider(
        "comcast",
        "Comcast",
        ("comcast.net", "xfinity.com"),
        ("comcast.net",),
        Limits(connections=25, messages_per_connection=1000),
        f"{_KUMO} (given by Comcast); https://spa.xfinity.com/postmaster",
    ),
    Provider("proton", "Proton", ("proton.me", "protonmail.com", "pm.me"), ("protonmail.ch",)),
    Provider("zoho", "Zoho", ("zohomail.com",), ("zoho.com", "zoho.eu", "zoho.in")),
    Provider("ukrnet", "ukr.net", ("ukr.net",), ("ukr.net",)),
    Provider("seznam", "Seznam", ("seznam.cz", "email.cz", "post.cz"), ("seznam.cz",)),
    Provider("wp", "Wirtualna Polska", ("wp.pl", "o2.pl"), ("wp.pl", "o2.pl")),
    Provider("libero", "Libero", ("libero.it", "virgilio.it"), ("libero.it",)),
    Provider(
        "qq",
        "QQ",
        ("qq.com", "foxmail.com"),
        ("qq.com",),
        Limits(connections=4, messages_per_connection=8),
        _KUMO_COMMUNITY,
    ),
    Provider(
        "netease",
        "NetEase (163, 126)",
        ("163.com", "126.com", "yeah.net"),
        ("netease.com",),
        Limits(connections=4, messages_per_connection=7),
        _KUMO_COMMUNITY,
    ),
    # Filters in front of the mail servers of companies.
    Provider(
        "mimecast",
        "Mimecast",
        (),
        ("mimecast.com", "mimecast.co.za", "mimecast-offshore.com"),
        Limits(connections=10, messages_per_connection=100),
        f"{_KUMO} (given by Mimecast)",
    ),
    Provider(
        "barracuda",
        "Barracuda",
        (),
        ("barracudanetworks.com",),
        Limits(connections=10, messages_per_connection=15),
        _KUMO_COMMUNITY,
    ),
    Provider("proofpoint", "Proofpoint", (), ("pphosted.com", "ppe-hosted.com")),
    Provider(OTHER, "All others"),
)  # fmt: skip

PROVIDERS = {provider.key: provider for provider in _TABLE}
_BY_DOMAIN = {domain: provider.key for provider in _TABLE for domain in provider.domains}
# Mailboxes of everybody: no domain of a sender's own.
FREE_DOMAINS = frozenset(_BY_DOMAIN)
_BY_MX = {suffix: provider.key for provider in _TABLE for suffix in provider.mx_suffixes}


def provider_of(domain: str, mx_hosts: Iterable[str] = ()) -> str:
    """The key of the provider of a recipient's domain; "other" where it is none of the table.

    mx_hosts: its mail servers, the most preferred first, whose names tell the provider of a
    domain that the table does not know.
    """
    found = _BY_DOMAIN.get(_normal(domain))
    if found:
        return found
    for host in mx_hosts:
        labels = _normal(host).split(".")
        for start in range(len(labels)):
            found = _BY_MX.get(".".join(labels[start:]))
            if found:
                return found
    return OTHER


def _normal(name: str) -> str:
    return name.strip().rstrip(".").lower()
