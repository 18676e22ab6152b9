"""What the tests of sending domains share: records in a DNS of their own."""

from __future__ import annotations

from apps.senders.models import DkimKey, SendingDomain
from tests.mailkit.verify.dns_server import Scripted

Records = dict[tuple[str, str], Scripted]


def publish(zone: Records, *keys: DkimKey) -> None:
    for key in keys:
        text = key.record
        zone[name_of(key), "TXT"] = [f'"{text[:200]}" "{text[200:]}"']


def name_of(key: DkimKey) -> str:
    return f"{key.selector}._domainkey.{key.domain.name}"


def keys_of(domain: SendingDomain) -> tuple[DkimKey, DkimKey]:
    """The RSA and the Ed25519 key of a new domain."""
    rsa, ed25519 = domain.keys.order_by("-algorithm")
    return rsa, ed25519
