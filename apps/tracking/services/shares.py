"""Links by which people without an account read one campaign's report."""

from __future__ import annotations

import hmac
from datetime import timedelta

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns.models import Campaign
from apps.tracking.models import ReportShare
from core.errors import InvalidInput
from core.secrets import keyed_hash

LASTS_DAYS = (7, 30, 90)


def share(*, campaign: Campaign, by: User, days: int) -> ReportShare:
    """A new link in place of the one there was. Raises InvalidInput."""
    if days not in LASTS_DAYS:
        raise InvalidInput(_("Choose how long the link lasts."))
    with transaction.atomic():
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        ReportShare.objects.filter(campaign=campaign).delete()
        return ReportShare.objects.create(
            campaign=campaign, created_by=by, expires_at=timezone.now() + timedelta(days=days)
        )


def revoke(*, campaign: Campaign) -> bool:
    """Whether there was a link to take back."""
    number, _rows = ReportShare.objects.filter(campaign=campaign).delete()
    return bool(number)


def is_valid(found: ReportShare) -> bool:
    return found.expires_at > timezone.now()


def path_of(found: ReportShare) -> str:
    return reverse("public:shared_report", args=[_token(found.pk)])


def shared(token: str) -> ReportShare | None:
    """None for a token that is not ours, and for a link that has expired or was taken back."""
    number = token.partition(".")[0]
    if not (number.isascii() and number.isdecimal() and len(number) < 19 and token.isascii()):
        return None
    if not hmac.compare_digest(token, _token(int(number))):
        return None
    return (
        ReportShare.objects.filter(pk=int(number), expires_at__gt=timezone.now())
        .select_related("campaign__workspace")
        .first()
    )


def _token(number: int) -> str:
    """The link's number, signed: nobody can guess it, and the database does not hold it."""
    return f"{number}.{keyed_hash('shared report', str(number))[:40]}"
