"""What a domain's name says: a slip of the keyboard, a throw-away mailbox, a free provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache

from disposable_email_domains import blocklist

from mailkit.providers import PROVIDERS

# Free mailboxes of providers too small for a place in the table of providers.
_FREE_TOO = frozenset(
    (
        *("tutanota.com", "tuta.io", "fastmail.com", "hushmail.com", "inbox.lv", "mail.ee"),
        *("rediffmail.com", "naver.com", "daum.net", "hanmail.net", "interia.pl", "onet.pl"),
        *("i.ua", "meta.ua", "bigmir.net", "tut.by", "mail.bg", "abv.bg", "centrum.cz"),
        *("laposte.net", "free.fr", "sfr.fr", "freenet.de", "bol.com.br", "uol.com.br"),
    )
)
_COMPANIES = frozenset(("comcast", "orange", "t-online"))
FREE = _FREE_TOO | {
    domain
    for provider in PROVIDERS.values()
    if provider.key not in _COMPANIES
    for domain in provider.domains
}
# Typed wrongly so often that somebody registered them and takes whatever mail comes.
_TRAPS = {
    "gmail.com": (
        "gmial.com", "gmai.com", "gmal.com", "gamil.com", "gnail.com", "gmaill.com", "gmail.co",
        "gmail.cm", "gmail.om", "gmail.con", "gmail.comm", "gmali.com", "gmil.com", "gmaik.com",
        "gmeil.com", "gmsil.com", "gmaul.com", "ggmail.com",
    ),
    "hotmail.com": (
        "hotmial.com", "hotmal.com", "hotmai.com", "hotmil.com", "hotamil.com", "homail.com",
        "hotmail.co", "hotmail.cm", "hotmail.con", "hotmaill.com", "htomail.com", "hormail.com",
    ),
    "outlook.com": (
        "outlok.com", "outloo.com", "outlook.co", "outlook.con", "oulook.com", "outllook.com",
        "outook.com", "putlook.com",
    ),
    "yahoo.com": (
        "yaho.com", "yahooo.com", "yhoo.com", "yahoo.co", "yahoo.cm", "yahoo.con", "yaoo.com",
        "tahoo.com", "uahoo.com", "ayhoo.com",
    ),
    "icloud.com": ("iclod.com", "icloud.co", "icloud.con", "iclould.com", "icoud.com"),
    "mail.ru": ("mail.ri", "mial.ru", "maill.ru", "mail.ry"),
    "yandex.ru": ("yandex.ri", "yndex.ru", "yadex.ru", "yanex.ru", "yandx.ru", "jandex.ru"),
    "bk.ru": ("bk.ri",),
    "rambler.ru": ("ramler.ru", "ramble.ru", "rambler.ri"),
}  # fmt: skip
_TRAP = {typo: domain for domain, typos in _TRAPS.items() for typo in typos}

_TLD_TYPOS = {
    **dict.fromkeys(("con", "cmo", "ocm", "comm", "cpm", "vom", "xom", "cm", "om", "co"), "com"),
    **dict.fromkeys(("ri", "ry", "tu", "ru1", "rru", "ruu", "u", "r"), "ru"),
    **dict.fromkeys(("nte", "ne", "met", "nett"), "net"),
}
# One letter makes another word of a short name: of `me.com`, `bk.ru`, `web.de`.
_SHORTEST_NAME = 5
_POPULAR = frozenset(FREE)


def typo_trap(domain: str) -> str | None:
    """The domain that was meant, where this one is known to live off slips of the keyboard."""
    return _TRAP.get(domain)


def suggest_domain(domain: str) -> str | None:
    """The large provider's domain that was probably meant; None where none is one slip away.

    A slip: one letter too many, missing, wrong or in its neighbour's place, or an ending such as
    `.con`. Only for domains that take no mail: many a company's name is close to a provider's.
    """
    if domain in _POPULAR:
        return None
    if trap := _TRAP.get(domain):
        return trap
    name, _dot, ending = domain.rpartition(".")
    if (meant := f"{name}.{_TLD_TYPOS.get(ending, '')}") in _POPULAR:
        return meant
    near = {
        popular
        for form in (domain, *_deletions(domain))
        for popular in _BY_DELETION.get(form, ())
        if _is_one_slip(domain, popular)
    }
    return min(near, key=_RANK.__getitem__, default=None)


@lru_cache(maxsize=10_000)
def is_disposable(domain: str, mx_hosts: tuple[str, ...] = ()) -> bool:
    """Whether the domain, or whoever takes its mail, hands out mailboxes to be thrown away."""
    return any(name in blocklist for host in (domain, *mx_hosts) for name in _parents(host))


def is_free_provider(domain: str) -> bool:
    """Whether anybody gets a mailbox there without paying: a person's rather than a company's."""
    return domain in FREE


def _parents(host: str) -> Iterator[str]:
    labels = host.split(".")
    for start in range(len(labels) - 1):
        yield ".".join(labels[start:])


def _deletions(text: str) -> Iterator[str]:
    for index in range(len(text)):
        yield text[:index] + text[index + 1 :]


def _is_one_slip(typed: str, meant: str) -> bool:
    """Whether the Damerau-Levenshtein distance (optimal string alignment) is 1."""
    if len(typed) > len(meant):
        typed, meant = meant, typed
    start = 0
    while start < len(typed) and typed[start] == meant[start]:
        start += 1
    if len(meant) - len(typed) == 1:
        return typed[start:] == meant[start + 1 :]
    if len(meant) != len(typed) or typed == meant:
        return False
    rest, wanted = typed[start:], meant[start:]
    return rest[1:] == wanted[1:] or (rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:])


# Of two domains one slip apart have a common form: themselves with at most one letter deleted.
_BY_DELETION: dict[str, list[str]] = defaultdict(list)
for _popular in sorted(_POPULAR):
    if len(_popular.partition(".")[0]) >= _SHORTEST_NAME:
        for _form in (_popular, *_deletions(_popular)):
            _BY_DELETION[_form].append(_popular)
# The providers' table has the larger ones first.
_RANK = {
    domain: rank
    for rank, domain in enumerate(
        dict.fromkeys(
            (*(name for one in PROVIDERS.values() for name in one.domains), *sorted(_POPULAR))
        )
    )
}
