"""Notices of providers of relays: who sent them, and whose letters they are about."""

from __future__ import annotations

import logging
import secrets as randomness
import urllib.request
from datetime import timedelta

from django.core.cache import cache
from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.campaigns import tokens
from apps.campaigns.models import Campaign, Delivery
from apps.mailer.models import Contact
from apps.returns.models import InboundMessage, Webhook
from apps.returns.services import receiving
from apps.returns.services.effects import Letter, Said
from core import secrets
from core.errors import InvalidInput, NotAllowed
from mailkit.webhooks import payloads, signatures
from mailkit.webhooks.results import Notice

logger = logging.getLogger(__name__)

# A notice without our Message-ID is about the newest letter to its address, of so many campaigns.
RECENT = timedelta(days=30)
RECENT_CAMPAIGNS = 50
CERTIFICATE_SECONDS = 24 * 3600
FETCH_SECONDS = 10


def accept(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    """Check who sent a notice and keep it; whether it was the provider.

    Amazon's signature is checked when it is read, since its certificate has to be fetched.
    """
    secret = secrets.decrypt(webhook.secret_encrypted)
    if not signatures.is_genuine(webhook.provider, body, headers, secret):
        return False
    receiving.store(source=InboundMessage.WEBHOOK, data=body, webhook=webhook)
    Webhook.objects.filter(pk=webhook.pk).update(received_at=timezone.now())
    return True


def read(message: InboundMessage) -> tuple[str, list[Said]]:
    """What a stored notice says of the workspace's letters."""
    webhook = message.webhook
    assert webhook is not None
    body = bytes(message.data)
    if webhook.provider == Webhook.Provider.SES and not _is_of_amazon(body):
        return "forged", []
    notices = payloads.read(webhook.provider, body)
    found = []
    for notice in notices:
        if letter := _letter(webhook.workspace, notice):
            key = f"{webhook.provider}:{notice.key}"
            found.append(Said(letter, notice.report, key, unsubscribes=notice.unsubscribes))
    return (notices[0].report.kind if notices else "other"), found


def _letter(workspace: Workspace, notice: Notice) -> Letter | None:
    for address in notice.addresses:
        if named := tokens.read_local_part(address.rpartition("@")[0]):
            return Letter(*named[1:])
    for message_id in notice.message_ids:
        if ids := tokens.read_message_id(message_id):
            return Letter(*ids)
    recipient = notice.report.recipient.lower()
    contact = Contact.objects.filter(workspace=workspace, email=recipient).first()
    if contact is None:
        return None
    recent = Campaign.objects.filter(
        workspace=workspace, launched_at__gte=timezone.now() - RECENT
    ).order_by("-pk")
    rows = Delivery.objects.filter(
        campaign__in=list(recent.values_list("pk", flat=True)[:RECENT_CAMPAIGNS]),
        contact=contact.pk,
        status__in=["sent", "unknown", "failed"],
    )
    newest = rows.order_by("-updated_at").values_list("campaign_id", flat=True).first()
    return Letter(newest, contact.pk)


# Amazon.


def _is_of_amazon(body: bytes) -> bool:
    notice = signatures.sns_notice(body)
    if notice is None:
        return False
    certificate = _certificate(notice["SigningCertURL"])
    if not signatures.is_signed_by_amazon(notice, certificate):
        logger.warning("a notice in Amazon's name has no signature of Amazon")
        return False
    if notice["Type"] == "SubscriptionConfirmation":
        _fetch(notice["SubscribeURL"])
    return True


def certificate_key(url: str) -> str:
    return f"sns-certificate:{url}"


def _certificate(url: str) -> bytes:
    found = cache.get(certificate_key(url))
    if isinstance(found, bytes):
        return found
    certificate = _fetch(url)
    cache.set(certificate_key(url), certificate, CERTIFICATE_SECONDS)
    return certificate


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a fault: nobody has checked where it leads."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


opener = urllib.request.build_opener(NoRedirects)


def _fetch(url: str) -> bytes:
    """Of Amazon over https alone: whoever sends a notice writes the address."""
    if not signatures.is_amazon_url(url):
        raise ValueError("not an address of Amazon")
    with opener.open(url, timeout=FETCH_SECONDS) as answer:
        return bytes(answer.read(64 * 1024))


# Setting up.


def save_webhook(*, workspace: Workspace, by: Membership, provider: str, secret: str) -> Webhook:
    """Make the address for a provider, or give it a new secret. Raises NotAllowed, InvalidInput."""
    require_owner(workspace, by)
    if provider not in Webhook.Provider.values:
        raise InvalidInput(_("Choose a provider."))
    if provider in signatures.NEEDS_SECRET and not signatures.is_usable(provider, secret):
        raise InvalidInput(
            _("Enter the key with which the provider signs its notices: see its settings.")
        )
    encrypted = secrets.encrypt(secret)
    found = Webhook.objects.filter(workspace=workspace, provider=provider)
    if not found.update(secret_encrypted=encrypted):
        try:
            Webhook.objects.create(
                workspace=workspace,
                provider=provider,
                key=randomness.token_urlsafe(32),
                secret_encrypted=encrypted,
            )
        except IntegrityError:  # made in another tab
            found.update(secret_encrypted=encrypted)
    return found.get()


def delete_webhook(*, workspace: Workspace, by: Membership, webhook_id: int) -> None:
    """Raises NotAllowed."""
    require_owner(workspace, by)
    Webhook.objects.filter(workspace=workspace, pk=webhook_id).delete()


def require_owner(workspace: Workspace, by: Membership) -> None:
    if not by.is_owner or by.workspace_id != workspace.pk:
        raise NotAllowed(_("Only an owner of the workspace can change what comes back."))
