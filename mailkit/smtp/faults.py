"""Whose fault a refusal is, and so what follows from it.

By reply code and RFC 3463 status (registry: RFC 5248), then by the words that servers use; the
words about mailboxes are those of mailkit.verify.replies. Texts of providers were gathered from
their public pages (Google: https://support.google.com/a/answer/3726730, Yahoo:
https://senders.yahooinc.com/smtp-error-codes, Yandex: https://yandex.com/support/mail/bounces/)
and from KumoMTA's rules (Apache License 2.0, https://github.com/KumoCorp/kumomta:
assets/bounce_classifier/iana.toml, assets/community/bounces.toml, assets/community/shaping.toml).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mailkit.smtp.outcomes import SERVICE_CLOSING, Broken, Refused, Reply
from mailkit.verify.replies import (
    ANY_STATUS,
    BLOCKED,
    GREYLISTED,
    TOO_FAST,
    classify_rcpt,
    phrases,
    plain_words,
    status_of,
)

Kind = Literal[
    "mailbox",  # there is no such mailbox, for good
    "full",  # it is full
    "policy",  # the receiver's rules
    "spam",  # a block of our address, domain or letter as spam
    "authentication",  # SPF, DKIM or DMARC did not pass
    "rate",  # too fast
    "size",  # the letter is too large
    "content",  # what is in the letter: a virus, a malformed header, an address beyond ASCII
    "relay",  # our relay or our sender address: nothing about the recipient
    "network",  # the connection failed
    "other",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """hard: another attempt of this letter is no use.

    throttled: the receiver asks to slow down. sender_fault: every letter of this relay or
    sender address would be refused alike, so the campaign should wait for a person; the letter
    itself has not failed, and `hard` is false.
    """

    kind: Kind
    hard: bool = False
    throttled: bool = False
    sender_fault: bool = False


# Before MAIL FROM nothing was said about a letter.
_RELAY_STAGES = frozenset({"connect", "banner", "ehlo", "starttls", "auth"})
_RELAY_ERRORS = frozenset({"not_offered", "certificate"})
# RFC 4954 section 6: authentication required, too weak, failed, needs encryption.
_CREDENTIAL_CODES = frozenset({530, 534, 535, 538})

# What a temporary refusal may be about, where it is no single mailbox's or letter's.
_ABOUT_SERVER = frozenset({"other", "relay", "spam", "policy"})

# Statuses below have their class (the first digit) left out.
# RFC 7372 (DKIM 20-22, SPF 23-24, several 26); RFC 7505 (27); Gmail: 27 SPF, 30 DKIM, 32
# alignment; Microsoft: 509 DMARC, 515 the requirements for bulk senders.
_AUTHENTICATION_STATUS = frozenset(
    ("7.20", "7.21", "7.22", "7.23", "7.24", "7.26", "7.27", "7.30", "7.32", "7.509", "7.515")
)
_SENDER_STATUS = frozenset(("1.7", "1.8"))
_SIZE_STATUS = frozenset(("2.3", "3.4"))

_RELAYING = phrases(
    r"relay(?:ing)? (?:access )?(?:denied|not (?:permitted|allowed))",
    r"(?:unable|not (?:permitted|allowed)|isn't allowed) to relay",
    r"authentication (?:is )?required",
    r"(?:turn on|use|needs?) smtp authentication",
    r"must (?:issue a starttls|authenticate)",
    r"requires authentication when",
    r"(?:isn't|not) in my list of allowed rcpthosts",
)
_SENDER = phrases(
    r"sender (?:address )?(?:rejected|refused|denied|not (?:allowed|verified|owned))",
    r"sender (?:domain|address) .{0,40}(?:not exist|not found|must exist|no a,)",
    r"invalid sender",
    r"not owned by user",
)
# The account at the relay. Amazon SES, Gmail and Microsoft 365 as relays, SendGrid.
_ACCOUNT = phrases(
    r"(?:email address|identity) is not verified",
    r"sending (?:has been )?(?:paused|suspended|disabled) for (?:this|your) account",
    r"message sending for this account is disabled",
    r"submissionquotaexceeded\w*",
    r"daily (?:user )?sending (?:limit|quota) (?:is |was )?(?:exceeded|reached)",
    r"reached your daily limit",
    r"maximum credits exceeded",
)
# At the head of a reply these are the relay's own words; further in it may quote another server.
_OWN_WORDS = re.compile(
    r"\W*(?:relay(?:ing)? (?:access )?(?:denied|not permitted)|sender address rejected)",
    re.IGNORECASE,
)
_AUTHENTICATION = phrases(
    r"spf|dkim|dmarc\w*|sender policy framework",
    r"unauthenticated",
    r"authentication (?:information|checks?|results?)",
    r"(?:senders|sender|sending domain) (?:to|must|should) (?:be )?authenticate\w*",
)
_SIZE = phrases(
    r"(?:message|mail|letter|e-?mail|file)(?: \w+){0,3} (?:is )?too (?:big|large|long)",
    r"(?:message|mail) (?:size|length)(?: \w+){0,2} exceed\w*",
    r"exceed\w*(?: \w+){0,4} (?:message|mail) size",
    r"maximum (?:message )?size (?:exceeded|of)",
    r"size limits?",
)
_ROOM = phrases(r"quota|storage|mailbox|full")
_SPAM = phrases(r"\w*spam\w*", r"junk ?mail", r"unsolicited", r"(?:user )?complaints?")
_SERVER_RULES = phrases(
    r"pointer|ptr|(?:reverse|r)[ -]?dns|reverse hostname|helo|ehlo",
    r"tls (?:is )?required|requires? tls|must use tls",
)
_CONTENT = phrases(
    r"virus(?:es)?|malware|phish\w*|infected|attachments?|attached",
    r"(?:message |mail )?content",
    r"urls?|links? (?:in|contained)",
    r"malformed|headers?|rfc[ -]?(?:2822|5321|5322|2047|822)",
    r"smtputf8|8-?bit",
)
_POLICY = phrases(
    r"polic(?:y|ies)",
    r"(?:access|message|mail|service) (?:is )?(?:denied|refused|rejected|not accepted)",
    r"not (?:permitted|allowed|accepted|authori[sz]ed)",
    r"prohibited|forbidden|administrative\w*",
)
# Yahoo: "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume".
# Tencent: "550 Ip frequency limited".
_SLOWER = phrases(
    r"temporarily (?:deferred|rate|limited)",
    r"(?:unusual|unexpected) (?:volume|traffic)",
    r"frequency limited",
    r"excessive",
    r"slow down",
    r"exceed\w*(?: \w+){0,5} (?:connections?|messages? per connection)",
    r"max(?:imum)? (?:messages?|connections?)(?: \w+)? per",
    r"server (?:is )?(?:too )?busy",
)
# One mailbox gets too much; others of that provider do not mind. Gmail: 450 4.2.1.
_ONE_MAILBOX = phrases(r"(?:user|recipient|mailbox|account)(?: \w+){0,6} (?:is )?receiving")
# Yandex: "550 5.7.1 No such user!", with a status that is otherwise about the sender.
_YANDEX_NOT_FOUND = re.compile(r"no such user!", re.IGNORECASE)


def classify(outcome: Refused | Broken) -> Fault:
    """What kind of fault it is. Every reply has exactly one; nothing is raised."""
    if isinstance(outcome, Broken):
        return _of_broken(outcome)
    reply = outcome.reply
    permanent = outcome.permanent
    if reply.code in _CREDENTIAL_CODES:
        return Fault("relay", sender_fault=True)
    if outcome.stage in _RELAY_STAGES:
        return Fault("relay", sender_fault=permanent and outcome.stage == "auth")
    text = plain_words(reply.text)
    status = status_of(reply.enhanced, text)
    # A status on each line would stand in the middle of sentences.
    words = " ".join(ANY_STATUS.sub(" ", text).split())
    if not permanent:
        return _of_temporary(outcome, status, words)
    if outcome.stage == "mail":
        kind: Kind | None = _about_letter(status, words)
        return Fault(kind, hard=True) if kind else Fault("relay", sender_fault=True)
    if _ACCOUNT.search(words) or _OWN_WORDS.match(words):
        return Fault("relay", sender_fault=True)
    kind = _of_permanent(reply, status, words)
    return Fault(kind, hard=kind != "rate", throttled=_provider_wide(kind, words))


def _of_broken(outcome: Broken) -> Fault:
    if outcome.error == "stopped":
        # At `mail` our own client refuses to write the address; later its task was cancelled.
        return Fault("other", hard=outcome.stage == "mail")
    if outcome.error in _RELAY_ERRORS:
        return Fault("relay", sender_fault=True)
    return Fault("network")


def _of_temporary(outcome: Refused, status: str | None, words: str) -> Fault:
    code = outcome.reply.code
    if GREYLISTED.search(words):
        return Fault("other", throttled=code == SERVICE_CLOSING)
    kind = _kind_of_temporary(outcome, status, words)
    about = _detail(status)
    throttled = (
        code == SERVICE_CLOSING
        or _provider_wide(kind, words)
        or (about.startswith("7.") and kind != "authentication")
        # Of one mailbox where the status says so (X.1, X.2), else of the server.
        or (code in (450, 451) and about[:2] not in ("1.", "2.") and kind in _ABOUT_SERVER)
    )
    return Fault(kind, throttled=throttled)


def _kind_of_temporary(outcome: Refused, status: str | None, words: str) -> Kind:
    about = _detail(status)
    if _is_authentication(about, words):
        return "authentication"
    if TOO_FAST.search(words) or _SLOWER.search(words) or about == "7.28":
        return "rate"
    if outcome.stage == "mail":
        return "relay"
    if BLOCKED.search(words) or _SPAM.search(words):
        return "spam"
    reply = outcome.reply
    if classify_rcpt(reply.code, reply.enhanced, reply.text) == "mailbox_full":
        return "full"
    if about.startswith("7.") or _POLICY.search(words):
        return "policy"
    return "other"


def _of_permanent(reply: Reply, status: str | None, words: str) -> Kind:
    about = _detail(status)
    if _is_size(about, words):
        return "size"
    meaning = classify_rcpt(reply.code, reply.enhanced, reply.text)
    if meaning == "mailbox_full":
        return "full"
    if meaning == "mailbox_not_found" or (about == "7.1" and _YANDEX_NOT_FOUND.fullmatch(words)):
        return "mailbox"
    if _is_authentication(about, words):
        return "authentication"
    blocked = BLOCKED.search(words) is not None
    if not blocked and (
        _RELAYING.search(words) or _SENDER.search(words) or about in _SENDER_STATUS
    ):
        return "relay"
    if _SPAM.search(words):
        return "spam"
    if TOO_FAST.search(words) or _SLOWER.search(words):
        return "rate"
    if _SERVER_RULES.search(words):
        return "policy"
    if blocked:
        return "content" if _CONTENT.search(words) else "spam"
    return _of_rules(about, words, meaning == "probe_blocked")


def _of_rules(about: str, words: str, about_us: bool) -> Kind:
    if about.startswith("6.") or _CONTENT.search(words):
        return "content"
    if about.startswith("7.") or about_us or _POLICY.search(words):
        return "policy"
    return "other"


def _about_letter(status: str | None, words: str) -> Kind | None:
    """A refusal at MAIL FROM that is this letter's: its size, or the extensions it needs."""
    about = _detail(status)
    if _is_size(about, words):
        return "size"
    return "content" if about.startswith("6.") else None


def _is_authentication(about: str, words: str) -> bool:
    return about in _AUTHENTICATION_STATUS or _AUTHENTICATION.search(words) is not None


def _is_size(about: str, words: str) -> bool:
    return about in _SIZE_STATUS or (
        _SIZE.search(words) is not None and _ROOM.search(words) is None
    )


def _provider_wide(kind: Kind, words: str) -> bool:
    return kind == "rate" and _ONE_MAILBOX.search(words) is None


def _detail(status: str | None) -> str:
    """A status without its class: "7.26" of "5.7.26"; empty where there is none."""
    return status[2:] if status and ANY_STATUS.fullmatch(status) else ""
