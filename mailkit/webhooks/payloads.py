"""What the notices of each provider say of our letters. Never raises, whatever they hold.

Amazon SES: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
Postmark: https://postmarkapp.com/developer/webhooks/bounce-webhook
Brevo: https://developers.brevo.com/docs/transactional-webhooks
UniSender Go: https://godocs.unisender.ru/web-api-ref#callback-format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mailkit.dsn import Report
from mailkit.dsn.classes import bounce
from mailkit.smtp import faults
from mailkit.webhooks.results import Notice

MOST = 2000


class Fields:
    """A JSON object of which anything may be missing or of another type."""

    def __init__(self, value: Any) -> None:
        self._value: dict[str, Any] = value if isinstance(value, dict) else {}

    def text(self, *names: str) -> str:
        """The first of these that is a text or a number."""
        for name in names:
            value = self._value.get(name)
            if isinstance(value, str | int | float) and not isinstance(value, bool) and value:
                return str(value)[:4000]
        return ""

    def inside(self, name: str) -> Fields:
        return Fields(self._value.get(name))

    def document(self, name: str) -> Fields:
        """The JSON object that a text holds, however long it is."""
        value = self._value.get(name)
        try:
            return Fields(json.loads(value) if isinstance(value, str) else None)
        except (ValueError, RecursionError):
            return Fields(None)

    def items(self, name: str) -> list[Fields]:
        value = self._value.get(name)
        return [Fields(one) for one in value] if isinstance(value, list) else []

    def hashed(self, *more: str) -> str:
        stable = json.dumps([self._value, *more], sort_keys=True, default=str)
        return hashlib.sha256(stable.encode()).hexdigest()[:40]


def read(provider: str, body: bytes) -> list[Notice]:
    """The bounces, complaints and unsubscriptions among the events."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    events = [Fields(one) for one in value] if isinstance(value, list) else [Fields(value)]
    of: dict[str, Callable[[Fields], Iterator[Notice]]] = {
        "ses": _ses,
        "mailgun": _mailgun,
        "sendgrid": _sendgrid,
        "postmark": _postmark,
        "brevo": _brevo,
        "unisender": _unisender,
    }
    found = [notice for event in events[:MOST] for notice in of[provider](event)]
    return found[:MOST]


def _ses(envelope: Fields) -> Iterator[Notice]:
    event = envelope.document("Message")
    mail = event.inside("mail")
    ids = (mail.inside("commonHeaders").text("messageId"),)
    addresses = (mail.text("source"), mail.inside("commonHeaders").text("returnPath"))
    kind = event.text("notificationType", "eventType")
    if kind == "Bounce":
        said = event.inside("bounce")
        for one in said.items("bouncedRecipients"):
            recipient = one.text("emailAddress")
            text = one.text("diagnosticCode") or said.text("bounceSubType", "bounceType")
            report = bounce(recipient, text.removeprefix("smtp;"), status=one.text("status"))
            if said.text("bounceSubType") == "NoEmail":
                report = _as(report, "mailbox")
            elif said.text("bounceSubType") == "MailboxFull":
                report = _as(report, "full")
            elif said.text("bounceType") == "Transient" and report.hard:
                report = replace(report, hard=False)
            yield Notice(said.text("feedbackId") + recipient, report, ids, addresses)
    elif kind == "Complaint":
        said = event.inside("complaint")
        for one in said.items("complainedRecipients"):
            recipient = one.text("emailAddress")
            report = _complaint(recipient, said.text("complaintFeedbackType"))
            yield Notice(said.text("feedbackId") + recipient, report, ids, addresses)
    elif kind == "DeliveryDelay":
        said = event.inside("deliveryDelay")
        for one in said.items("delayedRecipients"):
            recipient, text = one.text("emailAddress"), one.text("diagnosticCode")
            report = bounce(recipient, text, status=one.text("status"), kind="delayed")
            yield Notice(said.hashed(recipient), report, ids, addresses)


def _mailgun(envelope: Fields) -> Iterator[Notice]:
    event = envelope.inside("event-data")
    message_id = event.inside("message").inside("headers").text("message-id")
    ids = (f"<{message_id.strip('<>')}>",)
    addresses = (event.inside("envelope").text("sender"),)
    recipient = event.text("recipient")
    status = event.inside("delivery-status")
    kind = event.text("event")
    key = event.text("id") or event.hashed()
    if kind == "failed":
        text = " ".join(filter(None, (status.text("code"), status.text("message", "description"))))
        temporary = event.text("severity") == "temporary"
        report = bounce(recipient, text, kind="delayed" if temporary else "bounce")
        # Mailgun itself did not try: it remembers a bounce, a complaint or an unsubscription.
        if event.text("reason") == "suppress-bounce":
            report = _as(report, "mailbox")
        yield Notice(key, report, ids, addresses)
    elif kind == "complained":
        yield Notice(key, _complaint(recipient, "complained"), ids, addresses)
    elif kind == "unsubscribed":
        yield Notice(key, Report("other", recipient), ids, addresses, unsubscribes=True)


def _sendgrid(event: Fields) -> Iterator[Notice]:
    ids = (event.text("smtp-id"),)
    recipient, kind = event.text("email"), event.text("event")
    key = event.text("sg_event_id") or event.hashed()
    if kind in ("bounce", "deferred"):
        text, status = event.text("reason", "response"), event.text("status")
        later = kind == "deferred"
        report = bounce(recipient, text, status=status, kind="delayed" if later else "bounce")
        if event.text("type") == "blocked" and report.hard:
            report = replace(report, hard=False, fault="policy")
        yield Notice(key, report, ids)
    elif kind == "dropped":  # SendGrid itself: the address bounced or complained before
        reason = event.text("reason")
        report = bounce(recipient, reason)
        if reason.startswith("Bounced Address"):
            report = _as(report, "mailbox")
        yield Notice(key, report, ids)
    elif kind == "spamreport":
        yield Notice(key, _complaint(recipient, "spamreport"), ids)
    elif kind in ("unsubscribe", "group_unsubscribe"):
        yield Notice(key, Report("other", recipient), ids, unsubscribes=True)


_POSTMARK: dict[str, faults.Kind] = {
    "HardBounce": "mailbox",
    "BadEmailAddress": "mailbox",
    "Blocked": "policy",
    "SpamNotification": "spam",
    "DMARCPolicy": "authentication",
    "VirusNotification": "content",
}


def _postmark(event: Fields) -> Iterator[Notice]:
    kind = event.text("RecordType")
    recipient = event.text("Email", "Recipient")
    ids = (f"<{event.inside('Metadata').text('message-id')}>", event.text("MessageID"))
    key = f"{kind}:{event.text('ID') or event.hashed()}"
    what = event.text("Type")
    if kind == "SpamComplaint" or what == "SpamComplaint":
        yield Notice(key, _complaint(recipient, "SpamComplaint"), ids)
    elif kind == "SubscriptionChange" and event.text("Origin") == "Recipient":
        yield Notice(key, Report("other", recipient), ids, unsubscribes=True)
    elif kind == "Bounce" and what == "AutoResponder":
        yield Notice(key, Report("auto_reply", recipient, text=event.text("Details")), ids)
    elif kind == "Bounce":
        text = event.text("Details", "Description")
        later = what in ("Transient", "DnsError")
        report = bounce(recipient, text, kind="delayed" if later else "bounce")
        if what in _POSTMARK:
            report = _as(report, _POSTMARK[what])
        yield Notice(key, report, ids)


def _brevo(event: Fields) -> Iterator[Notice]:
    kind = event.text("event")
    recipient, ids = event.text("email"), (event.text("message-id"),)
    key = event.hashed()
    text = event.text("reason")
    if kind in ("hard_bounce", "invalid_email"):
        yield Notice(key, _as(bounce(recipient, text), "mailbox"), ids)
    elif kind in ("soft_bounce", "blocked", "error"):
        report = bounce(recipient, text)
        fault: faults.Kind = "policy" if kind == "blocked" else report.fault
        yield Notice(key, replace(report, hard=False, fault=fault), ids)
    elif kind == "deferred":
        yield Notice(key, bounce(recipient, text, kind="delayed"), ids)
    elif kind in ("spam", "complaint"):
        yield Notice(key, _complaint(recipient, kind), ids)
    elif kind == "unsubscribed":
        yield Notice(key, Report("other", recipient), ids, unsubscribes=True)


_UNISENDER: dict[str, faults.Kind] = {
    "err_user_unknown": "mailbox",
    "err_user_inactive": "mailbox",
    "err_mailbox_discarded": "mailbox",
    "err_domain_inactive": "mailbox",
    "err_mailbox_full": "full",
    "err_spam_rejected": "spam",
    "err_spam_skipped": "spam",
    "err_blacklisted": "spam",
    "err_too_large": "size",
    "err_unreachable": "network",
    "err_destination_misconfigured": "network",
}


def _unisender(envelope: Fields) -> Iterator[Notice]:
    events = [
        event.inside("event_data")
        for user in envelope.items("events_by_user")
        for event in user.items("events")
        if event.text("event_name") == "transactional_email_status"
    ]
    if envelope.text("event_name") == "transactional_email_status":
        events = [envelope]
    for event in events:
        recipient, kind = event.text("email"), event.text("status")
        metadata = event.inside("metadata")
        ids = (metadata.text("message_id", "message-id"),)
        key = event.hashed()
        said = event.inside("delivery_info")
        text = said.text("destination_response") or said.text("delivery_status")
        fault = _UNISENDER.get(said.text("delivery_status"))
        if kind == "hard_bounced":
            report = bounce(recipient, text)
            yield Notice(key, _as(report, fault) if fault else report, ids)
        elif kind == "soft_bounced":
            yield Notice(key, bounce(recipient, text, kind="delayed"), ids)
        elif kind == "spam":
            yield Notice(key, _complaint(recipient, "spam"), ids)
        elif kind == "unsubscribed":
            yield Notice(key, Report("other", recipient), ids, unsubscribes=True)


def _complaint(recipient: str, text: str) -> Report:
    return Report("complaint", recipient, text=text)


def _as(report: Report, fault: faults.Kind) -> Report:
    """With the class that the provider gives it, which has seen more than one reply."""
    return replace(report, fault=fault, hard=fault == "mailbox" and report.kind == "bounce")
