from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailkit.smtp.outcomes import parse_reply
from mailkit.verify.replies import classify_other, classify_rcpt, refuses_mailbox

# Replies to RCPT as servers word them.
WORDINGS = {
    "mailbox_exists": [
        "250 2.1.5 OK",
        "250 Accepted",
        "251 User not local; will forward",
    ],
    "mailbox_not_found": [
        # Gmail
        "550-5.1.1 The email account that you tried to reach does not exist. Please try\n"
        "550-5.1.1 double-checking the recipient's email address for typos or\n"
        "550-5.1.1 unnecessary spaces. For more information, go to\n"
        "550 5.1.1  https://support.google.com/mail/?p=NoSuchUser abc123 - gsmtp",
        "550 5.2.1 The email account that you tried to reach is disabled.",
        # Outlook.com, Exchange Online, Exchange
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        "550 5.4.1 Recipient address rejected: Access denied. [AM0EUR02FT012.eop]",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        # Postfix, Exim, Sendmail, Dovecot, Courier, qmail
        "550 5.1.1 <a@b.example>: User unknown in local recipient table",
        "550 5.1.1 <a@b.example>: User unknown in relay recipient table",
        "550 5.1.0 Address rejected.",
        "550 #5.1.0 Address rejected.",
        "550 Unrouteable address",
        "550 Unknown user",
        "550 5.1.1 <a@b.example>... User unknown",
        "550 5.1.1 <a@b.example> User doesn't exist: a@b.example",
        "550 No such user here",
        "550 no mailbox by that name is currently available",
        "553 sorry, no mailbox here by that name. (#5.1.1)",
        # Others
        "550 No Such User Here",
        "550 Mailbox not found",
        "550 Invalid recipient",
        "550 invalid mailbox. User not found",
        "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]",
        "550 a@b.example: this account is not a valid mailbox",
        "550 5.1.1 unknown or illegal alias: a@b.example",
        "550-Callout\n550 User unknown",
        "550 Recipient unknown",
        # Words about us inside the quoted address only
        "550 5.1.1 <policy.blocked.spam@b.example>: User unknown",
        '550 5.1.1 <"blocked by policy"@b.example> User unknown',
    ],
    "mailbox_full": [
        "552 5.2.2 The email account that you tried to reach is over quota.",
        "452 4.2.2 The email account that you tried to reach is over quota.",
        "452-4.2.2 The recipient's inbox is out of storage space.\n452 4.2.2 gsmtp",
        "552 Requested mail action aborted: exceeded storage allocation",
        "550 5.2.2 <a@b.example>: Mailbox full",
        "554 5.2.2 mailbox full",
        "422 The recipient's mailbox is over quota",
        "452 Mailbox is full",
        "550 Quota exceeded",
        "552 5.2.0 a@b.example quota exceeded",
        "550 User has exceeded his mailbox quota",
    ],
    "greylisted": [
        "451 4.7.1 Greylisting in action, please come back later",
        "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted, see http://postgrey.example",
        "451 graylisted - please try again in 300 seconds",
        "450 4.7.1 Service unavailable, try again in 5 minutes; client host policy",
        "451 Grey-listed",
    ],
    "temporary_failure": [
        "450 4.1.1 <a@b.example>: Recipient address rejected: User unknown",
        "450 4.2.1 The user you are trying to contact is receiving mail at a rate that is too high",
        "451 4.3.0 Temporary server error",
        "452 4.3.1 Insufficient system storage",
        "452 4.5.3 Too many recipients",
        "421 4.7.0 Too many connections, rate limited",
        "450 4.7.1 Quota exceeded: daily limit of this sender",
        "451 5.1.1 User unknown",
        "400",
    ],
    "probe_blocked": [
        "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your ISP",
        "550 5.7.25 The IP address sending this message does not have a PTR record setup",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
        "550 5.7.1 <a@b.example> user unknown",
        "550 5.7.1 No such user!",
        "554 <a@b.example>: Relay access denied",
        "550 relay not permitted",
        "550 5.1.8 <x@y.example>: Sender address rejected: Domain not found",
        "550 5.1.1 <x@y.example>: Sender address rejected: User unknown in virtual alias table",
        "550-Verification failed for <x@y.example>\n550-Response: 550 5.1.1 User unknown\n"
        "550 Sender verify failed",
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
        "550 5.1.7 Address rejected",
        "550 5.1.8 Address rejected",
        "550 Your IP is listed on bl.spamcop.net",
        "550 rejected because of policy reasons",
        "550 Mailbox unavailable: not authorized",
        "550 Mailbox unavailable or access denied",
        "550 Domain frequency limited.",
        "550 mailbox unavailable, rate limit exceeded",
        "550 No such user; reverse DNS lookup failed",
        "550 Blocked. See 5.1.1 unknown user",
        "550 Invalid sender address",
        "550 User unknown (5.7.1)",
        "450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.1]",
        "451 4.7.1 Your IP is on a blocklist",
        "530 5.7.0 Authentication required",
    ],
    "unclear_reply": [
        "550",
        "550 Rejected",
        "554 Transaction failed",
        "503 5.5.1 Bad sequence of commands",
        "550 4.1.1 User unknown",
        "550 User unknown (4.2.1)",
        "552 5.3.4 Message too big",
        "550 5.4.1 Something else",
        "252 Cannot verify, will try",
        "354 Go ahead",
    ],
}


@pytest.mark.parametrize(
    ("meaning", "wording"),
    [(meaning, wording) for meaning, wordings in WORDINGS.items() for wording in wordings],
)
def test_wordings(meaning, wording):
    lines = wording.split("\n")
    lines = [f"{line[:3]}-{line[4:]}" for line in lines[:-1]] + lines[-1:]
    reply = parse_reply([line.encode() for line in lines])
    assert reply is not None
    assert classify_rcpt(reply.code, reply.enhanced, reply.text) == meaning


FRAGMENTS = [
    "user unknown", "no such", "mailbox", "account", "not found", "does not exist", "disabled",
    "full", "over quota", "5.1.1", "#5.1.0", "5.7.1", "4.2.2", "blocked", "policy", "rate",
    "spamhaus", "sender", "PTR", "greylisted", "try again in 5 minutes", "<a@b>",
]  # fmt: skip
TEXT = st.text() | st.lists(st.sampled_from(FRAGMENTS)).map(" ".join)
STATUS = st.none() | st.from_regex(r"[245]\.[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True)


@given(st.integers(200, 599), STATUS, TEXT)
def test_only_a_5xx_that_is_not_about_us_says_not_found(code, enhanced, text):
    if classify_rcpt(code, enhanced, text) == "mailbox_not_found":
        assert code >= 500
        assert enhanced is None or (enhanced[0] == "5" and not enhanced.startswith("5.7."))
        assert not set(text.lower().split()) & {
            "5.7.1", "4.2.2", "blocked", "policy", "rate", "spamhaus", "sender", "ptr"
        }  # fmt: skip


@given(st.integers(200, 599), STATUS, TEXT)
def test_only_a_positive_reply_says_exists(code, enhanced, text):
    assert (classify_rcpt(code, enhanced, text) == "mailbox_exists") == (code in (250, 251))


@given(st.integers(200, 599), STATUS, TEXT)
def test_a_refusal_before_rcpt_is_never_about_the_mailbox(code, enhanced, text):
    meaning = classify_other(code, enhanced, text)
    assert meaning not in ("mailbox_exists", "mailbox_not_found", "mailbox_full")


@given(st.integers(500, 599), STATUS, st.sampled_from(["blocked", "Spamhaus", "POLICY", "no PTR"]))
@example(550, "5.1.1", "user unknown, blocked")
def test_words_about_us_win_over_the_status(code, enhanced, word):
    assert classify_rcpt(code, enhanced, f"User unknown: {word}.") == "probe_blocked"


@given(st.integers(500, 599), st.from_regex(r"5\.7\.[0-9]{1,3}", fullmatch=True), TEXT)
def test_5_7_is_always_about_us(code, enhanced, text):
    assert classify_rcpt(code, enhanced, text) == "probe_blocked"


@given(st.integers(200, 599), STATUS, TEXT)
def test_only_a_permanent_refusal_refuses_the_mailbox(code, enhanced, text):
    if refuses_mailbox(code, enhanced, text):
        assert code >= 500


@pytest.mark.parametrize("piece", ["a", "a ", "<", '"', "exceed a ", "user have an ", "@", "5."])
def test_a_text_without_end_is_not_read_to_its_end(piece):
    assert classify_rcpt(550, None, piece * 60_000 + " user unknown") == "unclear_reply"
