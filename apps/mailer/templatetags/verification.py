"""What verification found, on the pages of others: one tag each."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.functional import Promise

from apps.mailer import checks
from apps.mailer.messages import reason_text, verdict_text
from apps.mailer.models import Contact, ContactList, Import

register = template.Library()


@register.inclusion_tag("mailer/_import_forecast.html", takes_context=True)
def import_forecast(context: dict[str, Any], job: Import) -> dict[str, Any]:
    """The bounce forecast of an import."""
    return {"request": context["request"], "forecast": checks.bounce_forecast(job)}


@register.inclusion_tag("mailer/_list_checks.html", takes_context=True)
def list_checks(
    context: dict[str, Any], contact_list: ContactList, figures: checks.ListFigures | None = None
) -> dict[str, Any]:
    """How old a list's verdicts are, the button that checks it again, and how far that is."""
    return {
        "request": context["request"],
        "list": contact_list,
        "checks": checks.list_checks(contact_list, figures),
        "months": checks.STALE_MONTHS,
    }


@register.inclusion_tag("mailer/_verdict.html", takes_context=True)
def verdict_explained(context: dict[str, Any], contact: Contact) -> dict[str, Any]:
    """A contact's verdict with its reason in one sentence, and what else its address says."""
    return {
        "request": context["request"],
        "contact": contact,
        "explained": checks.explained(contact),
    }


@register.filter
def as_reason(reason: str) -> str | Promise:
    """One sentence for a reason's code."""
    return reason_text(reason)


@register.filter
def as_verdict(verdict: str) -> str | Promise:
    """One sentence for a verdict's code."""
    return verdict_text(verdict)
