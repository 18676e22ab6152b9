"""Messages as servers send them back."""

from __future__ import annotations

import smtplib

from apps.campaigns import letters, tokens
from apps.campaigns.models import Delivery


def return_path(row: Delivery) -> str:
    local = tokens.local_part(tokens.RETURN_PATH, row.campaign_id, row.contact_id)
    return f"{local}@returns.shop.test"


def dsn(
    row: Delivery,
    said: str = "550 5.1.1 No such user here",
    *,
    status: str = "5.1.1",
    action: str = "failed",
    recipient: str = "",
) -> bytes:
    message_id = letters.message_id_of(row.campaign_id, row.contact_id, "news@shop.test")
    return (
        "From: MAILER-DAEMON@mx.example\r\nTo: <return@shop.test>\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n"
        f"\r\nFinal-Recipient: rfc822; {recipient or row.email}\r\nAction: {action}\r\n"
        f"Status: {status}\r\nDiagnostic-Code: smtp; {said}\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: {message_id}\r\n"
        "Subject: News\r\n\r\n--b--\r\n"
    ).encode()


def complaint(row: Delivery) -> bytes:
    return (
        "From: feedback@provider.example\r\nSubject: FW: News\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"
        f"User-Agent: Loop/1\r\nVersion: 1\r\nOriginal-Rcpt-To: {row.email}\r\n\r\n--b--\r\n"
    ).encode()


def plain(subject: str, text: str = "Hello", **fields: str) -> bytes:
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"From: anna@example.com\r\nSubject: {subject}\r\n{named}\r\n{text}\r\n".encode()


def hand_in(port: int, to: str, data: bytes, sender: str = "") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
        server.sendmail(sender, [to], data)
