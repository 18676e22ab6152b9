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
from django.utils.translation import ngettext

from apps.campaigns import attachments, bounces, letters, selectors, variants
from apps.campaigns.messages import FINDINGS, FIXES
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import outside
from apps.mailer.models import ContactField
from apps.mailer.segments.counting import QueryTooSlow
from apps.senders.selectors import has_relay
from apps.senders.services.limits import forecast_for
from core.errors import InvalidInput
from mailkit.attachments import HEAVY_MESSAGE, LARGEST_MESSAGE
from mailkit.personalize import Template, compile_template
from mailkit.preflight import Finding, Level, bare_fields, check_letter
from mailkit.providers import FREE_DOMAINS
from mailkit.smtp.message import WireMessage

# Blocking, and nobody may acknowledge them.
ABSOLUTE = frozenset(("no_unsubscribe", "files_lost"))
BOUNCES = "bounce_forecast"
COUNT_SECONDS = 3.0
SAID_FROM = 1.0  # percent of expected bounces; of less there is nothing to mend
OWN_FIELDS = ("email", "first_name", "last_name")
# A finding, and the names of the variants that it is about: none where it is about all letters.
Found = tuple[Finding, tuple[str, ...]]
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
    variants: tuple[str, ...] = ()  # by their names; none where it is about all letters
    record: tuple[str, str] = ("", "")

    @property
    def key(self) -> str:
        """What a person acknowledges it by: what is known of A is not yet known of B."""
        return "-".join((self.code, *self.variants))

    @property
    def blocking(self) -> bool:
        return self.level == "blocking"

    @property
    def acknowledgeable(self) -> bool:
        return self.blocking and self.code not in ABSOLUTE and not self.accepted_elsewhere

    @property
    def accepted_elsewhere(self) -> bool:
        """Where more bounces are expected than the limit, an owner accepts so many percent."""
        return self.blocking and self.code == BOUNCES


def notices(campaign: Campaign) -> list[Notice]:
    """All findings, blocking ones first. Counts over the audience: not for a request that hurries.

    Raises InvalidInput where there is no letter to look at yet.
    """
    found = [*findings(campaign), *by_variants(campaign, _of_audience(campaign))]
    found.sort(key=lambda one: one[0].level != "blocking")
    return [_notice(campaign, *one) for one in found]


def findings(campaign: Campaign) -> list[Found]:
    """Those that take no counting. Raises InvalidInput where a letter has a mistake."""
    read = variants.letters_of(campaign)
    return by_variants(campaign, ((name, one) for name, of in read for one in _of_letter(of)))


def by_variants(campaign: Campaign, found: Iterable[tuple[str, Finding]]) -> list[Found]:
    """Each finding once, with the names of the variants that have it."""
    names: dict[Finding, list[str]] = {}
    for name, one in found:
        names.setdefault(one, []).append(name)
    number = len(variants.of(campaign)) or 1
    return [(one, () if len(of) == number else tuple(of)) for one, of in names.items()]


def _of_letter(campaign: Campaign) -> list[Finding]:
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
    if found is None:
        return None
    return [_notice(campaign, *one) for one in by_variants(campaign, found)]


def objections(campaign: Campaign, acknowledged: Iterable[str] | None) -> list[Notice]:
    """The blocking findings that stop a launch. None asks for the absolute ones alone.

    Raises InvalidInput.
    """
    found = findings(campaign)
    if acknowledged is not None:
        found += by_variants(campaign, outside.known(campaign))
    said = [_notice(campaign, *one) for one in found]
    if acknowledged is None:
        return [one for one in said if one.code in ABSOLUTE]
    known = {*acknowledged}
    return [one for one in said if one.blocking and not (one.acknowledgeable and one.key in known)]


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
    if domain in FREE_DOMAINS:
        found.append(Finding("free_sender", "blocking" if real else "advisory", 0, (domain,)))
    return found


def _of_audience(campaign: Campaign) -> list[tuple[str, Finding]]:
    """By the names of the variants; counted once for all of them."""
    known = {*OWN_FIELDS, *_own_fields(campaign)} - {"email"}
    used = {
        name: bare_fields(one.subject, one.preheader, one.html, one.text) & known
        for name, one in variants.letters_of(campaign)
    }
    fields = sorted(set().union(*used.values()))
    found = []
    try:
        for field, number in selectors.empty_fields(campaign, fields, COUNT_SECONDS).items():
            if number:
                empty = Finding("empty_field", "advisory", number, (field,))
                found += [(name, empty) for name in used if field in used[name]]
        reach = selectors.reach(campaign, seconds=COUNT_SECONDS)
    except QueryTooSlow:
        return [*found, *((name, Finding("not_counted", "advisory")) for name in used)]
    expected = _of_bounces(bounces.gate_of(campaign, reach))
    found += [(name, one) for name in used for one in expected]
    domain = campaign.from_email.rpartition("@")[2]
    forecast = forecast_for(campaign.workspace, None, domain, reach.by_provider)
    if forecast.days > 1:
        found += [(name, Finding("above_warm_up", "advisory", forecast.days)) for name in used]
    return found


def _of_bounces(gate: bounces.Gate) -> list[Finding]:
    """What the launch itself decides by (bounces.acceptance), said beside the rest."""
    if gate.forecast.percent < SAID_FROM and not gate.closed:
        return []
    level: Level = "blocking" if gate.closed else "advisory"
    sign = ">" if gate.closed else "≤"
    words = f"{gate.forecast.percent:.1f} % {sign} {gate.limit:g} %"
    return [Finding(BOUNCES, level, 0, (words,))]


def _notice(campaign: Campaign, finding: Finding, names: tuple[str, ...]) -> Notice:
    words = ", ".join(finding.words)
    sentence = FINDINGS[finding.code] % {"number": finding.number, "words": words}
    if names:
        sentence = ngettext(
            "Variant %(names)s: %(reason)s", "Variants %(names)s: %(reason)s", len(names)
        ) % {"names": ", ".join(names), "reason": sentence}
    label, page, fragment = FIXES[finding.code]
    args: list[object] = [campaign.workspace.slug]
    if page.startswith("campaigns:") and page != "campaigns:list":
        args.append(campaign.pk)
    if page == "campaigns:edit" and names and names[0] != Variant.NAMES[0]:
        page = "campaigns:variant_edit"
        args.append(1 + Variant.NAMES.index(names[0]))
    url = reverse(page, args=args) + fragment
    return Notice(
        finding.code, finding.level, sentence, label, url, finding.words, names, finding.record
    )
