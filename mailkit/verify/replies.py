"""What a server's reply to RCPT says about a mailbox, and what it says about us instead.

mailkit.smtp.faults reads the replies to letters with the same words.
"""

from __future__ import annotations

import re
from typing import Literal

ReplyMeaning = Literal[
    "mailbox_exists",
    "mailbox_not_found",
    "mailbox_full",
    "greylisted",
    "temporary_failure",
    "probe_blocked",
    "unclear_reply",
]


def phrases(*alternatives: str) -> re.Pattern[str]:
    """Any of these, as whole words, in any case."""
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE)


# About the one who asks: its address, its name, its reputation.
BLOCKED = phrases(
    r"(?:un)?block(?:ed|ing|s)?",
    r"(?:block|black|deny)[ -]?list(?:ed|ing|s)?",
    r"\w*(?:spamhaus|spamcop|barracuda|sorbs|uceprotect|proofpoint|dnsbl|rbl)\w*",
    r"bann?ed",
    r"reputation",
    r"pointer|ptr|(?:reverse|r)[ -]?dns",
    r"(?:your|client|sending) (?:mail |smtp )?(?:ip|host|hostname|server|network|domain)",
)
# The same, in words that a temporary reply also has for troubles of its own.
_ABOUT_US = phrases(
    r"spam(?:mer|mers|ming|my)?",
    r"polic(?:y|ies)",
    r"(?:not|un)[ -]?authori[sz]ed",
    r"authenticat(?:e|ed|ion)",
    r"not (?:permitted|allowed) to",
    r"spf|dkim|dmarc|helo|ehlo",
    # Exim quotes the reply to its own callout first: "Response: 550 5.1.1 User unknown".
    r"sender(?:s|'s)?|verification failed for|mail from|return[ -]path",
    # Not Postfix's "User unknown in relay recipient table".
    r"relay(?:ing|ed)?(?! recipient)",
    r"suspicious|abus(?:e|ive)|prohibited|forbidden|refused to (?:talk|accept)",
    # QQ: "550 Mailbox unavailable or access denied" to whoever writes to it too often. Not
    # Exchange's "Recipient address rejected: Access denied."
    r"(?<!rejected: )access denied",
)
# About how fast the one who asks is. Gmail: "550 5.2.1 ... is receiving mail at a rate that ...".
TOO_FAST = phrases(
    r"rate",
    r"rate[ -]?limit(?:s|ed|ing)?",
    r"throttl(?:e|ed|ing)",
    r"(?:sender|domain|connection) frequency limited",
    r"too (?:many|much|fast|frequent|frequently|quickly)",
    r"(?:daily|hourly|sending|message|connection) (?:limit|quota)s?",
)
GREYLISTED = re.compile(r"gr[ae]y[ -]?list|try again in \d+ ?(?:s|m)", re.IGNORECASE)
_FULL = phrases(
    r"(?:mail ?box|inbox|mail ?folder|account) (?:is |'s )?(?:currently )?full",
    r"full (?:mail ?box|inbox)",
    r"(?:over|out of|above) (?:\w+ )?(?:quota|storage)",
    r"overquota",
    r"quota (?:is |has been |was )?(?:exceeded|full|reached)",
    r"exceed(?:s|ed|ing)? (?:\w+ ){0,2}(?:quota|storage allocation)",
    r"exceeded (?:\w+ )?storage",
)
_WHO = r"(?:user|recipient|mail ?box|account|address|addressee|person|e-?mail|customer|subscriber)"
_NOT_FOUND = phrases(
    r"(?:no such|unknown|invalid|non-?existent|bad|unroute?able) "
    rf"(?:local |virtual |recipient |destination |e-?mail |user )?{_WHO}",
    rf"{_WHO}(?: name| account| address)? (?:is |was )?"
    r"(?:unknown|invalid|inactive|disabled|deactivated|unavailable|not available|not found"
    r"|not known|not exist|non-?existent|undeliverable|unroute?able)",
    rf"(?:{_WHO}|that you tried to reach) (?:does not|doesn't|do not|don't|did not) exist",
    rf"no {_WHO} (?:here )?(?:by|with|of) (?:that|this) name",
    r"(?:user|account) (?:does not|doesn't) have an? .{1,60} account",
    rf"not a (?:valid|known|local) {_WHO}",
    rf"couldn't find (?:the |that )?{_WHO}",
)
# RFC 3463 §3.2, §3.3 and Microsoft's 5.1.10 (recipient not found).
_NOT_FOUND_STATUS = frozenset(("5.1.0", "5.1.1", "5.1.3", "5.1.6", "5.1.10"))
_ABOUT_SENDER_STATUS = frozenset(("5.1.7", "5.1.8"))
_MAILBOX_DISABLED_STATUS = "5.2.1"
# Cisco writes "#5.1.0 Address rejected."
_LEADING_STATUS = re.compile(r"[#(\[]?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
ANY_STATUS = re.compile(r"(?<![\w.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.])")
# Exchange Online for an address missing from its directory, with status 5.4.1.
_EDGE_BLOCK = "recipient address rejected: access denied"

# Begun only where a word begins: from each letter of a long one it would take quadratic time.
_QUOTED_ADDRESS = re.compile(r"<[^<>]*@[^<>]*>|\"[^\"]*\"@\S*|(?<![\w.+-])[^\s@]{0,256}@\S*")
# A reply has a few lines of 512 octets (RFC 5321 §4.5.3.1.5); more is not worth reading.
_LONGEST_TEXT = 2000


def classify_rcpt(code: int, enhanced: str | None, text: str) -> ReplyMeaning:
    """The meaning of a reply to RCPT TO.

    code: the reply code; enhanced: RFC 3463 status ("5.1.1") or None; text: the rest, any lines.
    `mailbox_not_found` takes a 5xx that speaks of the mailbox and holds nothing about us:
    a reply that can be read both ways is never proof.
    """
    if code in (250, 251):
        return "mailbox_exists"
    words = plain_words(text)
    status = status_of(enhanced, words)
    if 400 <= code <= 499:
        return _classify_temporary(status, words)
    if 500 <= code <= 599:
        return _classify_permanent(code, status, words)
    return "unclear_reply"


def classify_other(code: int, enhanced: str | None, text: str) -> ReplyMeaning:
    """The meaning of a refusal at the greeting, EHLO or MAIL FROM: never about the mailbox."""
    if 400 <= code <= 499:
        meaning = classify_rcpt(code, enhanced, text)
        return "temporary_failure" if meaning == "mailbox_full" else meaning
    return "probe_blocked" if 500 <= code <= 599 else "unclear_reply"


def refuses_mailbox(code: int, enhanced: str | None, text: str) -> bool:
    """Whether the server turns this address away for good, where it might accept another.

    Less than proof, and enough to say that the server does not accept just any address.
    Yandex: "550 5.7.1 No such user!".
    """
    if not 500 <= code <= 599:
        return False
    meaning = classify_rcpt(code, enhanced, text)
    return (
        meaning in ("mailbox_not_found", "unclear_reply")
        or _NOT_FOUND.search(plain_words(text)) is not None
    )


def is_too_many_recipients(code: int, enhanced: str | None) -> bool:
    """Whether only this transaction is full (RFC 3463 X.5.3; 452 in RFC 5321 §4.5.3.1.10)."""
    return code in (452, 552) and enhanced in ("4.5.3", "5.5.3")


def status_of(enhanced: str | None, words: str) -> str | None:
    """The reply's RFC 3463 status, also where its text has it in brackets."""
    leading = _LEADING_STATUS.match(words)
    return enhanced or (leading[1] if leading else None)


def plain_words(text: str) -> str:
    """A reply's words on one line, without the addresses that it quotes."""
    # A quoted address may hold any word: <no.such.user@...>, <policy@...>.
    return " ".join(_QUOTED_ADDRESS.sub(" ", text[:_LONGEST_TEXT]).split())


def _classify_temporary(status: str | None, words: str) -> ReplyMeaning:
    if GREYLISTED.search(words):
        return "greylisted"
    if BLOCKED.search(words):
        return "probe_blocked"
    if TOO_FAST.search(words):
        return "temporary_failure"
    if status == "4.2.2" or _FULL.search(words):
        return "mailbox_full"
    return "temporary_failure"


def _classify_permanent(code: int, status: str | None, words: str) -> ReplyMeaning:
    statuses = {status, *ANY_STATUS.findall(words)}
    if (
        BLOCKED.search(words)
        or _ABOUT_US.search(words)
        or TOO_FAST.search(words)
        or statuses & _ABOUT_SENDER_STATUS
        or any(found is not None and found[1:4] == ".7." for found in statuses)
    ):
        return "probe_blocked"
    if any(found is not None and found[0] != "5" for found in statuses):
        # Permanent by its code and not by its status: no proof.
        return "unclear_reply"
    if _is_full(code, status, words):
        return "mailbox_full"
    if status in _NOT_FOUND_STATUS or status == _MAILBOX_DISABLED_STATUS:
        return "mailbox_not_found"
    if status == "5.4.1" and _EDGE_BLOCK in words.lower():
        return "mailbox_not_found"
    if _NOT_FOUND.search(words):
        return "mailbox_not_found"
    return "unclear_reply"


def _is_full(code: int, status: str | None, words: str) -> bool:
    # 552 is "exceeded storage allocation" (RFC 5321 §4.2.2) unless its status says otherwise.
    return (
        status == "5.2.2"
        or (code == 552 and (status is None or status.startswith("5.2.")))
        or _FULL.search(words) is not None
    )
