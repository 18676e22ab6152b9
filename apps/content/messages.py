"""What a letter's source has wrong, in words."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mailkit.mjml import MjmlFault

_FAULTS = {
    "no_root": gettext_lazy("an MJML letter begins with <mjml> and <mj-body>."),
    "unknown": gettext_lazy("there is no MJML tag <%(detail)s>: look for a typing mistake."),
    "unclosed": gettext_lazy("<%(detail)s> is not closed: add </%(detail)s> where it ends."),
    "not_open": gettext_lazy("</%(detail)s> closes what was not opened: take it out."),
    "attributes": gettext_lazy(
        'an attribute of <%(detail)s> cannot be read: write it as name="value".'
    ),
    "include": gettext_lazy("a letter cannot include files: paste their text instead."),
    "too_deep": gettext_lazy("tags are nested too deeply: take some levels out."),
    "too_large": gettext_lazy("the letter is too large: at most 1 MB."),
    "lost_tag": gettext_lazy(
        "“%(detail)s” would be lost here: put it into a text, or between <mj-raw> and </mj-raw>."
    ),
    "syntax": gettext_lazy("this is not well-formed MJML (%(detail)s)."),
}


def mjml_fault(fault: MjmlFault) -> str:
    detail = str(_FAULTS[fault.message_code]) % {"detail": fault.detail[:100]}
    return _("Line %(line)d: %(detail)s") % {"line": fault.line, "detail": detail}
