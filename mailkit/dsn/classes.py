"""The class of a bounce, by the rules for replies to letters (mailkit.smtp.faults)."""

from __future__ import annotations

import re

from mailkit.dsn.results import Kind, Report
from mailkit.smtp import faults
from mailkit.smtp.outcomes import Refused, Reply

LONGEST = 2000
# "550 5.1.1 …", "smtp; 550-5.1.1 …", "said: 550 …", "(#5.1.1)", "#550 …".
_CODE = re.compile(r"(?<![\d.])#?([245]\d\d)(?=[ \-:;,#)](?!\d{3}\b)|$)", re.MULTILINE)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_VAGUE = frozenset({"5.0.0", "4.0.0"})
_LEADING_CODE = re.compile(r"\s*[245]\d\d[ -]")
# Statuses that say where the letter got stuck and not what is wrong with the mailbox:
# RFC 3463 X.4.1 (no answer from host), X.4.2 (bad connection), X.4.7 (delivery time expired).
_UNREACHED = frozenset({"4.1", "4.2", "4.7"})
_NO_MAILBOX_STATUS = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
# Without a code the words are a person's prose, in which "headers" or "policy" mean nothing.
_CLEAR_IN_PROSE = frozenset({"mailbox", "full", "spam", "size"})
# What servers with few words for many things call an unknown user.
_MAY_HIDE_MAILBOX = frozenset({"other", "policy", "relay", "content"})
_FULL = re.compile(
    r"quota.{0,30}(?:exceed|violat|full)|over(?: ?-? ?| its | the )quota|exceed\w*.{0,30}quota"
    r"|(?:mail ?box|inbox|mail ?folder|ящик)\W+(?:\w+ ){0,3}(?:full|переполнен)|full mailbox"
    r"|insufficient (?:disk|storage|system storage)|mailbox size limit",
    re.IGNORECASE,
)
_LOOP = re.compile(r"too many hops|mail(?:er)? loop|hop count exceeded|routing loop", re.IGNORECASE)
_NO_HOST = re.compile(
    r"unknown host|(?:host|domain)(?: name)? (?:unknown|(?:was |is )?not found|does not exist)"
    r"|(?:unrouteable|unroutable) (?:address|mail domain)"
    r"|name or service not known|domain not found|illegal host|bad destination system"
    r"|couldn't find any host|(?:no|null) mx",
    re.IGNORECASE,
)
_NO_MAILBOX = re.compile(
    r"(?:user|mailbox|account|recipient|addressee|e-?mail address|address)\W+(?:\S+ ){0,4}?"
    r"(?:unknown|not found|does(?: not|n't) exist|(?:is )?(?:invalid|disabled|inactive)"
    r"|not (?:known|listed|exist|valid|recogni[sz]ed)|no longer (?:exists|valid|available|active))"
    r"|(?:unknown|invalid|no such|non-?exist[ae]nt|unrecognized|bad)"
    r" (?:local |destination )?(?:user|mailbox|account|recipient|address|e-?mail)"
    r"|(?:no|not an?) (?:mailbox|account|user)\b.{0,40}(?:here|by that name|with that name|there)"
    r"|doesn't have an? \S+ account|not a (?:valid|known) (?:user|mailbox|address)"
    r"|(?:пользователь|адрес|ящик|получатель)\W.{0,30}(?:не найден|не существует)"
    r"|(?:нет такого|такого .{0,20}нет)",
    re.IGNORECASE,
)


def bounce(recipient: str, text: str, *, status: str = "", kind: Kind = "bounce") -> Report:
    """A report with the class that its status and the server's words give it."""
    said = _STATUS.findall(text[:LONGEST])
    if (not status or status in _VAGUE) and said:
        # The last server to speak is quoted last; what it said for good counts most.
        status = next((one for one in said if one[0] == "5" and one not in _VAGUE), said[0])
    code = _code(text, status)
    fault = _fault(code, status, text)
    hard = kind == "bounce" and fault == "mailbox"
    return Report(kind, recipient, fault, hard, code, status, text.strip()[:LONGEST])


def _code(text: str, status: str) -> int | None:
    codes = [int(one) for one in _CODE.findall(text[:LONGEST])]
    bad = [one for one in codes if one >= 400]
    permanent = [one for one in bad if one >= 500]
    if status.startswith("4"):
        return next((one for one in bad if one < 500), None)
    return next(iter(permanent or bad), None)


def _fault(code: int | None, status: str, text: str) -> faults.Kind:
    text = _LEADING_CODE.sub("", text[:LONGEST], 1)
    about = status[2:]
    first = status[:1] or ("4" if code and code < 500 else "5")
    if _FULL.search(text):
        return "full"
    if _LOOP.search(text):
        return "other"
    if _NO_HOST.search(text) and first == "5":
        return "mailbox"
    reply = Reply(code or (450 if first == "4" else 550), status or None, text)
    kind = faults.classify(Refused("rcpt", reply)).kind
    if code is None and not _STATUS.search(text) and kind not in _CLEAR_IN_PROSE:
        kind = "other"
    names_mailbox = about in _NO_MAILBOX_STATUS or _NO_MAILBOX.search(text)
    if first == "5" and kind in _MAY_HIDE_MAILBOX and about[:2] != "7." and names_mailbox:
        return "mailbox"
    if kind == "other" and about in _UNREACHED:
        return "network"
    return kind
