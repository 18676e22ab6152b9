"""What to mend before a launch: the letter's own faults, and those that the rows tell.

Blocking findings stop a launch. Of those a letter without a way to unsubscribe, or whose
files are lost, cannot be launched at all; the others a person may acknowledge, each by its code.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from apps.campaigns import attachments, letters, selectors
from apps.campaigns.messages import FINDINGS, FIXES
from apps.campaigns.models import Campaign
from apps.campaigns.services import outside
from apps.mailer.models import ContactField
from apps.mailer.segments.counting import QueryTooSlow
from apps.senders.selectors import has_relay, signing_keys
from apps.senders.services.limits import forecast_for
from core.errors import InvalidInput
from mailkit.attachments import HEAVY_MESSAGE, LARGEST_MESSAGE
from mailkit.personalize import Template, compile_template
from mailkit.preflight import Finding, bare_fields, check_letter
from mailkit.providers import PROVIDERS
from mailkit.smtp.message import WireMessage

# Blocking, and nobody may acknowledge them.
ABSOLUTE = frozenset(("no_unsubscribe", "files_lost"))
COUNT_SECONDS = 3.0
OWN_FIELDS = ("email", "first_name", "last_name")
BUILT_IN = (*OWN_FIELDS, "unsubscribe_url", "view_url", "postal_address", "language")


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding in words, and the page where it is mended."""

    code: str
    level: str
    sentence: str | Promise
    fix: str | Promise
    url: str
    words: tuple[str, ...]

    @property
    def blocking(self) -> bool:
        return self.level == "blocking"

    @property
    def acknowledgeable(self) -> bool:
        return self.blocking and self.code not in ABSOLUTE


def notices(campaign: Campaign) -> list[Notice]:
    """All findings, blocking ones first. Counts over the audience: not for a request that hurries.

    Raises InvalidInput where there is no letter to look at yet.
    """
    found = [*findings(campaign), *_of_audience(campaign)]
    found.sort(key=lambda one: one.level != "blocking")
    return [_notice(campaign, one) for one in found]


def findings(campaign: Campaign) -> list[Finding]:
    """Those that take no counting. Raises InvalidInput where the letter has a mistake."""
    shown = letters.preview(campaign, None)
    unsubscribe = letters.sample_values(None)["unsubscribe_url"]
    made = _made(campaign)
    found = check_letter(
        subject=shown.subject,
        html=shown.html,
        text=shown.text,
        unsubscribe_url=str(unsubscribe),
        html_size=_html_size(made),
        own=f"{settings.BASE_URL}/",
    )
    found += _of_weight(campaign, made.size)
    return [*found, *_of_fields(campaign), *_of_sender(campaign, shown.html + shown.text)]


def outside_notices(campaign: Campaign) -> list[Notice] | None:
    """What links and domain say; None while they are being asked. Raises InvalidInput."""
    found = outside.asked(campaign)
    return None if found is None else [_notice(campaign, one) for one in found]


def objections(campaign: Campaign, acknowledged: Iterable[str] | None) -> list[Notice]:
    """The blocking findings that stop a launch. None asks for the absolute ones alone.

    Raises InvalidInput.
    """
    found = findings(campaign)
    if acknowledged is None:
        stopping = [one for one in found if one.code in ABSOLUTE]
    else:
        known = {*acknowledged} - ABSOLUTE
        found += outside.known(campaign)
        stopping = [one for one in found if one.level == "blocking" and one.code not in known]
    return [_notice(campaign, one) for one in stopping]


def unknown_fields(campaign: Campaign) -> list[tuple[str, int, str]]:
    """(name, line, what was probably meant) of fields that no contact of the workspace has.

    Raises nothing: what does not compile has none.
    """
    known = {*BUILT_IN, *_own_fields(campaign)}
    parts = (campaign.subject, campaign.preheader, campaign.html, campaign.text)
    found: dict[str, tuple[str, int, str]] = {}
    for number, source in enumerate(parts):
        template = compile_template(source, html=number in (1, 2))
        if isinstance(template, Template):
            for one in template.unknown(known):
                found.setdefault(one.name, (one.name, one.line, one.meant))
    return [*found.values()]


def field_warnings(campaign: Campaign) -> list[str]:
    """A sentence for each field of the letter that no contact has, for whoever saves it."""
    found = []
    for name, line, meant in unknown_fields(campaign):
        if meant:
            words = _(
                "No contact has the field “%(name)s” (line %(line)d): did you mean “%(meant)s”?"
            )
        else:
            words = _("No contact has the field “%(name)s” (line %(line)d).")
        found.append(words % {"name": name, "line": line, "meant": meant})
    return found


def _own_fields(campaign: Campaign) -> list[str]:
    fields = ContactField.objects.filter(workspace=campaign.workspace_id)
    return list(fields.values_list("key", flat=True))


def _made(campaign: Campaign) -> WireMessage:
    """The letter as it is sent, its links counted, without its files."""
    values, letter = letters.sample_values(None), letters.without_files(campaign)
    try:
        return letter.letter(1, str(values["email"]), values, date=timezone.now())
    except letters.LetterFault as error:
        raise InvalidInput(str(error)) from error


def _html_size(made: WireMessage) -> int:
    """In octets."""
    data = re.sub(rb"(?m)^\.\.", b".", made.stuffed)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("html",))
    payload = part.get_payload(decode=True) if isinstance(part, EmailMessage) else b""
    return len(payload) if isinstance(payload, bytes) else 0


def _of_weight(campaign: Campaign, letter_size: int) -> list[Finding]:
    """`letter_size`: octets without the files."""
    files = attachments.files_of(campaign)
    found = []
    if gone := attachments.lost(files):
        found.append(Finding("files_lost", "blocking", len(gone), tuple(gone)))
    size = letter_size + attachments.encoded_size(files)
    if size > LARGEST_MESSAGE:
        found.append(Finding("too_heavy", "blocking", _kilobytes(size)))
    elif size > HEAVY_MESSAGE:
        found.append(Finding("heavy", "advisory", _kilobytes(size)))
    return found


def _kilobytes(octets: int) -> int:
    return -(-octets // 1000)


def _of_fields(campaign: Campaign) -> list[Finding]:
    unknown = unknown_fields(campaign)
    words = tuple(f"{name} → {meant}" if meant else name for name, _line, meant in unknown)
    return [Finding("unknown_fields", "blocking", len(words), words)] if words else []


def _of_sender(campaign: Campaign, shown: str) -> list[Finding]:
    found = []
    real = has_relay(campaign.workspace)
    address = campaign.workspace.postal_address.strip()
    # What reaches nobody breaks no law.
    if not address:
        found.append(Finding("no_postal_address", "blocking" if real else "advisory"))
    elif " ".join(address.split()) not in " ".join(shown.split()):
        found.append(Finding("postal_address_unused", "advisory"))
    domain = campaign.from_email.rpartition("@")[2].lower()
    if domain in {name for provider in PROVIDERS.values() for name in provider.domains}:
        found.append(Finding("free_sender", "blocking" if real else "advisory", 0, (domain,)))
    elif domain and real and not signing_keys(campaign.workspace, campaign.from_email):
        found.append(Finding("unsigned", "advisory", 0, (domain,)))
    return found


def _of_audience(campaign: Campaign) -> list[Finding]:
    found = []
    sources = (campaign.subject, campaign.preheader, campaign.html, campaign.text)
    names = sorted((bare_fields(*sources) & {*OWN_FIELDS, *_own_fields(campaign)}) - {"email"})
    try:
        for name, number in selectors.empty_fields(campaign, names, COUNT_SECONDS).items():
            if number:
                found.append(Finding("empty_field", "advisory", number, (name,)))
        by_provider = selectors.audience_by_provider(campaign)
    except QueryTooSlow:
        return [Finding("not_counted", "advisory", 0, tuple(names))]
    domain = campaign.from_email.rpartition("@")[2]
    forecast = forecast_for(campaign.workspace, None, domain, by_provider)
    if forecast.days > 1:
        found.append(Finding("above_warm_up", "advisory", forecast.days))
    return found


def _notice(campaign: Campaign, finding: Finding) -> Notice:
    words = ", ".join(finding.words)
    sentence = FINDINGS[finding.code] % {"number": finding.number, "words": words}
    label, page, fragment = FIXES[finding.code]
    slug = campaign.workspace.slug
    own = page.startswith("campaigns:") and page != "campaigns:list"
    url = reverse(page, args=[slug, campaign.pk] if own else [slug]) + fragment
    return Notice(finding.code, finding.level, sentence, label, url, finding.words)
