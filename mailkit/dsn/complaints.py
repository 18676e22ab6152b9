"""Complaints: RFC 5965 reports, and Microsoft's, which are the letter alone.

Providers: Yahoo, AOL, Comcast, Mail.ru, Yandex and the loops of Validity send RFC 5965. Microsoft's
Junk Mail Reporting Program attaches the letter, with the recipient in a field of its own:
https://sendersupport.olc.protection.outlook.com/snds/FAQ.aspx
"""

from __future__ import annotations

import re
from email import message_from_string, policy
from email.message import Message

from mailkit.dsn.parts import field, text_of
from mailkit.dsn.results import Report

_ADDRESS = re.compile(r"[^\s<>\"',;:()\[\]]{1,64}@[^\s<>\"',;:()\[\]]{1,253}")
# RFC 5965 section 7.3 and its registry. "not-spam" takes a complaint back; DKIM and DMARC failure
# reports ("auth-failure", RFC 6591) and "virus" are none by a recipient.
_BY_PEOPLE = frozenset({"abuse", "fraud", "opt-out", "opt-out-list", "miscategorized", "other"})
_MICROSOFT = "X-HmXmrOriginalRecipient"


def reports(message: Message, found: list[Message]) -> list[Report]:
    """The complaint that a message is, if it is one."""
    for part in found:
        if part.get_content_type() == "message/feedback-report":
            return _of_fields(_fields(part))
        if part.get_content_type() == "message/rfc822":
            letter = _inside(part)
            recipient = field(letter, _MICROSOFT) if letter else ""
            if recipient:
                return [Report("complaint", _address(recipient), text="Junk mail report")]
    if field(message, _MICROSOFT) and field(message, "Subject").lower().startswith("complaint"):
        return [Report("complaint", _address(field(message, _MICROSOFT)), text="Junk mail report")]
    return []


def original_sender(part: Message) -> str:
    return field(_fields(part), "Original-Mail-From")


def _of_fields(fields: Message) -> list[Report]:
    kind = field(fields, "Feedback-Type").lower()
    if kind not in _BY_PEOPLE:
        return []
    recipient = ""
    for name in ("Original-Rcpt-To", "Removal-Recipient", "Redacted-Address"):
        recipient = recipient or _address(field(fields, name))
    said = [kind, field(fields, "User-Agent"), field(fields, "Comments")]
    return [Report("complaint", recipient, text=": ".join(one for one in said if one)[:2000])]


def _fields(part: Message) -> Message:
    """The fields of a report: a message of its own to some parsers, a text to others."""
    inside = part.get_payload()
    if isinstance(inside, list) and inside and isinstance(inside[0], Message):
        return inside[0]
    return message_from_string(text_of(part).lstrip(), policy=policy.compat32)


def _inside(part: Message) -> Message | None:
    inside = part.get_payload()
    if isinstance(inside, list) and inside and isinstance(inside[0], Message):
        return inside[0]
    return None


def _address(text: str) -> str:
    found = _ADDRESS.search(text)
    return found[0] if found else ""
