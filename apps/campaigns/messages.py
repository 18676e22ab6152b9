"""What codes of the ledger mean, in a person's words."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.senders import messages as senders

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

# Why a row ended before the hand-off, where more is known than that the person says no to all.
ENDINGS: dict[str, Promise] = {
    "seldom": _("Asked for fewer letters, and had one a short time ago"),
    "left_list": _("Left the list while the campaign was being sent"),
}

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


# Of preflight, by code: what is wrong, with `number` and `words`.
FINDINGS: dict[str, Promise] = {
    "no_unsubscribe": _(
        "The letter has no link to unsubscribe: a condition may hide it. Nobody may be written to "
        "without one."
    ),
    "no_text": _("The plain text is empty: some programs and filters read nothing else."),
    "clipped": _(
        "The HTML takes %(number)d KB: Gmail hides what is behind the first 102 KB, "
        "the unsubscribe link too."
    ),
    "http_links": _("Links without encryption, http (%(number)d): %(words)s"),
    "no_alt": _("Pictures without an alternative text (%(number)d): %(words)s"),
    "heavy_images": _(
        "The pictures within the letter take %(number)d KB: use fewer or smaller ones."
    ),
    "files_lost": _("Attached files are not in the storage any more: %(words)s"),
    "too_heavy": _(
        "With its files the letter takes %(number)d KB on its way: many servers refuse more than "
        "10,240 KB."
    ),
    "heavy": _(
        "With its files the letter takes %(number)d KB on its way to each recipient: a link to "
        "them is lighter, and you see who follows it."
    ),
    "subject_caps": _("The subject is in capitals: filters and people take that for spam."),
    "subject_marks": _("The subject has a row of exclamation marks or currency signs."),
    "image_only": _("The letter is nearly all pictures: many people see none, and filters mind."),
    "shortener": _("Links go through a shortener (%(words)s): filters cannot see where they lead."),
    "active_markup": _("Mail programs remove or distrust these elements: %(words)s"),
    "hidden_text": _(
        "%(number)d characters of the letter are hidden: filters take that for a trick."
    ),
    "disguised_link": _("The text of a link names another site than it leads to: %(words)s"),
    "unknown_fields": _("No contact has these fields: %(words)s"),
    "empty_field": _(
        "The field “%(words)s” has no default and is empty for some (recipients: %(number)d)."
    ),
    "not_counted": _(
        "It takes too long to count the recipients here: empty fields, expected bounces and the "
        "warm-up were not looked at."
    ),
    "no_postal_address": _(
        "The workspace has no postal address: laws such as CAN-SPAM ask for one in each letter."
    ),
    "postal_address_unused": _("The letter does not show your postal address: add the field."),
    "free_sender": _(
        "Letters from an address at %(words)s that its own servers did not send are refused: "
        "use a domain of your own."
    ),
    "above_warm_up": _("Under the warm-up plan it takes %(number)d days."),
    "dead_links": _("Links that lead nowhere (%(number)d): %(words)s"),
    "heavy_pictures": _("The pictures weigh %(number)d KB together: on a phone that takes long."),
    "not_asked": _("The links and the domain could not be looked at: try again in a minute."),
    "bounce_forecast": _(
        "Letters that are expected to bounce for good, against the workspace's limit: %(words)s"
    ),
    **senders.FINDINGS,
}
_EDIT = (_("Mend it in the editor"), "campaigns:edit", "")
# (what the link says, its page, what follows the page's address)
FIXES: Mapping[str, tuple[Promise, str, str]] = dict.fromkeys(FINDINGS, _EDIT) | {
    "no_postal_address": (_("Enter the address"), "workspace:settings", ""),
    "files_lost": (_("Attach them again"), "campaigns:edit", "#attachments"),
    "too_heavy": (_("Remove files"), "campaigns:edit", "#attachments"),
    "heavy": (_("Look at the files"), "campaigns:edit", "#attachments"),
    "empty_field": (_("Give it a default"), "campaigns:edit", ""),
    "free_sender": (_("Change the sender"), "campaigns:edit", ""),
    "not_asked": (_("Check again"), "campaigns:launch", ""),
    "bounce_forecast": (_("See who is at risk"), "campaigns:launch", "#bounces"),
    **senders.FIXES,
    "above_warm_up": (_("Limits"), "senders:limits", ""),
}
