"""Reads about verification: the forecast, a list's checks, a verdict in a person's words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise

from apps.mailer import selectors
from apps.mailer.messages import reason_text
from apps.mailer.models import Contact, ContactList, Import, Verdict, Verification
from apps.mailer.segments.counting import QueryTooSlow, limited
from mailkit.verify.domains import is_free_provider
from mailkit.verify.forecast import BounceForecast, forecast_bounces

MONTH = timedelta(days=30)
STALE_MONTHS = 6
COUNT_SECONDS = 1.5
SAMPLED = 100


@dataclass(frozen=True, slots=True)
class ImportForecast:
    """Of all contacts of an import, and of those whom a campaign could reach."""

    everybody: BounceForecast
    mailable: BounceForecast


@dataclass(frozen=True, slots=True)
class ListFigures:
    """A list's contacts by verdict and by status; stale: not checked for STALE_MONTHS.

    Not `exact`: counting would have taken too long, and one in SAMPLED was counted.
    """

    verdicts: Counter[str]
    statuses: Counter[str]
    stale: int
    never: int
    exact: bool

    @property
    def members(self) -> int:
        return self.statuses.total()


@dataclass(frozen=True, slots=True)
class ListChecks:
    """run: the list's last run of its own. figures: None while it runs."""

    figures: ListFigures | None
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


def list_figures(contact_list: ContactList, seconds: float = COUNT_SECONDS) -> ListFigures:
    """Counted within so many seconds, or estimated."""
    try:
        return _figures(contact_list, seconds=seconds)
    except QueryTooSlow:
        return _figures(contact_list, one_in=SAMPLED)


def _figures(
    contact_list: ContactList, *, seconds: float | None = None, one_in: int = 1
) -> ListFigures:
    verdicts: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    all_stale = all_never = 0
    values: dict[str, Any] = {
        "list": contact_list.pk,
        "old": timezone.now() - STALE_MONTHS * MONTH,
        "one_in": one_in,
    }
    with limited(seconds) as cursor:
        cursor.execute(_COUNT, values)
        for verdict, status, number, stale, never in cursor.fetchall():
            verdicts[verdict] += one_in * number
            statuses[status] += one_in * number
            all_stale += one_in * stale
            all_never += one_in * never
    return ListFigures(verdicts, statuses, all_stale, all_never, exact=one_in == 1)


_COUNT = """
SELECT verdict, status, count(*), count(*) FILTER (WHERE verified_at < %(old)s),
       count(*) FILTER (WHERE verified_at IS NULL)
FROM mailer_listmember member JOIN mailer_contact contact ON contact.id = member.contact_id
WHERE member.list_id = %(list)s AND member.contact_id %% %(one_in)s = 0
GROUP BY verdict, status
"""


def list_checks(contact_list: ContactList, figures: ListFigures | None = None) -> ListChecks:
    """`figures`: where they are counted already."""
    run = Verification.objects.filter(of_list=contact_list).order_by("-pk").first()
    if run and run.state == Verification.State.RUNNING:
        return ListChecks(None, run)
    return ListChecks(figures or list_figures(contact_list), run)


def explained(contact: Contact) -> Explained:
    meant = contact.evidence.get("suggestion", "")
    local = contact.email.rpartition("@")[0]
    return Explained(
        sentence=reason_text(contact.reason),
        suggestion=f"{local}@{meant}" if meant else "",
        free=is_free_provider(contact.email.rpartition("@")[2]),
    )
