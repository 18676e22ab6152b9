"""SPF (RFC 7208): reading a record, and whether an address may send in the name of a domain.

The macro letter "p" and the mechanism "ptr" need the reverse DNS, which the RFC says not to use:
"p" is "unknown" here and "ptr" matches nothing; its lookup is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, Protocol

Result = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
IpAddress = IPv4Address | IPv6Address

MOST_LOOKUPS = 10  # section 4.6.4
_MOST_VOID = 2
_MOST_HOSTS = 10
_LONGEST_NAME = 253

_RESULTS: dict[str, Result] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_ASKING = frozenset(("include", "a", "mx", "ptr", "exists"))
_TERM = re.compile(r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=$|[:/])(.*)", re.I | re.S)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.S)
_PREFIXES = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")
_MACRO = re.compile(r"%(?:\{([slodiphvcrtSLODIPHVCRT])([0-9]{0,3})([rR]?)([-.+,/_=]*)\}|([%_-]))")
_TOP_LABEL = re.compile(r"(?=[a-z0-9-]*[a-z-])[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.I)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What is compared with the sending address. `value`: a name with macros or a network;
    `prefixes`: the lengths for IPv4 and IPv6."""

    text: str
    name: str
    result: Result
    value: str = ""
    prefixes: tuple[int, int] = (32, 128)


@dataclass(frozen=True, slots=True)
class Record:
    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """The term of a record that no reader understands."""

    term: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a receiver finds.

    reason, of permerror: many_records, syntax, too_many_lookups, void_lookups, too_many_hosts,
    include_none; of temperror: no_answer. about: the name or the term that it is about.
    lookups: terms that asked the DNS. included: the names of the records that were read.
    """

    result: Result
    reason: str = ""
    about: str = ""
    lookups: int = 0
    included: tuple[str, ...] = ()


class Dns(Protocol):
    """What is asked. Each gives () where there is nothing, None where no server answered."""

    async def texts(self, name: str) -> tuple[str, ...] | None: ...

    async def addresses(self, name: str, version: int) -> tuple[str, ...] | None: ...

    async def exchanges(self, name: str) -> tuple[str, ...] | None: ...


def records_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Those of a name's TXT records that are SPF records (section 4.5)."""
    return tuple(text for text in texts if re.match(r"v=spf1(?: |$)", text, re.I))


def parse_record(text: str) -> Record | Fault:
    """Read a TXT record that begins with "v=spf1"; never raises."""
    mechanisms: list[Mechanism] = []
    redirect = ""
    seen: set[str] = set()
    for term in text.split(" ")[1:]:
        if not term:
            continue
        if modifier := _MODIFIER.fullmatch(term):
            name, value = modifier[1].lower(), modifier[2]
            if name in ("redirect", "exp"):
                if name in seen or not _is_name(value):
                    return Fault(term)
                seen.add(name)
                redirect = value if name == "redirect" else redirect
            elif _expansions(value) is None:
                return Fault(term)
            continue
        mechanism = _mechanism(term)
        if mechanism is None:
            return Fault(term)
        mechanisms.append(mechanism)
    return Record(tuple(mechanisms), redirect)


def with_terms(texts: Sequence[str], wanted: Sequence[str]) -> str:
    """One record that says what all of `texts` say, and names `wanted` too.

    Terms that nobody understands are left out; what stands for everybody else comes last.
    """
    kept: dict[str, None] = {}
    ending = ""
    for text in records_of(texts):
        for term in text.split():
            parsed = parse_record(f"v=spf1 {term}")
            if isinstance(parsed, Fault) or term.lower() == "v=spf1":
                continue
            if parsed.redirect or (parsed.mechanisms and parsed.mechanisms[0].name == "all"):
                ending = ending or term
            else:
                kept.setdefault(term)
    if ending.lower().startswith("redirect="):
        # Whatever follows a redirection is not read (section 6.1), and an "all" would end it.
        kept.setdefault(f"include:{ending.partition('=')[2]}")
        ending = ""
    known = {term.lower().lstrip("+") for term in kept}
    kept |= dict.fromkeys(term for term in wanted if term.lower() not in known)
    return " ".join(("v=spf1", *kept, ending or "~all"))


async def check_host(
    address: str, domain: str, dns: Dns, *, sender: str = "", helo: str = ""
) -> Verdict:
    """check_host() of section 4. `sender`: the envelope sender, by default of `domain`.

    Raises ValueError where `address` is no IP address, and nothing else.
    """
    check = _Check(ip_address(address), sender or f"postmaster@{domain}", helo or domain, dns)
    try:
        result = await check.evaluate(domain)
    except _Stop as stop:
        return Verdict(stop.result, stop.reason, stop.about, check.lookups, (*check.included,))
    about = domain if result == "none" else ""
    return Verdict(result, "", about, check.lookups, (*check.included,))


class _Stop(Exception):
    def __init__(self, result: Result, reason: str, about: str) -> None:
        super().__init__(result)
        self.result, self.reason, self.about = result, reason, about


@dataclass(slots=True)
class _Check:
    address: IpAddress
    sender: str
    helo: str
    dns: Dns
    lookups: int = 0
    void: int = 0
    included: dict[str, None] = field(default_factory=dict)

    async def evaluate(self, domain: str) -> Result:
        texts = await self.dns.texts(domain)
        if texts is None:
            raise _Stop("temperror", "no_answer", domain)
        found = records_of(texts)
        if not found:
            return "none"
        if len(found) > 1:
            raise _Stop("permerror", "many_records", domain)
        self.included.setdefault(domain.lower())
        record = parse_record(found[0])
        if isinstance(record, Fault):
            raise _Stop("permerror", "syntax", record.term)
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                return mechanism.result
        if not record.redirect:
            return "neutral"
        self._count(f"redirect={record.redirect}")
        target = self._expand(record.redirect, domain)
        result = await self.evaluate(target)
        if result == "none":
            raise _Stop("permerror", "include_none", target)
        return result

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.name in _ASKING:
            self._count(mechanism.text)
        if mechanism.name == "all":
            return True
        if mechanism.name in ("ip4", "ip6"):
            return self.address in ip_network(mechanism.value, strict=False)
        name = self._expand(mechanism.value, domain) if mechanism.value else domain
        if mechanism.name == "include":
            result = await self.evaluate(name)
            if result == "none":
                raise _Stop("permerror", "include_none", name)
            return result == "pass"
        if mechanism.name == "exists":
            return bool(self._heard(await self.dns.addresses(name, 4), name))
        if mechanism.name == "a":
            return await self._is_address_of(name, mechanism)
        if mechanism.name == "mx":
            hosts = self._heard(await self.dns.exchanges(name), name)
            if len(hosts) > _MOST_HOSTS:
                raise _Stop("permerror", "too_many_hosts", name)
            for host in hosts:
                if await self._is_address_of(host, mechanism):
                    return True
        return False

    async def _is_address_of(self, name: str, mechanism: Mechanism) -> bool:
        version = self.address.version
        found = self._heard(await self.dns.addresses(name, version), name)
        length = mechanism.prefixes[version == 6]
        return any(self.address in ip_network(f"{one}/{length}", strict=False) for one in found)

    def _count(self, term: str) -> None:
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            raise _Stop("permerror", "too_many_lookups", term)

    def _heard(self, answer: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
        if answer is None:
            raise _Stop("temperror", "no_answer", name)
        if not answer:
            self.void += 1
            if self.void > _MOST_VOID:
                raise _Stop("permerror", "void_lookups", name)
        return answer

    def _expand(self, value: str, domain: str) -> str:
        local, _at, host = self.sender.rpartition("@")
        letters = {
            "s": self.sender,
            "l": local or "postmaster",
            "o": host,
            "d": domain,
            "i": _dotted(self.address),
            "p": "unknown",
            "v": "in-addr" if self.address.version == 4 else "ip6",
            "h": self.helo,
        }
        name = "".join(
            part if isinstance(part, str) else _transformed(letters.get(part[1].lower(), ""), part)
            for part in _expansions(value) or ()
        ).rstrip(".")
        while len(name) > _LONGEST_NAME:  # section 7.3: labels are dropped on the left
            name = name.partition(".")[2]
        return name


def _mechanism(term: str) -> Mechanism | None:
    found = _TERM.fullmatch(term)
    if not found:
        return None
    name, rest = found[2].lower(), found[3]
    result = _RESULTS[found[1] or "+"]
    if name == "all":
        return None if rest else Mechanism(term, name, result)
    if name in ("ip4", "ip6"):
        network = _network(rest, 4 if name == "ip4" else 6)
        return Mechanism(term, name, result, network) if network else None
    prefixes = (32, 128)
    if name in ("a", "mx"):
        # A macro may hold "/" in its braces: the lengths stand behind the last one.
        cut = rest.rfind("}") + 1
        slash = rest.find("/", cut)
        lengths = _PREFIXES.fullmatch(rest[slash:]) if slash >= 0 else None
        if slash >= 0:
            if not lengths or not lengths[0]:
                return None
            prefixes = int(lengths[1] or 32), int(lengths[2] or 128)
            rest = rest[:slash]
    if prefixes[0] > 32 or prefixes[1] > 128:
        return None
    if not rest:
        return Mechanism(term, name, result, "", prefixes) if name in ("a", "mx", "ptr") else None
    value = rest[1:]
    if rest[0] != ":" or not _is_name(value):
        return None
    return Mechanism(term, name, result, value, prefixes)


def _network(rest: str, version: int) -> str:
    """The network in its usual form; empty where it is none."""
    if not rest.startswith(":") or "%" in rest:
        return ""
    try:
        network = ip_network(rest[1:], strict=False)
    except ValueError:
        return ""
    # "192.0.2.0/255.255.255.0" is Python's, not SPF's.
    length = rest.partition("/")[2]
    known = network.version == version and (
        "/" not in rest or (length.isascii() and length.isdigit())
    )
    return str(network) if known else ""


def _is_name(value: str) -> bool:
    """domain-spec of section 7.1: it ends in a macro, or in what a top domain can be."""
    parts = _expansions(value)
    if not parts:
        return False
    last = parts[-1]
    if not isinstance(last, str):
        return True
    _rest, dot, top = last.removesuffix(".").rpartition(".")
    return bool(dot and _TOP_LABEL.fullmatch(top))


def _expansions(value: str) -> list[str | re.Match[str]] | None:
    """Plain pieces and macros in turn; None where a "%" begins no macro, or for a character that
    no record may hold."""
    if not value.isascii() or not value.isprintable() or " " in value:
        return None
    parts: list[str | re.Match[str]] = []
    at = 0
    while at < len(value):
        if value[at] != "%":
            end = value.find("%", at)
            end = len(value) if end < 0 else end
            parts.append(value[at:end])
            at = end
            continue
        macro = _MACRO.match(value, at)
        # c, r and t are for explanations alone; no number of labels is 0.
        if not macro or (macro[1] or "").lower() in ("c", "r", "t"):
            return None
        if macro[2] and not int(macro[2]):
            return None
        parts.append(macro if macro[1] else {"%": "%", "_": " ", "-": "%20"}[macro[5]])
        at = macro.end()
    return parts


def _transformed(value: str, macro: re.Match[str]) -> str:
    pieces = re.split(f"[{re.escape(macro[4] or '.')}]", value)
    if macro[3]:
        pieces.reverse()
    return ".".join(pieces[-int(macro[2]) :] if macro[2] else pieces)


def _dotted(address: IpAddress) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return ".".join(address.exploded.replace(":", ""))
