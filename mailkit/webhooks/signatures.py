"""Whether a notice comes from the provider.

Amazon SNS: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
UniSender Go: https://godocs.unisender.ru/web-api-ref#callback-format
Postmark and Brevo sign nothing: they send a password or a token if they are given one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

NEEDS_SECRET = frozenset({"mailgun", "sendgrid", "unisender"})
_AMAZON_HOST = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
_SNS_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
_SNS_SIGNED["UnsubscribeConfirmation"] = _SNS_SIGNED["SubscriptionConfirmation"]


def is_genuine(provider: str, body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """headers: by their names in small letters. Of Amazon only the form is looked at here."""
    if provider == "ses":
        return sns_notice(body) is not None
    if provider in NEEDS_SECRET and not secret:
        return False
    check = {
        "mailgun": _of_mailgun,
        "sendgrid": _of_sendgrid,
        "unisender": _of_unisender,
        "postmark": _with_password,
        "brevo": _with_password,
    }[provider]
    return check(body, headers, secret)


def is_usable(provider: str, secret: str) -> bool:
    """Whether the provider's notices could be checked with it."""
    if provider == "sendgrid":
        return _public_key(secret) is not None
    return bool(secret) and secret.isascii()


def is_amazon_url(url: str) -> bool:
    """Whether it leads to Amazon's notification service, over https and nowhere else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme == "https"
        and port in (None, 443)
        and "@" not in parts.netloc
        and _AMAZON_HOST.fullmatch(parts.hostname or "") is not None
    )


def sns_notice(body: bytes) -> dict[str, str] | None:
    """The fields of an SNS message that could be signed; None for anything else."""
    fields = _json(body)
    if not isinstance(fields, dict):
        return None
    found = {name: value for name, value in fields.items() if isinstance(value, str)}
    needed = {"Type", "Signature", "SignatureVersion", "SigningCertURL", "Message", "TopicArn"}
    if not needed <= found.keys() or found["Type"] not in _SNS_SIGNED:
        return None
    if not is_amazon_url(found["SigningCertURL"]) or not found["SigningCertURL"].endswith(".pem"):
        return None
    if found["Type"] == "SubscriptionConfirmation" and not is_amazon_url(
        found.get("SubscribeURL", "")
    ):
        return None
    return found


def is_signed_by_amazon(notice: Mapping[str, str], certificate: bytes) -> bool:
    """notice: of `sns_notice`; certificate: the PEM that its SigningCertURL gives."""
    names = [name for name in _SNS_SIGNED[notice["Type"]] if name in notice]
    signed = "".join(f"{name}\n{notice[name]}\n" for name in names).encode()
    digest = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(notice["SignatureVersion"])
    if digest is None:
        return False
    try:
        signature = base64.b64decode(notice["Signature"], validate=True)
        key = x509.load_pem_x509_certificate(certificate).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        key.verify(signature, signed, padding.PKCS1v15(), digest)
    except (ValueError, binascii.Error, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _of_mailgun(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    fields = _json(body)
    signature = fields.get("signature") if isinstance(fields, dict) else None
    if not isinstance(signature, dict):
        return False
    said = str(signature.get("timestamp", "")) + str(signature.get("token", ""))
    ours = hmac.new(secret.encode(), said.encode(), hashlib.sha256).hexdigest()
    return _same(ours, str(signature.get("signature", "")))


def _of_sendgrid(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    key = _public_key(secret)
    stamp = headers.get("x-twilio-email-event-webhook-timestamp", "")
    signature = headers.get("x-twilio-email-event-webhook-signature", "")
    if key is None or not stamp:
        return False
    try:
        key.verify(
            base64.b64decode(signature, validate=True),
            stamp.encode() + body,
            ec.ECDSA(hashes.SHA256()),
        )
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True


def _public_key(secret: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_der_public_key(base64.b64decode(secret, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _of_unisender(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """MD5 of the body with the account's key in the place of the hash."""
    fields = _json(body)
    said = fields.get("auth") if isinstance(fields, dict) else None
    if not isinstance(said, str) or not re.fullmatch(r"[0-9a-f]{32}", said):
        return False
    ours = hashlib.md5(body.replace(said.encode(), secret.encode(), 1)).hexdigest()
    return _same(ours, said)


def _with_password(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """HTTP Basic, whatever the user, or a bearer token. The address alone where none was set."""
    if not secret:
        return True
    scheme, _, said = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            said = base64.b64decode(said, validate=True).decode().partition(":")[2]
        except (ValueError, binascii.Error):
            return False
    return scheme.lower() in ("basic", "bearer") and _same(said, secret)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
