"""Replies to letters as servers word them, and whose fault each is."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailkit.smtp.faults import Fault, Kind, classify
from mailkit.smtp.outcomes import BreakCode, Broken, Refused, Reply, Stage, parse_reply


def refused(stage: Stage, text: str) -> Refused:
    reply = parse_reply([line.encode() for line in text.splitlines()])
    assert reply is not None, text
    return Refused(stage, reply)


# At RCPT or after the letter, for good.
PERMANENT: dict[Kind, list[str]] = {
    "mailbox": [
        "550-5.1.1 The email account that you tried to reach does not exist. Please try\n"
        "550-5.1.1 double-checking the recipient's email address for typos or\n"
        "550 5.1.1  https://support.google.com/mail/?p=NoSuchUser abc123 - gsmtp",
        "550 5.2.1 The email account that you tried to reach is disabled.",
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        "550 5.4.1 Recipient address rejected: Access denied. [AM0EUR02FT012.eop]",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]",
        "550 Message was not accepted -- invalid mailbox.  Local mailbox a@mail.ru is "
        "unavailable: user not found",
        "550 5.7.1 No such user!",
        "550 5.1.1 <a@b.example>: User unknown in local recipient table",
        "550 5.1.1 <policy.blocked.spam@b.example>: User unknown",
        "550 Requested action not taken: mailbox unavailable",
        "550 No such user here",
        "550 Invalid recipient",
    ],
    "full": [
        "552 5.2.2 The email account that you tried to reach is over quota.",
        "552-5.2.2 The recipient's inbox is out of storage space and inactive.\n552 5.2.2 gsmtp",
        "552 Requested mail action aborted: exceeded storage allocation",
        "550 5.2.2 <a@b.example>: Mailbox full",
        "554 5.2.2 mailbox full",
        "550 User has exceeded his mailbox quota",
        "552 5.2.2 Mailbox full: the message size exceeds the available quota",
    ],
    "authentication": [
        "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n"
        "550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.\n"
        "550 5.7.26 abc123 - gsmtp",
        "550-5.7.1 Unauthenticated email from b.example is not accepted due to domain's\n"
        "550 5.7.1 DMARC policy. https://support.google.com/mail/answer/2451690",
        "550-5.7.1 This message does not have authentication information or fails to\n"
        "550-5.7.1 pass authentication checks. To best protect our users from spam, the\n"
        "550 5.7.1 message has been blocked.",
        "550 5.7.27 b.example SPF did not pass with ip: 192.0.2.1",
        "550 5.7.30 DKIM did not pass",
        "550 5.7.509 Access denied, sending domain b.example does not pass DMARC verification "
        "and has a DMARC policy of reject.",
        "550 5.7.515 Access denied, sending domain b.example doesn't meet the required "
        "authentication level.",
        "554 5.7.9 Message not accepted for policy reasons. DMARC policy of reject",
        "550 5.7.1 This message was not accepted due to domain owner DMARC policy (RFC 7489) "
        "https://help.mail.ru/mail-help/postmaster/dmarc",
        "550 5.7.23 The message was rejected because of Sender Policy Framework violation",
        "550 5.7.20 No passing DKIM signature found",
        "501 5.0.2 Mail rejected. DMARC check failed. OFR_517",
    ],
    "spam": [
        "550-5.7.1 Our system has detected that this message is likely unsolicited mail.\n"
        "550 5.7.1 To reduce the amount of spam sent to Gmail, this message has been blocked.",
        "550-5.7.28 Our system has detected an unusual rate of unsolicited mail originating\n"
        "550 5.7.28 from your IP address. Mail sent from your IP address has been blocked.",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your "
        "Internet service provider since part of their network is on our block list (S3150).",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
        "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in "
        "Spamhaus's list",
        "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x or "
        "report details to abuse@corp.mail.ru. Error code: A1. ID: 0.",
        "554 5.7.1 [2] Message rejected under suspicion of SPAM; "
        "https://ya.cc/1IrBc 1700000000-abc",
        "554 5.7.1 Blocked by spam statistics - see http://feedback.yandex.ru/?from=mail",
        "550 5.7.1 message content rejected due to spam. https://support.apple.com/HT204137",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "554 5.7.1 [HM08] Message rejected due to local policy: your domain has a poor reputation",
        "550 Your IP is listed on bl.spamcop.net",
        "550 5.0.1 Invalid Sender. Your domain has been blacklisted",
        "550 No such user; your IP is on our block list",
    ],
    "policy": [
        "554 5.7.9 Message not accepted for policy reasons. See https://senders.yahooinc.com",
        "554-Transaction failed\n554-Reject due to policy restrictions.\n"
        "554 For explanation visit https://postmaster.gmx.net/en/error-messages?ip=192.0.2.1",
        "550 5.7.25 The IP address sending this message does not have a PTR record setup",
        "550 5.7.1 <mx.b.example>: Helo command rejected: Host not found",
        "550 5.7.1 <a@b.example> user unknown",
        "554 Email rejected due to security policies",
        "550 5.7.1 Delivery not authorized, message refused",
        "550 rejected because of policy reasons",
    ],
    "size": [
        "552 5.3.4 Message size exceeds fixed limit",
        "552-5.2.3 Your message exceeded Google's message size limits.\n552 5.2.3 gsmtp",
        "552 5.3.4 Error: message file too big",
        "554 5.2.3 The message is larger than the current system limit",
        "552 Message size exceeds maximum permitted",
        "550 Message too large",
    ],
    "content": [
        "552-5.7.0 This message was blocked because its content presents a potential\n"
        "552 5.7.0 security issue. https://support.google.com/mail/?p=BlockedMessage",
        "550-5.7.1 This message is not RFC 5322 compliant, the issue is: duplicate To\n"
        "550 5.7.1 headers. To reduce the amount of",
        "554 5.6.0 Malformed message",
        "550 5.6.7 the address needs SMTPUTF8",
        "554 5.7.1 The message contains a virus: Eicar-Test-Signature",
        "550 Mail content denied. https://service.mail.qq.com",
    ],
    "rate": [
        "550-5.2.1 The user you are trying to contact is receiving mail at a rate that\n"
        "550 5.2.1 prevents additional messages from being delivered.",
        "550 Ip frequency limited. https://service.mail.qq.com",
        "550 5.7.1 Too many messages from this sender in one hour",
    ],
    "relay": [
        "550 relay not permitted",
        "554 5.7.1 <a@b.example>: Relay access denied",
        "553 5.7.1 <x@y.example>: Sender address rejected: not owned by user shop",
        "550 5.1.8 <x@y.example>: Sender address rejected: Domain not found",
        "550 5.1.7 Address rejected",
        "550 Please turn on SMTP Authentication in your mail client",
        "550 5.4.5 Daily user sending limit exceeded. https://support.google.com/mail/answer/22839",
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        "554 Message rejected: Email address is not verified. The following identities failed",
        "550-Verification failed for <x@y.example>\n550-Response: 550 5.1.1 User unknown\n"
        "550 Sender verify failed, invalid sender",
    ],
    "other": [
        "554 Transaction failed",
        "550 5.1.2 Bad destination host 'DNS Hard Error looking up b.example'",
        "554",
        "571 no",
    ],
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PERMANENT.items() for text in texts]
)
@pytest.mark.parametrize("stage", ["rcpt", "data", "body"])
def test_permanent_refusals_of_a_letter(kind: Kind, text: str, stage: Stage) -> None:
    fault = classify(refused(stage, text))
    assert fault.kind == kind
    assert fault.hard or kind == "rate" or fault.sender_fault


# text: kind, throttled
TEMPORARY: dict[str, tuple[Kind, bool]] = {
    # Gmail
    "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n"
    "421 4.7.28 from your IP address. To protect our users, it has been temporarily limited": (
        "rate",
        True,
    ),
    "421 4.7.0 Try again later, closing connection.": ("policy", True),
    "421 4.4.5 Server busy, try again later.": ("rate", True),
    "450 4.2.1 The user you are trying to contact is receiving mail too quickly.": ("rate", False),
    "421-4.7.26 This mail has been rate limited because it is unauthenticated.\n"
    "421 4.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.": (
        "authentication",
        True,
    ),
    "452 4.2.2 The email account that you tried to reach is over quota.": ("full", False),
    # Microsoft
    "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)": ("rate", True),
    "421 RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate "
    "limit allowed.": ("rate", True),
    "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP "
    "reputation.": ("rate", True),
    # Yahoo
    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume "
    "or user complaints - 4.16.55.1": ("rate", True),
    "451 Resources temporarily not available - Please try again later": ("other", True),
    # Apple, Mail.ru, Yandex, GMX, NetEase
    "451 4.7.1 [HCM1] Your mail from 192.0.2.1 was deferred": ("policy", True),
    "451 Ratelimit exceeded: too many messages": ("rate", True),
    "451 4.7.1 Sorry, the service is currently unavailable. Please come back later.": (
        "policy",
        True,
    ),
    "421 mx.gmx.net Too many connections": ("rate", True),
    "451 DT:SPM mx1": ("other", True),
    # One recipient's troubles slow nobody down.
    "451 4.7.1 Greylisting in action, please come back later": ("other", False),
    "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted": ("other", False),
    "450 4.1.1 <a@b.example>: Recipient address rejected: User unknown": ("other", False),
    "450 4.1.2 <a@b.example>: Recipient address rejected: Domain not found": ("other", False),
    "452 4.3.1 Insufficient system storage": ("other", False),
    "451 4.3.0 Temporary server error": ("other", True),
    "450": ("other", True),
    "421 4.3.2 Service shutting down": ("other", True),
    "451 blocked using zen.spamhaus.org, try later": ("spam", True),
    "450 <a@b.example>: mailbox full, quota exceeded": ("full", False),
    "454 4.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org": ("spam", True),
}


@pytest.mark.parametrize("text", TEMPORARY)
def test_temporary_refusals_of_a_letter(text: str) -> None:
    for stage in ("rcpt", "body"):
        fault = classify(refused(stage, text))
        assert (fault.kind, fault.throttled) == TEMPORARY[text]
        assert fault == Fault(fault.kind, throttled=fault.throttled)


@pytest.mark.parametrize(
    ("stage", "text", "fault"),
    [
        # A permanent no to the sender would meet every letter.
        ("mail", "550 5.1.8 Sender address rejected", Fault("relay", sender_fault=True)),
        ("mail", "550 5.1.1 User unknown", Fault("relay", sender_fault=True)),
        ("mail", "554 5.7.1 You are blocked", Fault("relay", sender_fault=True)),
        ("mail", "530 5.7.0 Authentication required", Fault("relay", sender_fault=True)),
        ("rcpt", "530 5.7.0 Authentication required", Fault("relay", sender_fault=True)),
        ("auth", "535 5.7.8 Authentication failed", Fault("relay", sender_fault=True)),
        ("auth", "500 what?", Fault("relay", sender_fault=True)),
        (
            "rcpt",
            "554 5.7.1 <a@b.example>: Relay access denied",
            Fault("relay", False, False, True),
        ),
        # Our own client says so of one letter.
        ("mail", "553 5.6.7 SMTPUTF8 is needed", Fault("content", hard=True)),
        ("mail", "554 5.6.3 8BITMIME is needed", Fault("content", hard=True)),
        ("mail", "552 5.3.4 Message size exceeds fixed limit", Fault("size", hard=True)),
        # The relay is down or busy: the letters wait.
        ("banner", "554 No SMTP service here", Fault("relay")),
        ("banner", "421 Too many connections", Fault("relay")),
        ("ehlo", "550 5.1.1 User unknown", Fault("relay")),
        ("auth", "454 4.7.0 Temporary authentication failure", Fault("relay")),
        ("mail", "451 4.3.0 Try later", Fault("relay", throttled=True)),
        ("mail", "450 4.7.1 Rate limit exceeded", Fault("rate", throttled=True)),
        # Quoted from another server, about one recipient.
        (
            "rcpt",
            "550 5.1.1 <a@b.example>: undeliverable address: host mx.b.example said: 550 relay "
            "not permitted",
            Fault("relay", hard=True),
        ),
    ],
)
def test_our_side(stage: Stage, text: str, fault: Fault) -> None:
    assert classify(refused(stage, text)) == fault


@pytest.mark.parametrize("error", get_args(BreakCode))
def test_lost_connections(error: BreakCode) -> None:
    fault = classify(Broken("body", error, after_dot=True))
    expected: dict[str, Fault] = {
        "stopped": Fault("other"),
        "not_offered": Fault("relay", sender_fault=True),
        "certificate": Fault("relay", sender_fault=True),
    }
    assert fault == expected.get(error, Fault("network"))
    assert classify(Broken("mail", "stopped")) == Fault("other", hard=True)


BLOCKS = st.sampled_from(
    [
        "Your IP 192.0.2.1 is blocked",
        "blocked using zen.spamhaus.org",
        "Client host rejected",
        "reject due to policy",
        "banned sending IP",
        "poor reputation of your domain",
        "S3150 part of their network is on our block list",
        "spam message rejected",
        "SPF check failed",
        "does not pass DMARC",
        "too many messages",
        "Relay access denied",
        "Sender address rejected",
    ]
)
MAILBOX_WORDS = st.sampled_from(
    ["User unknown", "No such user", "mailbox unavailable", "5.1.1", "Recipient not found", ""]
)


@given(
    block=BLOCKS,
    mailbox=MAILBOX_WORDS,
    code=st.integers(500, 599),
    enhanced=st.sampled_from([None, "5.1.1", "5.2.1", "5.7.1", "5.0.0"]),
    block_first=st.booleans(),
    stage=st.sampled_from(["rcpt", "data", "body"]),
)
def test_a_block_of_us_never_blames_the_contact(
    block: str, mailbox: str, code: int, enhanced: str | None, block_first: bool, stage: Stage
) -> None:
    text = f"{block}; {mailbox}" if block_first else f"{mailbox}; {block}"
    if block == "Client host rejected":
        enhanced = "5.7.1"  # without it these words alone say nothing about us
    reply = Reply(code, enhanced, f"{enhanced} {text}" if enhanced else text)
    assert classify(Refused(stage, reply)).kind != "mailbox"


@given(
    stage=st.sampled_from(get_args(Stage)),
    code=st.integers(400, 599),
    enhanced=st.one_of(st.none(), st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True)),
    text=st.text(max_size=300),
)
@example(stage="rcpt", code=550, enhanced="5.1.1", text="(" * 300)
@example(stage="body", code=550, enhanced=None, text="user " * 400)
def test_any_reply_has_one_kind(stage: Stage, code: int, enhanced: str | None, text: str) -> None:
    fault = classify(Refused(stage, Reply(code, enhanced, text)))
    assert fault.kind in get_args(Kind)
    assert fault.kind != "mailbox" or (
        code >= 500 and stage in ("rcpt", "data", "body", "rset", "quit")
    )
    assert not (fault.hard and fault.sender_fault)
    assert not fault.hard or code >= 500
