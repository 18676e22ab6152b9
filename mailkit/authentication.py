"""Whether a sender's letters pass SPF, DKIM and DMARC, by what is published in the DNS.

Where a relay sends from is not always known. The services of SERVICES say which SPF record names
their servers; of any other relay it is assumed that it sends from the address at which it takes
mail, and a record that does not name this one is advice, never an objection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any, Literal, Self

from dns.asyncresolver import Resolver

from mailkit import dmarc, spf
from mailkit.dkim import Seen, seen_of
from mailkit.networks import is_public_address
from mailkit.preflight import Finding, Level
from mailkit.verify.dns import lookup_addresses, lookup_exchanges, lookup_txt

# These ask more of whoever sends so many letters a day to their mailboxes.
BULK_RULES = ("gmail", "microsoft", "yahoo")
BULK_FROM = 5000

# Hosts of services that relay mail, and the SPF record that names the servers they send from.
SERVICES = {
    "email-smtp.*.amazonaws.com": "amazonses.com",
    "smtp.sendgrid.net": "sendgrid.net",
    "smtp*.mailgun.org": "mailgun.org",
    "smtp-relay.brevo.com": "spf.brevo.com",
    "smtp*.postmarkapp.com": "spf.mtasv.net",
    "smtp.mandrillapp.com": "spf.mandrillapp.com",
    "in*.mailjet.com": "spf.mailjet.com",
    "smtp*.gmail.com": "_spf.google.com",
    "smtp*.office365.com": "spf.protection.outlook.com",
    "smtp*.yandex.*": "_spf.yandex.net",
    "smtp*.mail.ru": "_spf.mail.ru",
}
# Never in use (RFC 5737, RFC 3849): no record names them, so that all its terms are looked at.
_NOBODY = ("192.0.2.1", "2001:db8::1")
_SPF_SECONDS = 20.0

SpfState = Literal["named", "not_named", "present", "none", "broken", "silent"]
DkimState = Literal["found", "missing", "unsigned", "silent"]
DmarcState = Literal["valid", "broken", "none", "silent"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of ours and what the DNS shows under its name."""

    domain: str
    selector: str
    algorithm: str
    record: str
    signs: bool
    seen: Seen = "unknown"


@dataclass(frozen=True, slots=True)
class Sender:
    """domain: of From. envelope: of the return path. hosts: of the relays. keys: those that sign
    its letters, and those that wait for their records. starting: these sign once they are found.
    """

    domain: str
    envelope: str
    hosts: tuple[str, ...]
    keys: tuple[Key, ...]
    starting: bool = False


@dataclass(frozen=True, slots=True)
class Spf:
    """What a receiver finds for the envelope's domain.

    state: `named` (the relays may send), `not_named` (`hosts` are not named), `present` (no relay
    of which it can be known), `none`, `broken` (`reason` and `about` as in
    spf.Verdict), `silent` (no answer). value: the record that would name all relays; empty where
    none is missing or none can be said.
    """

    domain: str
    state: SpfState
    aligned: bool
    reason: str = ""
    about: str = ""
    lookups: int = 0
    records: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    value: str = ""


@dataclass(frozen=True, slots=True)
class Dkim:
    """state is that of the RSA key, since not all receivers know Ed25519."""

    state: DkimState
    aligned: bool
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Dmarc:
    """domain: whose record it is, or whose it should be. policy: what holds for From's domain."""

    domain: str
    state: DmarcState
    policy: str = ""
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the DNS says of a sender."""

    domain: str
    spf: Spf
    dkim: Dkim
    dmarc: Dmarc

    @property
    def passes(self) -> bool:
        """Whether DMARC does, that is SPF or DKIM in the name of From's domain."""
        return self._dkim_passes or (self.spf.aligned and self.spf.state == "named")

    @property
    def may_pass(self) -> bool:
        unsure = self.spf.state in ("not_named", "present", "silent")
        return (
            self.passes
            or (self.spf.aligned and unsure)
            or (self.dkim.aligned and self.dkim.state == "silent")
        )

    @property
    def _dkim_passes(self) -> bool:
        return self.dkim.aligned and self.dkim.state == "found"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self | None:
        """None for what was never asked, or kept by a version with other fields."""
        try:
            keys = tuple(Key(**key) for key in kept["dkim"]["keys"])
            return cls(
                kept["domain"],
                Spf(**_with_tuples(kept["spf"])),
                Dkim(**{**kept["dkim"], "keys": keys}),
                Dmarc(**_with_tuples(kept["dmarc"])),
            )
        except (KeyError, TypeError):
            return None


async def check_sender(sender: Sender, resolver: Resolver) -> Authentication:
    """Ask the DNS. Never raises because of what it says."""
    seen, policy, verdicts = await asyncio.gather(
        asyncio.gather(*(_seen(key, sender.starting, resolver) for key in sender.keys)),
        _dmarc(sender.domain, resolver),
        _spf_in_time(sender, resolver),
    )
    modes = policy[1]
    return Authentication(
        sender.domain,
        Spf(aligned=dmarc.aligned(sender.envelope, sender.domain, modes.spf), **verdicts),
        _dkim(seen, sender.domain, modes.dkim),
        policy[0],
    )


def findings(found: Authentication, *, bulk: bool) -> list[Finding]:
    """What to mend, with the records to publish.

    Blocking is what the large providers ask for: of everybody SPF or DKIM, of bulk senders both
    and DMARC; and letters that the domain's own policy has refused.
    """
    unnamed = found.spf.state in ("none", "broken")
    unsigned = found.dkim.state in ("missing", "unsigned")
    return [
        *_of_spf(found, "blocking" if unnamed and (bulk or unsigned) else "advisory"),
        *_of_dkim(found, "blocking" if bulk or unnamed else "advisory"),
        *_of_dmarc(found, bulk),
        *_of_silence(found),
    ]


def _of_spf(found: Authentication, level: Level) -> list[Finding]:
    one, record = found.spf, (found.spf.domain, found.spf.value)
    record = record if one.value else ("", "")
    listed = []
    if one.state == "none":
        listed.append(Finding("no_spf", level, 0, (one.domain,), record))
    elif one.state == "broken":
        codes = {"many_records": "spf_many", "too_many_lookups": "spf_lookups"}
        code = codes.get(one.reason, "spf_broken")
        words = (one.domain,) if code != "spf_broken" else (one.domain, one.about)
        listed.append(Finding(code, level, spf.MOST_LOOKUPS, words, record))
    elif one.state == "not_named":
        listed.append(Finding("spf_relay", "advisory", 0, one.hosts, record))
    if not one.aligned:
        listed.append(Finding("spf_unaligned", "advisory", 0, (one.domain,)))
    return listed


def _of_dkim(found: Authentication, level: Level) -> list[Finding]:
    one = found.dkim
    key = next((key for key in one.keys if _is_rsa(key) and key.seen != "found"), None)
    record = (_name(key), key.record) if key else ("", "")
    if one.state == "unsigned":
        return [Finding("unsigned", level, 0, (found.domain,), record)]
    if one.state == "missing":
        return [Finding("dkim_missing", level, 0, (found.domain,), record)]
    if not one.aligned:
        return [Finding("dkim_unaligned", "advisory", 0, (found.domain,))]
    return []


def _of_dmarc(found: Authentication, bulk: bool) -> list[Finding]:
    one = found.dmarc
    level: Level = "blocking" if bulk else "advisory"
    record = (f"_dmarc.{one.domain}", "v=DMARC1; p=none")
    if one.state == "none":
        return [Finding("no_dmarc", level, 0, (found.domain,), record)]
    if one.state == "broken":
        return [Finding("dmarc_broken", level, len(one.records), (one.domain,), record)]
    if one.state != "valid" or found.passes:
        return []
    refused = bulk or one.policy != "none"
    level = "blocking" if refused and not found.may_pass else "advisory"
    return [Finding("dmarc_fails", level, 0, (found.domain, f"p={one.policy}"))]


def _of_silence(found: Authentication) -> list[Finding]:
    parts = (("SPF", found.spf.state), ("DKIM", found.dkim.state), ("DMARC", found.dmarc.state))
    silent = tuple(name for name, state in parts if state == "silent")
    return [Finding("dns_silent", "advisory", 0, silent)] if silent else []


# What the DNS says.


@dataclass(frozen=True, slots=True)
class _Dns:
    """Answers are remembered for the length of one check."""

    resolver: Resolver
    known: dict[tuple[str, str], tuple[str, ...] | None]

    async def texts(self, name: str) -> tuple[str, ...] | None:
        if ("TXT", name) not in self.known:
            self.known["TXT", name] = await lookup_txt(name, self.resolver)
        return self.known["TXT", name]

    async def addresses(self, name: str, version: int) -> tuple[str, ...] | None:
        key = (str(version), name)
        if key not in self.known:
            self.known[key] = await lookup_addresses(name, version, self.resolver)
        return self.known[key]

    async def exchanges(self, name: str) -> tuple[str, ...] | None:
        if ("MX", name) not in self.known:
            self.known["MX", name] = await lookup_exchanges(name, self.resolver)
        return self.known["MX", name]


async def _spf_in_time(sender: Sender, resolver: Resolver) -> dict[str, Any]:
    """A record may lead through ten names, each of which takes its time."""
    try:
        async with asyncio.timeout(_SPF_SECONDS):
            return await _spf(sender, resolver)
    except TimeoutError:
        return {"domain": sender.envelope, "state": "silent"}


async def _spf(sender: Sender, resolver: Resolver) -> dict[str, Any]:
    """The fields of Spf but `aligned`."""
    dns, domain = _Dns(resolver, {}), sender.envelope
    texts = await dns.texts(domain)
    if texts is None:
        return {"domain": domain, "state": "silent"}
    records = spf.records_of(texts)
    # Whoever is not named meets the whole record: its faults, and all its lookups.
    whole = [await spf.check_host(address, domain, dns) for address in _NOBODY]
    worst = max(whole, key=lambda one: (one.result == "permerror", one.lookups))
    named = {host: await _is_named(host, domain, dns, worst.included) for host in sender.hosts}
    missing = [host for host, is_named in named.items() if is_named is False]
    shown: dict[str, Any] = {
        "domain": domain,
        "records": records,
        "lookups": worst.lookups,
        "hosts": tuple(missing),
    }
    terms = [_term(host) for host in missing]
    if not records:
        value = spf.with_terms((), terms) if terms else ""
        return shown | {"state": "none", "value": value}
    if worst.result == "permerror":
        mended = worst.reason in ("many_records", "syntax")
        shown |= {"reason": worst.reason, "about": worst.about}
        return shown | {
            "state": "broken",
            "value": spf.with_terms(records, terms) if mended else "",
        }
    if worst.result == "temperror":
        return shown | {"state": "silent"}
    if missing:
        return shown | {"state": "not_named", "value": spf.with_terms(records, terms)}
    return shown | {"state": "named" if named and all(named.values()) else "present"}


async def _is_named(host: str, domain: str, dns: _Dns, included: Sequence[str]) -> bool | None:
    """None where it cannot be known: a relay within a private network sends from elsewhere."""
    if service := _service(host):
        return service in included
    addresses = [host] if _is_address(host) else await _addresses(host, dns)
    verdicts = [(await spf.check_host(one, domain, dns)).result for one in addresses]
    if verdicts and all(result == "pass" for result in verdicts):
        return True
    return False if any(map(is_public_address, addresses)) else None


async def _addresses(host: str, dns: _Dns) -> list[str]:
    return [one for version in (4, 6) for one in await dns.addresses(host, version) or ()]


def _term(host: str) -> str:
    """Of an SPF record: what names a relay."""
    if service := _service(host):
        return f"include:{service}"
    if _is_address(host):
        return f"ip{ip_address(host).version}:{host}"
    return f"a:{host}"


def _service(host: str) -> str:
    found = (name for pattern, name in SERVICES.items() if fnmatchcase(host.lower(), pattern))
    return next(found, "")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _seen(key: Key, starting: bool, resolver: Resolver) -> Key:
    seen = seen_of(await lookup_txt(_name(key), resolver), key.record)
    return replace(key, seen=seen, signs=key.signs or (starting and seen == "found"))


def _dkim(keys: Sequence[Key], domain: str, mode: dmarc.Mode) -> Dkim:
    signing = [key for key in keys if key.signs]
    aligned = any(dmarc.aligned(key.domain, domain, mode) for key in signing)
    seen = {key.seen for key in signing if _is_rsa(key)}
    state: DkimState = "missing"
    if not signing:
        state = "unsigned"
    elif "found" in seen:
        state = "found"
    elif "unknown" in seen:
        state = "silent"
    return Dkim(state, aligned, tuple(keys))


async def _dmarc(domain: str, resolver: Resolver) -> tuple[Dmarc, dmarc.DmarcRecord]:
    """And the modes of alignment, which are relaxed where there is no record."""
    usual = dmarc.DmarcRecord("none", "none")
    above = dmarc.organisational_domain(domain)
    for name in dict.fromkeys((domain, above)):
        texts = await lookup_txt(f"_dmarc.{name}", resolver)
        if texts is None:
            return Dmarc(name, "silent"), usual
        records = dmarc.records_of(texts)
        if not records:
            continue
        record = dmarc.parse_record(records[0])
        # Several are as none (RFC 7489 section 6.6.3).
        if record is None or len(records) > 1:
            return Dmarc(name, "broken", "", records), usual
        policy = record.policy if name == domain else record.below
        return Dmarc(name, "valid", policy, records), record
    return Dmarc(above, "none"), usual


def _is_rsa(key: Key) -> bool:
    return key.algorithm.startswith("rsa")


def _name(key: Key) -> str:
    return f"{key.selector}._domainkey.{key.domain}"


def _with_tuples(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in kept.items()}
