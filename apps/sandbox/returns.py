"""What the sandbox's mail servers send back after they have accepted a message."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import uuid

from apps.sandbox.store import StoredMessage
from apps.sandbox.world import ROOT, Smtp

logger = logging.getLogger(__name__)

_SECONDS = 10
_TRIES = 3
_REASON = "550 5.1.1 No such user here"


async def send(message: StoredMessage, smtp: Smtp, port: int) -> None:
    """To the return path, by SMTP to the receiver on loopback; given up after some tries."""
    made = _complaint(message) if smtp is Smtp.COMPLAIN else _report(message)
    for attempt in range(_TRIES):
        try:
            await asyncio.to_thread(_hand_over, made, message.envelope_from, port)
            return
        except (OSError, smtplib.SMTPException) as error:
            logger.info("sandbox: a report for %s did not go: %s", message.envelope_from, error)
            if isinstance(error, smtplib.SMTPRecipientsRefused):
                return
            await asyncio.sleep(2**attempt)


def _hand_over(made: bytes, to: str, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=_SECONDS) as server:
        server.sendmail("", [to], made)


def _report(message: StoredMessage) -> bytes:
    """RFC 3464, as Postfix writes it."""
    fields = (
        f"Reporting-MTA: dns; mx1.{ROOT}\n\n"
        f"Final-Recipient: rfc822; {message.recipient}\n"
        f"Original-Recipient: rfc822;{message.recipient}\n"
        "Action: failed\nStatus: 5.1.1\n"
        f"Remote-MTA: dns; mailstore.{ROOT}\nDiagnostic-Code: smtp; {_REASON}\n"
    )
    text = (
        f"This is the mail system at host mx1.{ROOT}.\n\n"
        "I'm sorry to have to inform you that your message could not be delivered.\n\n"
        f"<{message.recipient}>: host mailstore.{ROOT} said: {_REASON}\n"
        "    (in reply to RCPT TO command)\n"
    )
    return _made(
        message,
        "delivery-status",
        f"MAILER-DAEMON@mx1.{ROOT} (Mail Delivery System)",
        "Undelivered Mail Returned to Sender",
        text,
        f"Content-Type: message/delivery-status\n\n{fields}\n",
    )


def _complaint(message: StoredMessage) -> bytes:
    """RFC 5965."""
    fields = (
        "Feedback-Type: abuse\nUser-Agent: Sandbox/1.0\nVersion: 1\n"
        f"Original-Mail-From: <{message.envelope_from}>\n"
        f"Original-Rcpt-To: <{message.recipient}>\n"
    )
    return _made(
        message,
        "feedback-report",
        f"feedback@{ROOT}",
        "Complaint about a message",
        "A recipient called this message spam.\n",
        f"Content-Type: message/feedback-report\n\n{fields}\n",
    )


def _made(
    message: StoredMessage, kind: str, sender: str, subject: str, text: str, part: str
) -> bytes:
    boundary = uuid.uuid4().hex
    delimiter = f"--{boundary}\n"
    headers = message.data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n")
    head = (
        f"From: {sender}\nTo: <{message.envelope_from}>\nSubject: {subject}\n"
        f"Message-ID: <{boundary}@mx1.{ROOT}>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="{boundary}"\n\n'
        f"{delimiter}Content-Type: text/plain; charset=utf-8\n\n{text}\n"
        f"{delimiter}{part}\n"
        f"{delimiter}Content-Type: message/rfc822\n\n"
    )
    whole = head.encode() + headers + f"\n\n--{boundary}--\n".encode()
    return whole.replace(b"\n", b"\r\n")
