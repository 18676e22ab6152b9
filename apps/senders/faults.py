"""What keeps us from a relay, as it is stored ("stage: words") and as people read it."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from mailkit.smtp.outcomes import Accepted, Broken, Refused

# Before MAIL FROM nothing was said about a letter: what fails there is the relay's.
RELAY_STAGES = frozenset({"connect", "banner", "ehlo", "starttls", "auth"})
LONGEST = 500
UNREADABLE_PASSWORD = "auth: unreadable_password: "

_STAGES: dict[str, str | Promise] = {
    "connect": _("Connecting"),
    "banner": _("Greeting"),
    "ehlo": "EHLO",
    "starttls": "STARTTLS",
    "auth": _("Signing in"),
}
_ERRORS: dict[str, Promise] = {
    "dns": _("The host name is not found in DNS."),
    "refused": _("Nothing listens on this port of the host."),
    "unreachable": _("The host cannot be reached."),
    "not_public": _("The host leads to an address or port that is not public."),
    "timeout": _("The server did not answer in time."),
    "closed": _("The server closed the connection."),
    "tls": _("TLS could not be agreed on. Is it the right port for this kind of security?"),
    "certificate": _("The server's certificate is not valid for this host."),
    "bad_reply": _("The answer is not SMTP. Is it the right port for this kind of security?"),
    "unreadable_password": _("The saved password cannot be read any more. Enter it again."),
    "not_offered": _("The server does not offer it."),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`words` are the server's or the system's; `reason` is empty where the server refused."""

    stage: str
    reason: str
    words: str


def fault_of(outcome: Accepted | Refused | Broken) -> str:
    """What kept us from the relay; "" where it got as far as to hear of a letter."""
    if isinstance(outcome, Accepted) or outcome.stage not in RELAY_STAGES:
        return ""
    if isinstance(outcome, Refused):
        words = f"{outcome.reply.code} {outcome.reply.text}"
    else:
        words = f"{outcome.error}: {outcome.detail}"
    return f"{outcome.stage}: {words}"[:LONGEST]


def explain(stored: str) -> Fault | None:
    """What `fault_of` made, for people; None for ""."""
    if not stored:
        return None
    stage, _sep, rest = stored.partition(": ")
    error, _sep, words = rest.partition(": ")
    if error not in _ERRORS:
        return Fault(str(_STAGES.get(stage, stage)), "", rest)
    return Fault(str(_STAGES.get(stage, stage)), str(_ERRORS[error]), words)
