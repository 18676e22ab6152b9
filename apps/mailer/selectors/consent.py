"""Reads of sign-up forms, consents and the reasons why people leave."""

from __future__ import annotations

from collections import Counter

from django.db.models import IntegerField, QuerySet
from django.db.models.expressions import RawSQL

from apps.accounts.models import Workspace
from apps.mailer.models import Contact, LeavingReason, Signup, SignupForm
from apps.mailer.selectors.audience import COUNTED

# The latest reasons, of which a page counts and shows some.
LATEST = 5000


def signup_forms(workspace: Workspace) -> QuerySet[SignupForm]:
    """By name, each with `confirmed` and `unconfirmed` sign-ups, counted to COUNTED + 1."""
    return (
        SignupForm.objects.filter(workspace=workspace)
        .annotate(confirmed=_signups("IS NOT NULL"), unconfirmed=_signups("IS NULL"))
        .order_by("name", "pk")
    )


def _signups(confirmed_at: str) -> RawSQL:
    return RawSQL(
        "(SELECT count(*) FROM (SELECT 1 FROM mailer_signup signup"
        f" WHERE signup.form_id = mailer_signupform.id AND confirmed_at {confirmed_at}"
        " LIMIT %s) AS found)",
        [COUNTED + 1],
        output_field=IntegerField(),
    )


def consents_of(contact: Contact) -> list[Signup]:
    """The confirmed sign-ups of a contact, newest first."""
    found = Signup.objects.filter(
        workspace=contact.workspace_id, email=contact.email, confirmed_at__isnull=False
    )
    return list(found.order_by("-confirmed_at")[:20])


def leaving_reasons(workspace: Workspace) -> tuple[list[tuple[str, str, int]], int]:
    """(code, label, number) of the latest reasons, and how many these are."""
    latest = LeavingReason.objects.filter(workspace=workspace).order_by("-id")[:LATEST]
    counts = Counter(latest.values_list("reason", flat=True))
    rows = [(code, str(label), counts[code]) for code, label in LeavingReason.Reason.choices]
    return rows, counts.total()


def leaving_comments(workspace: Workspace, reason: str = "") -> QuerySet[LeavingReason]:
    """Newest first."""
    found = LeavingReason.objects.filter(workspace=workspace).select_related("contact")
    if reason:
        found = found.filter(reason=reason)
    return found.order_by("-id")
