"""What the DNS says of a sender, in a person's words."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# By code of mailkit.authentication, with `number` and `words`.
FINDINGS: dict[str, Promise] = {
    "no_spf": _("%(words)s has no SPF record, which says whose servers may send for it."),
    "spf_many": _("%(words)s has several SPF records: receivers then count none of them."),
    "spf_lookups": _(
        "The SPF record of %(words)s takes more than %(number)d lookups: receivers give up. "
        "Remove what is not needed, or name addresses in place of hosts."
    ),
    "spf_broken": _(
        "The SPF record of a domain cannot be used (the domain and the fault): %(words)s"
    ),
    "spf_relay": _(
        "The SPF record does not name your relay (%(words)s). Whether its letters come from that "
        "address cannot be seen from here: ask its operator what to publish."
    ),
    "spf_unaligned": _(
        "SPF does not count for the address in From: the return path is at another domain, "
        "%(words)s. Give your domain a return path of its own."
    ),
    "unsigned": _("Letters from %(words)s are not signed with DKIM: large providers refuse them."),
    "dkim_missing": _(
        "The DNS does not show our DKIM key for %(words)s: the signatures of its letters fail."
    ),
    "dkim_unaligned": _(
        "DMARC of %(words)s asks for a signature by this very domain: add it to your domains."
    ),
    "no_dmarc": _("%(words)s has no DMARC record: Gmail and Yahoo ask for one."),
    "dmarc_broken": _("The DMARC record of %(words)s cannot be used: there must be one, with p=."),
    "dmarc_fails": _(
        "Letters fail DMARC (%(words)s): neither SPF nor DKIM speaks for the domain in From."
    ),
    "dns_silent": _("The DNS gave no answer about %(words)s: look again later."),
}
FIXES: Mapping[str, tuple[Promise, str, str]] = dict.fromkeys(
    FINDINGS, (_("Set up the domain"), "senders:domains", "")
) | {
    "spf_unaligned": (_("Set the return path"), "returns:overview", ""),
    "spf_relay": (_("Look at the relays"), "senders:relays", ""),
}

SPF: dict[str, tuple[str, Promise]] = {
    "named": ("found", _("Names your relays")),
    "not_named": ("risky", _("Does not name every relay")),
    "present": ("found", _("Published")),
    "none": ("missing", _("Missing")),
    "broken": ("missing", _("Broken")),
    "silent": ("unknown", _("The DNS gave no answer")),
}
DKIM: dict[str, tuple[str, Promise]] = {
    "found": ("found", _("Our key is published")),
    "missing": ("missing", _("Our key is not published")),
    "unsigned": ("missing", _("Letters are not signed")),
    "silent": ("unknown", _("The DNS gave no answer")),
}
DMARC: dict[str, tuple[str, Promise]] = {
    "valid": ("found", _("Published")),
    "none": ("missing", _("Missing")),
    "broken": ("missing", _("Broken")),
    "silent": ("unknown", _("The DNS gave no answer")),
}
