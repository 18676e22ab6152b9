"""What the codes of events mean, in a person's words."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.campaigns.messages import fault_label
from apps.mailer.models import LeavingReason

LABELS: Mapping[str, Mapping[str, Promise]] = {
    "device": {"desktop": _("Computer"), "phone": _("Phone"), "tablet": _("Tablet")},
    "machine": {
        "apple": _("Apple's mail privacy"),
        "gmail": _("Gmail fetching pictures ahead"),
        "scanner": _("A security scanner"),
        "early": _("Too soon after the hand-over for a person"),
        "burst": _("All links in a moment"),
        "honeypot": _("A link that people do not see"),
    },
    "unsubscribe": dict(LeavingReason.Reason.choices) | {"": _("No reason given")},
    "variant": {"0": _("Without a variant")},
}


def axis_label(axis: str, code: str) -> str | Promise:
    """A value of an event's property; a code that nobody has named stands for itself."""
    if axis == "variant" and code != "0":
        number = int(code) if code.isdecimal() else 0
        return gettext("Variant %(letter)s") % {"letter": chr(64 + number) if number < 27 else code}
    if axis == "country":
        return code.upper()
    if axis == "bounce":
        return fault_label(code)
    return LABELS.get(axis, {}).get(code, code)
