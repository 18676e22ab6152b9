"""Letters as their recipients have them in a running stack, and what recipients do with them."""

from __future__ import annotations

import email
import email.policy
import http.client
import json
import re
import smtplib
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.stack import RunningStack

BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)


@dataclass(frozen=True)
class Received:
    """A letter as the sandbox's mail server has stored it."""

    contact: int
    return_path: str
    headers: dict[str, str]
    html: str

    def links(self) -> list[str]:
        return re.findall(r'href="(http[^"]+/c/[^"]+)"', self.html)

    def link_of_button(self) -> str:
        return self._only(r'href="([^"]+/c/[^"]+)"[^>]*>\s*To the shop')

    def pixel(self) -> str:
        return self._only(r'src="(http[^"]+/o/[^"]+\.gif)"')

    def _only(self, pattern: str) -> str:
        [found] = re.findall(pattern, self.html)
        return str(found)


class SentCampaign:
    """What the database knows of one campaign."""

    def __init__(self, stack: RunningStack, pk: str) -> None:
        self.stack, self.pk = stack, pk

    def received(self, kind: str, number: int = 1) -> Received:
        address = f"reader{number}@{kind}.sandbox.test"
        [(contact, return_path, data)] = self.stack.sql(
            "SELECT d.contact_id, m.envelope_from, m.data FROM sandbox_message m "
            "JOIN campaigns_delivery d ON d.email = m.recipient "
            "JOIN campaigns_campaign c ON c.id = d.campaign_id AND c.workspace_id::text = m.inbox "
            "WHERE d.campaign_id = %s AND m.recipient = %s",
            self.pk, address,
        )  # fmt: skip
        message = email.message_from_bytes(bytes(data), policy=email.policy.default)
        body = message.get_body(("html",))
        assert body is not None
        return Received(contact, return_path, dict(message.items()), body.get_content())

    def age(self, letter: Received) -> None:
        """Hand a letter over ten minutes ago: the test's only shortcut. What comes within five
        seconds of the hand-over is a machine's."""
        self.stack.sql(
            "UPDATE campaigns_delivery SET updated_at = updated_at - interval '10 minutes' "
            "WHERE campaign_id = %s AND contact_id = %s RETURNING 1",
            self.pk, letter.contact,
        )  # fmt: skip

    def statuses(self) -> dict[str, int]:
        found = self.stack.sql(
            "SELECT status, count(*) FROM campaigns_delivery WHERE campaign_id = %s GROUP BY 1",
            self.pk,
        )
        return {str(status): int(number) for status, number in found}

    def events(self) -> Counter[tuple[int, str, bool]]:
        """(contact, kind, whether a machine did it) of everything that happened."""
        rows = self.stack.sql(
            "SELECT contact_id, kind, machine FROM tracking_event WHERE campaign_id = %s", self.pk
        )
        return Counter((int(contact), str(kind), bool(machine)) for contact, kind, machine in rows)


def visit(url: str, method: str = "GET", body: str = "") -> tuple[int, str | None]:
    """Status and Location of a request by somebody without a session."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    headers = {"User-Agent": BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, parts._replace(scheme="", netloc="").geturl(), body, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.getheader("Location")


def report_again(stack: RunningStack, letter: Received) -> None:
    """A second server tells of the same letter, to its return path."""
    port = json.loads((stack.folder / "runtime.json").read_text())["inbound_port"]
    report = (
        "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; {letter.headers['To']}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n\r\n--b--\r\n"
    )
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
        server.sendmail("", [letter.return_path], report.encode())
        code, _words = server.docmd("MAIL", "FROM:<>")
        assert code == 250
        # An address that we did not make is nobody's.
        forged = letter.return_path.replace("@", "0@")
        assert server.docmd("RCPT", f"TO:<{forged}>")[0] == 550
