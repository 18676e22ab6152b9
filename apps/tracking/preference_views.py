"""The page behind the unsubscribe link. The token in its address is all the authority it needs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from apps.mailer.models import Contact
from apps.tracking.forms import PreferencesForm, ReasonForm
from apps.tracking.services import preferences, recipients
from apps.tracking.services.recipients import Recipient
from apps.tracking.signup_views import private


# One-click unsubscription (RFC 8058, 3.1) is a POST by the recipient's mail provider, without
# cookies and so without a CSRF token. Nobody gains by forging it: the token is the secret.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET only asks: mail scanners follow every link. POST acts, and answers 200 without a
    redirect (RFC 8058, 3.1); what is not asked for by name is an unsubscription from all."""
    recipient = recipients.read_token(token)
    if recipient is None:
        return private(render(request, "tracking/unsubscribe_unknown.html", status=404))
    language = preferences.language_of(recipient) or translation.get_language()
    with translation.override(language):
        context = _act(request, recipient) if request.method == "POST" else {"state": "ask"}
        page = _page(recipient, context)
        response = render(request, "tracking/unsubscribe.html", page)
        response["Content-Language"] = translation.get_language()
    return private(response)


def _act(request: HttpRequest, recipient: Recipient) -> dict[str, Any]:
    """What the page shows after what was asked for."""
    action = request.POST.get("action")
    if action == "resubscribe":
        recipients.resubscribe(recipient=recipient)
        return {"state": "resubscribed"}
    if action == "choose":
        form = PreferencesForm(request.POST, recipient=recipient)
        if not form.is_valid():
            return {"state": "ask", "form": form}
        preferences.choose(
            recipient=recipient,
            shown=list(form.cleaned_data["shown"]),
            wanted=list(form.cleaned_data["lists"]),
            every_days=form.cleaned_data["every_days"],
        )
        return {"state": "chosen"}
    if action == "reason":
        reason = ReasonForm(request.POST)
        if not reason.is_valid():
            return {"state": "unsubscribed", "reason": reason}
        preferences.give_reason(recipient=recipient, **reason.cleaned_data)
        return {"state": "thanked"}
    recipients.unsubscribe(recipient=recipient)
    return {"state": "unsubscribed"}


def _page(recipient: Recipient, context: dict[str, Any]) -> dict[str, Any]:
    """The template's context, by what is true now: another tab may have done more."""
    recipient.contact.refresh_from_db()
    subscribed = recipient.contact.status == Contact.Status.SUBSCRIBED
    state = context["state"]
    if not subscribed and state in {"ask", "chosen", "resubscribed"}:
        state = "unsubscribed"
    elif subscribed and state in {"unsubscribed", "thanked"}:
        state = "ask"
    return {
        "form": PreferencesForm(recipient=recipient),
        "reason": ReasonForm(),
        **context,
        "recipient": recipient,
        "state": state,
        # Who bounced or complained is not taken back by a click.
        "can_return": recipient.contact.status == Contact.Status.UNSUBSCRIBED,
    }
