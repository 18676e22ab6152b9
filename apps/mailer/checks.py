"""Reads about verification: the forecast, a list's checks, a verdict in a person's words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q
from django.utils import timezone
from django.utils.functional import Promise

from apps.mailer import selectors
from apps.mailer.messages import reason_text
from apps.mailer.models import Contact, ContactList, Import, Verdict, Verification
from mailkit.verify.domains import is_free_provider
from mailkit.verify.forecast import BounceForecast, forecast_bounces

MONTH = timedelta(days=30)
STALE_MONTHS = 6


@dataclass(frozen=True, slots=True)
class ImportForecast:
    """Of all contacts of an import, and of those whom a campaign could reach."""

    everybody: BounceForecast
    mailable: BounceForecast


@dataclass(frozen=True, slots=True)
class ListChecks:
    """run: the list's last run of its own. stale: contacts not checked for STALE_MONTHS.

    members, stale and never are 0 while it runs: nobody asks for them then.
    """

    members: int
    stale: int
    never: int
    run: Verification | None

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.state == Verification.State.RUNNING

    @property
    def checked(self) -> int:
        """Members that have an answer of the run."""
        if self.run is None:
            return 0
        return min(self.run.checked, self.run.total) if self.running else self.run.total


@dataclass(frozen=True, slots=True)
class Explained:
    """suggestion: the whole address that was probably meant."""

    sentence: str | Promise
    suggestion: str
    free: bool


def bounce_forecast(job: Import) -> ImportForecast:
    """The forecast for the contacts that an import met."""
    counts = {(verdict, reason): number for verdict, reason, number in selectors.reason_counts(job)}
    mailable = {
        key: number for key, number in counts.items() if key[0] not in ("", Verdict.INVALID)
    }
    return ImportForecast(forecast_bounces(counts), forecast_bounces(mailable))


def list_checks(contact_list: ContactList) -> ListChecks:
    run = Verification.objects.filter(of_list=contact_list).order_by("-pk").first()
    if run and run.state == Verification.State.RUNNING:
        return ListChecks(0, 0, 0, run)
    old = timezone.now() - STALE_MONTHS * MONTH
    counts = (
        Contact.objects.filter(memberships__list=contact_list)
        .order_by()
        .aggregate(
            members=Count("pk"),
            stale=Count("pk", filter=Q(verified_at__lt=old)),
            never=Count("pk", filter=Q(verified_at__isnull=True)),
        )
    )
    return ListChecks(run=run, **counts)


def explained(contact: Contact) -> Explained:
    meant = contact.evidence.get("suggestion", "")
    local = contact.email.rpartition("@")[0]
    return Explained(
        sentence=reason_text(contact.reason),
        suggestion=f"{local}@{meant}" if meant else "",
        free=is_free_provider(contact.email.rpartition("@")[2]),
    )
