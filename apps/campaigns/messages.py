"""What codes of the ledger mean, in a person's words."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# Classes of mailkit.smtp.faults.
FAULTS: dict[str, Promise] = {
    "mailbox": _("No such mailbox"),
    "full": _("The mailbox is full"),
    "policy": _("Against the receiver's rules"),
    "spam": _("Blocked as spam"),
    "authentication": _("SPF, DKIM or DMARC did not pass"),
    "rate": _("Too many letters at once"),
    "size": _("The letter is too large"),
    "content": _("Something in the letter is refused"),
    "relay": _("Your relay or sender address is refused"),
    "network": _("The connection failed"),
    "other": _("Another reason"),
}
NO_FAULT = _("Not known")

WAITS: dict[str, Promise] = {
    "hours": _("Outside the hours that you allowed: it goes on by itself when they begin."),
    "relay": _("No relay can be used just now: it is tried again by itself."),
    "limits": _(
        "The limits of the providers or of the warm-up are used up for now: it goes on by itself."
    ),
}

# Where in the conversation with the server it ended.
STAGES: dict[str, Promise] = {
    "connect": _("while connecting"),
    "banner": _("at the server's greeting"),
    "ehlo": _("at our greeting"),
    "starttls": _("while TLS was agreed on"),
    "auth": _("while signing in"),
    "mail": _("at the sender's address"),
    "rcpt": _("at the recipient's address"),
    "data": _("before the letter"),
    "body": _("at the end of the letter"),
    "compose": _("while the letter was made"),
    "report": _("after the server had accepted it"),
}


def fault_label(code: str) -> str | Promise:
    return FAULTS.get(code, NO_FAULT)
