"""From the bytes of a message to what it says: delivery reports first, then what else there is.

Sources: RFC 3464 and 3461 (delivery reports), RFC 5965 and 6650 (complaints), RFC 3834 (automatic
answers), and flufl.bounce for servers that follow none of them.
"""

from __future__ import annotations

import logging
import re
from email.message import Message

from flufl.bounce import all_failures

from mailkit.dsn import answers, classes, complaints
from mailkit.dsn.parts import LARGEST, field, parse, parts, text_of
from mailkit.dsn.results import Kind, Report, Returned

logger = logging.getLogger(__name__)

MOST_RECIPIENTS = 50
MOST_SCANNED = 64 * 1024
_ADDRESS = re.compile(r"[^\s<>\"',;:()\[\]]{1,64}@[^\s<>\"',;:()\[\]]{1,253}")
_ID = re.compile(r"<[^<>\s]{3,500}@[^<>\s]{1,255}>")
_QUOTED_ID = re.compile(r"^[> |]*Message-I[dD]:\s*(<[^<>\s]{3,500}>)", re.MULTILINE)
_QUOTED_LETTER = re.compile(
    r"^(?:-{2,}.{0,20}(?:this|below|original|returned|copy|unsent|received|исходн).{0,60}"
    r"|.{0,40}(?:copy of (?:the|your) (?:original )?message|original message (?:follows|headers))"
    r".{0,40}|(?:Return-Path|Received): .*)$",
    re.MULTILINE | re.IGNORECASE,
)
_ANGLES = re.compile(r"[<>]")


def read(raw: bytes) -> Returned:
    """What the message says. Takes up to 1 MB of it; never raises."""
    try:
        return _read(parse(raw), raw)
    # The email package raises nearly anything at malformed input: ValueError, IndexError,
    # AttributeError and RecursionError have all been seen. It is kept as what nobody can read.
    except Exception:
        logger.warning("a message of %s octets cannot be read", len(raw[:LARGEST]), exc_info=True)
        return Returned("other")


def _read(message: Message, raw: bytes) -> Returned:
    found = list(parts(message))
    reports = complaints.reports(message, found) or _delivery_reports(found)
    if not reports:
        kind = answers.kind_of(message, found)
        if kind == "other":
            reports = _by_heuristics(raw, found)
        else:
            reports = [Report(kind, text=_words(found)[: classes.LONGEST])]
    kinds = {report.kind for report in reports}
    order: tuple[Kind, ...] = ("complaint", "bounce", "delayed", "auto_reply", "challenge")
    return Returned(
        next((one for one in order if one in kinds), "other"),
        tuple(reports[:MOST_RECIPIENTS]),
        _message_ids(message, found),
        _addresses(message, found),
        field(message, "Subject")[:300],
    )


# RFC 3464.


def _delivery_reports(found: list[Message]) -> list[Report]:
    reports: list[Report] = []
    for part in found:
        if part.get_content_type() not in (
            "message/delivery-status",
            "message/global-delivery-status",  # RFC 6533
        ):
            continue
        blocks = part.get_payload()
        if not isinstance(blocks, list):
            continue
        for block in blocks:
            report = _of_recipient(block, found)
            if report:
                reports.append(report)
    return reports


def _of_recipient(block: object, found: list[Message]) -> Report | None:
    """One group of per-recipient fields (RFC 3464 section 2.3)."""
    if not isinstance(block, Message):
        return None
    action = field(block, "Action").lower()
    status_words = field(block, "Status").split()
    status = status_words[0] if status_words else ""
    if not re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", status):
        status = ""
    if action.startswith("delayed"):
        kind: Kind = "delayed"
    elif action.startswith(("fail", "error")) or (not action and status[:1] == "5"):  # OpenSMTPD
        kind = "bounce"
    else:
        return None  # delivered, relayed, expanded
    recipient = _recipient(block)
    text = _typed(field(block, "Diagnostic-Code"))
    if not text:
        text = _words(found)
    return classes.bounce(recipient, text, status=status, kind=kind)


def _recipient(block: Message) -> str:
    """Original before final: what the letter was sent to, before it was forwarded."""
    for name in ("Original-Recipient", "Final-Recipient", "X-Actual-Recipient"):
        address = _ADDRESS.search(_typed(field(block, name)))
        if address:
            return address[0]
    return ""


def _typed(value: str) -> str:
    """`rfc822; a@b` and `smtp; 550 …` without the type; xtext's +XX is left (RFC 3461)."""
    kind, semicolon, rest = value.partition(";")
    plain = semicolon and re.fullmatch(r"\s*[\w-]+\s*", kind)
    return (rest if plain else value).strip()


# Servers that do not follow it.


def _by_heuristics(raw: bytes, found: list[Message]) -> list[Report]:
    temporary, permanent = _scanned(raw)
    text = _words(found)
    kinds: list[tuple[Kind, frozenset[bytes]]] = [("bounce", permanent), ("delayed", temporary)]
    return [
        classes.bounce(address, _about(address, text), kind=kind)
        for kind, addresses in kinds
        for address in sorted(one.decode("ascii", "replace") for one in addresses)
    ]


def _scanned(raw: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Of the beginning alone: each of its detectors goes through all lines, some of them slowly."""
    try:
        temporary, permanent = all_failures(parse(raw[:MOST_SCANNED]))
    except Exception:
        logger.warning("flufl.bounce failed at a message", exc_info=True)
        return frozenset(), frozenset()
    return frozenset(temporary), frozenset(permanent)


def _about(address: str, text: str) -> str:
    """What stands behind a recipient's address in a text, or all of it."""
    before, named, _after = text.lower().partition(address.lower())
    if not named:
        return text[: classes.LONGEST]
    start = text.rfind("\n", 0, len(before)) + 1
    return text[start : start + 1000]


def _words(found: list[Message]) -> str:
    """The report's own words for people, without the letter that it quotes."""
    for part in found:
        if part.get_content_maintype() == "text":
            text = text_of(part)
            if text.strip():
                quoted = _QUOTED_LETTER.search(text)
                own = text[: quoted.start()] if quoted else text
                return (own if len(own.strip()) > 20 else text)[: 4 * classes.LONGEST]
    return ""


# What it is about.


def _message_ids(message: Message, found: list[Message]) -> tuple[str, ...]:
    """The letters that are attached, quoted or answered, the surest first."""
    ids: list[str] = []
    for part in found:
        if part.get_content_type() == "message/rfc822":
            inside = part.get_payload()
            if isinstance(inside, list) and inside and isinstance(inside[0], Message):
                ids += _ID.findall(field(inside[0], "Message-ID"))
        elif part is not message and part.get_content_maintype() in ("text", "message"):
            ids += _QUOTED_ID.findall(text_of(part))
    if not message.is_multipart():
        ids += _QUOTED_ID.findall(text_of(message))
    for name in ("In-Reply-To", "References", "X-Original-Message-ID", "Original-Message-ID"):
        ids += _ID.findall(field(message, name))
    return tuple(dict.fromkeys(ids))[:20]


def _addresses(message: Message, found: list[Message]) -> tuple[str, ...]:
    """Where it was sent, and the return paths of the letters in it."""
    fields = [
        field(message, name)
        for name in ("X-Original-To", "Delivered-To", "Envelope-To", "X-Envelope-To", "To", "Cc")
    ]
    for part in found:
        if part.get_content_type() == "message/feedback-report":
            fields.append(complaints.original_sender(part))
        if part.get_content_type() == "message/rfc822":
            inside = part.get_payload()
            if isinstance(inside, list) and inside and isinstance(inside[0], Message):
                fields.append(field(inside[0], "Return-Path"))
    addresses = [_ANGLES.sub("", one) for text in fields for one in _ADDRESS.findall(text)]
    return tuple(dict.fromkeys(addresses))[:20]
