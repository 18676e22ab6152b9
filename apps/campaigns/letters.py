"""From a campaign's content to the letter of one recipient."""

from __future__ import annotations

import html as html_escapes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache

from django.conf import settings
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from apps.campaigns import attachments, tokens, variants
from apps.campaigns.attachments import StoredFile
from apps.campaigns.models import Campaign
from apps.campaigns.tokens import Kind, LetterTokens
from apps.mailer.models import Contact
from apps.senders.selectors import signing_keys
from core.errors import InvalidInput
from core.secrets import keyed_hash
from mailkit.addresses import format_mailbox
from mailkit.css import inline_css
from mailkit.dkim import DkimKey, Signer
from mailkit.extras import with_parameters, with_preheader, with_view_link
from mailkit.links import change_links, track_links
from mailkit.machines import HONEYPOT_LINK
from mailkit.mime import one_line
from mailkit.personalize import RenderFault, Template, TemplateFault, compile_template
from mailkit.smtp.message import WireMessage
from mailkit.splice import CompiledLetter, Recipient
from mailkit.text import html_to_text

# Stands for the letter of a preview or a test, which has no page.
VIEW_OF_NOBODY = "test"
# What Gmail's feedback loop knows mail of this program by, in 5 to 15 characters.
SENDER_ID = "vashsender"
# With a token behind it, it fits a line of quoted-printable and has nothing to escape.
_PLAIN_BASE = re.compile(r"(?=.{,38}$)https?://[A-Za-z0-9.:/_~-]+")
_HOST = re.compile(r"[a-z0-9.-]{1,190}")

# No person sees it or comes to it by the keyboard: who follows it is a machine (mailkit.machines).
_HIDDEN_LINK = (
    '<a href="{{ _hidden_link }}" style="display:none" tabindex="-1" aria-hidden="true"></a>'
)


class LetterFault(Exception):
    """The letter of one recipient cannot be made; the message says why."""


class _Addresses:
    """The addresses in a letter that lead to us: to unsubscribe, of the open pixel, of the links.

    `names` are their fields. `plain`: they have nothing to escape or to quote, unless `base` is
    an unusual one.
    """

    def __init__(self, base: str, links: int, *, view: bool) -> None:
        numbers = range(1, links + 1)
        self.names = ("unsubscribe_url", "_open", *(f"_link_{number}" for number in numbers))
        self.plain = bool(_PLAIN_BASE.fullmatch(base))
        endings = ["/u/%b.%b", "/o/%b.%b.gif", *(f"/c/%b.{number}.%b" for number in numbers)]
        self.names += ("_hidden_link",)
        endings.append(f"/c/%b.{HONEYPOT_LINK}.%b")
        self._view = view
        if view:
            self.names += ("view_url",)
            endings.append("/v/%b.%b")
        self._format = " ".join(base.replace("%", "%%") + one for one in endings).encode()

    def of(self, signed: LetterTokens) -> list[bytes]:
        parts = [signed.ids] * (2 * len(self.names))
        macs = [*signed.macs[Kind.UNSUBSCRIBE :], signed.macs[Kind.OPEN]]
        if self._view:
            macs.append(signed.view_mac)
        parts[1::2] = macs
        return (self._format % tuple(parts)).split(b" ")


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The links of all variants, and which of them, counted from 1, those of one letter are."""

    links: tuple[str, ...]
    own: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompiledCampaign:
    """A campaign's letter, the same for every recipient but for the values put in.

    `links` are the targets of the tracked links, numbered from 1, where there are variants those of
    all; `numbers` are this letter's own, in its order. `addresses` are our own in it.
    `plain` gives the letter without tracking, for people who look at it before it is sent.
    `inbound` is the domain whose mail we receive, empty for none. `files` are its attachments.
    """

    campaign_id: int
    from_email: str
    postal_address: str
    subject: Template
    html: Template | None
    text: Template
    links: tuple[str, ...]
    numbers: tuple[int, ...]
    addresses: _Addresses
    tracked: CompiledLetter
    plain: Callable[[], CompiledLetter]
    inbound: str
    files: tuple[StoredFile, ...]

    def letter(
        self,
        contact_id: int,
        email: str,
        values: Mapping[str, object],
        *,
        date: datetime,
    ) -> WireMessage:
        """The message for one contact, the same bytes on every attempt but for its date.

        Raises LetterFault.
        """
        signed = LetterTokens(self.campaign_id, contact_id, len(self.links))
        urls = self.addresses.of(signed)
        unsubscribe = urls[0].decode()
        message_id = _message_id(self.campaign_id, contact_id, signed, self.from_email)
        values = {**values, "email": email, "postal_address": self.postal_address}
        if not self.addresses.plain:
            texts = map(bytes.decode, urls)
            values.update(zip(self.addresses.names, texts, strict=True))
            urls = []
        recipient = Recipient(email, message_id, unsubscribe, values, urls)
        if self.inbound:
            local = tokens.local_part(tokens.UNSUBSCRIBE_BY_MAIL, self.campaign_id, contact_id)
            recipient.unsubscribe_email = f"{local}@{self.inbound}"
        return _made(self.tracked, recipient, date)

    def read_files(self) -> None:
        """Have the attachments at hand, once for all letters. Raises InvalidInput."""
        if found := attachments.attached(self.files):
            found.tail()

    def test_letter(self, to: str, values: Mapping[str, object], test_id: int) -> WireMessage:
        """The message of a test send: no one-click header, for there is nobody to unsubscribe."""
        domain = self.from_email.rpartition("@")[2]
        values = {**values, "postal_address": self.postal_address}
        message_id = f"<test.{test_id}.{keyed_hash('test', str(test_id))[:12]}@{domain}>"
        return _made(self.plain(), Recipient(to, message_id, "", values), timezone.now())


def _made(letter: CompiledLetter, recipient: Recipient, date: datetime) -> WireMessage:
    try:
        message = letter.make(recipient, date)
    except ValueError as error:
        raise LetterFault(str(error)) from error
    if isinstance(message, RenderFault):
        raise LetterFault(_words(message))
    return message


def _words(fault: RenderFault | TemplateFault) -> str:
    near = f" ({fault.near})" if fault.near else ""
    return _("line %(line)d: %(detail)s") % {
        "line": fault.line,
        "detail": f"{fault.detail}{near}",
    }


@dataclass(frozen=True, slots=True)
class Preview:
    subject: str
    html: str
    text: str


def compiled(campaign: Campaign, variant: int = 0) -> CompiledCampaign:
    """Compile a campaign's content, once per process and version. Raises InvalidInput.

    `variant`: the number of one of its variants, where it has any. The domain's signing keys are
    read each time, so that a new one is soon in use.
    """
    if not variant:
        return _compile(campaign)
    found = compiled_variants(campaign).get(variant)
    if found is None:
        raise InvalidInput(_("This variant does not exist any more."))
    return found


def compiled_variants(campaign: Campaign) -> dict[int, CompiledCampaign]:
    """The letter of each variant by its number, or under 0 that of a campaign without variants.

    The links are numbered in all letters together: a number leads to one address. Raises
    InvalidInput.
    """
    tested = variants.of(campaign)
    if not tested:
        return {0: _compile(campaign)}
    differing = [variants.as_campaign(campaign, one) for one in tested]
    links, numbers = variants.number_links([_compile(one).links for one in differing])
    if len(links) > tokens.MOST_LINKS:
        raise InvalidInput(_("The variants have too many different links: leave some out."))
    return {
        one.number: _compile(as_campaign, _Numbers(links, own))
        for one, as_campaign, own in zip(tested, differing, numbers, strict=True)
    }


def without_files(campaign: Campaign) -> CompiledCampaign:
    """The letter by itself, to look at without reading its attachments. Raises InvalidInput."""
    return _compile(campaign, files=())


def _compile(
    campaign: Campaign,
    numbers: _Numbers | None = None,
    files: tuple[StoredFile, ...] | None = None,
) -> CompiledCampaign:
    language = campaign.created_by.language if campaign.created_by else ""
    return _compiled(
        campaign.pk,
        campaign.subject,
        campaign.html,
        campaign.text,
        campaign.from_name,
        campaign.from_email,
        campaign.reply_to,
        language or settings.LANGUAGE_CODE,
        campaign.track_opens,
        campaign.track_clicks,
        campaign.preheader,
        tuple(sorted(campaign.utm.items())),
        campaign.view_online,
        campaign.workspace.postal_address,
        settings.BASE_URL,
        settings.INBOUND_DOMAIN,
        _bulk_headers(campaign),
        signing_keys(campaign.workspace, campaign.from_email),
        numbers,
        attachments.files_of(campaign) if files is None else files,
    )


def preview(campaign: Campaign, contact: Contact | None, variant: int = 0) -> Preview:
    """What a contact (or an invented one) would read. Raises InvalidInput."""
    letter = compiled(campaign, variant)
    values = {**sample_values(contact), "postal_address": letter.postal_address}
    try:
        return Preview(
            one_line(_render(letter.subject, values)),
            _render(letter.html, values) if letter.html else "",
            _render(letter.text, values),
        )
    except LetterFault as error:
        raise InvalidInput(str(error)) from error


def view(campaign: Campaign, contact: Contact, variant: int) -> str:
    """The letter that a contact got, as a document for a browser: nothing in it is counted.

    Raises InvalidInput.
    """
    letter = compiled(campaign, variant)
    values = merge_values(contact, unsubscribe_url(campaign.pk, contact.pk))
    values["postal_address"] = letter.postal_address
    values["view_url"] = f"{settings.BASE_URL}/v/{tokens.sign_view(campaign.pk, contact.pk)}"
    try:
        if letter.html is None:
            return f"<pre>{html_escapes.escape(_render(letter.text, values))}</pre>"
        return _render(letter.html, values)
    except LetterFault as error:
        raise InvalidInput(str(error)) from error


def merge_values(contact: Contact, url: str) -> dict[str, object]:
    return {
        **contact.fields,
        "email": contact.email,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "unsubscribe_url": url,
        "view_url": f"{settings.BASE_URL}/v/{VIEW_OF_NOBODY}",
    }


def sample_values(contact: Contact | None) -> dict[str, object]:
    """Values for previews and test sends, whose unsubscribe link leads to nobody's page."""
    url = f"{settings.BASE_URL}/u/test/"
    if contact:
        return merge_values(contact, url)
    sample = Contact(email="anna@example.com", first_name=_("Anna"), last_name=_("Smith"))
    return merge_values(sample, url)


def unsubscribe_url(campaign_id: int, contact_id: int) -> str:
    return f"{settings.BASE_URL}/u/{tokens.sign(Kind.UNSUBSCRIBE, campaign_id, contact_id)}"


def message_id_of(campaign_id: int, contact_id: int, from_email: str) -> str:
    """The Message-ID of a delivery: it follows from the row, so a repetition can be recognised."""
    return _message_id(campaign_id, contact_id, LetterTokens(campaign_id, contact_id), from_email)


def _message_id(campaign_id: int, contact_id: int, signed: LetterTokens, from_email: str) -> str:
    domain = from_email.rpartition("@")[2]
    return f"<{campaign_id}.{contact_id}.{signed.mac(Kind.MESSAGE_ID)}@{domain}>"


def _render(template: Template, values: Mapping[str, object]) -> str:
    rendered = template.render(values)
    if isinstance(rendered, RenderFault):
        raise LetterFault(_words(rendered))
    return rendered


@lru_cache(maxsize=64)
def _compiled(
    campaign_id: int,
    subject: str,
    html: str,
    text: str,
    from_name: str,
    from_email: str,
    reply_to: str,
    language: str,
    track_opens: bool,
    track_clicks: bool,
    preheader: str,
    utm: tuple[tuple[str, str], ...],
    view_online: bool,
    postal_address: str,
    base: str,
    inbound: str,
    bulk_headers: tuple[tuple[str, str], ...],
    keys: tuple[DkimKey, ...],
    numbers: _Numbers | None,
    files: tuple[StoredFile, ...],
) -> CompiledCampaign:
    try:
        from_mailbox = format_mailbox(from_name, from_email)
        reply_mailbox = format_mailbox("", reply_to) if reply_to else ""
    except ValueError as error:
        raise InvalidInput(_("The sender's name or address cannot be used.")) from error
    # The author's own lines, before anything is added to them: a fault names the right one.
    own = _templates(subject, html, text, preheader, language)
    plain = text or html_to_text(html)
    if html:
        linked = "view_url" in own["html"].fields
        html = _dressed(html, preheader, dict(utm), language, view=view_online and not linked)
    templates = _templates(subject, html, plain, "", language)
    if not any("unsubscribe_url" in templates[part].fields for part in ("html", "text")):
        html, plain = _with_unsubscribe_line(html, plain, language, address=bool(postal_address))
        templates = _templates(subject, html, plain, "", language)
    tracked_html, links = _tracked(html, opens=track_opens, clicks=track_clicks, numbers=numbers)
    viewed = any("view_url" in one.fields for one in templates.values())
    addresses = _Addresses(base, len(links), view=viewed)

    def letter(html_source: str, *, bulk: bool, plain_fields: Sequence[str] = ()) -> CompiledLetter:
        headers = (("Reply-To", reply_mailbox),) if reply_mailbox else ()
        return CompiledLetter(
            from_mailbox=from_mailbox,
            subject=templates["subject"],
            html=_template(_("HTML"), html_source, language, html=True) if html_source else None,
            text=templates["text"],
            headers=(*headers, *bulk_headers) if bulk else headers,
            list_unsubscribe=bulk,
            plain_fields=plain_fields,
            attachments=attachments.attached(files),
            signer_of=lambda names: Signer(keys, names) if keys else None,
        )

    return CompiledCampaign(
        campaign_id=campaign_id,
        from_email=from_email,
        postal_address=postal_address,
        subject=templates["subject"],
        html=templates["html"] if html else None,
        text=templates["text"],
        links=tuple(links),
        numbers=numbers.own if numbers else tuple(range(1, len(links) + 1)),
        addresses=addresses,
        tracked=letter(
            tracked_html,
            bulk=True,
            plain_fields=addresses.names if addresses.plain else (),
        ),
        plain=cache(lambda: letter(html, bulk=False)),
        inbound=inbound,
        files=files,
    )


def _bulk_headers(campaign: Campaign) -> tuple[tuple[str, str], ...]:
    """What tells mailbox providers what kind of mail this is, the same in all of its letters.

    A campaign to one list alone has the list's own List-Id (RFC 2919), so that a recipient can
    sort or mute one list; others have the workspace's. Feedback-ID is Gmail's, campaign, kind and
    customer before the sender; X-Mailru-Msgtype is what Mail.ru's postmaster pages count by.
    """
    domain = campaign.from_email.rpartition("@")[2].lower()
    if not _HOST.fullmatch(domain):
        return (("Precedence", "bulk"),)
    lists = list(campaign.lists.values_list("pk", flat=True)[:2]) if campaign.pk else []
    alone = len(lists) == 1 and not campaign.segments.exists()
    name = f"list{lists[0]}.w{campaign.workspace_id}" if alone else f"w{campaign.workspace_id}"
    customer, mailing = f"w{campaign.workspace_id}", f"c{campaign.pk}"
    return (
        ("List-Id", f"<{name}.{domain}>"),
        ("Precedence", "bulk"),
        ("Feedback-ID", f"{mailing}:campaign:{customer}:{SENDER_ID}"),
        ("X-Mailru-Msgtype", mailing),
    )


def _tracked(
    html: str, *, opens: bool, clicks: bool, numbers: _Numbers | None
) -> tuple[str, Sequence[str]]:
    """The HTML with its links led through the counter and the pixel at its end, and where the
    numbers of links lead."""
    links: Sequence[str] = []
    if clicks:
        own = numbers.own if numbers else range(1, tokens.MOST_LINKS + 1)
        html, links = track_links(
            html, lambda number: f"{{{{ _link_{own[number - 1]} }}}}", most=tokens.MOST_LINKS
        )
        links = numbers.links if numbers else links
        if links:
            html = _before_end(html, _HIDDEN_LINK)
    if opens and html:
        pixel = '<img src="{{ _open }}" width="1" height="1" alt="">'
        html = _before_end(html, pixel)
    return html, links


def _before_end(html: str, piece: str) -> str:
    head, end, tail = html.rpartition("</body>")
    return f"{head}{piece}{end}{tail}" if end else html + piece


def _dressed(
    html: str, preheader: str, utm: Mapping[str, str], language: str, *, view: bool
) -> str:
    """The author's HTML with what every recipient's letter adds to it."""
    html = inline_css(html)
    if utm:
        html = change_links(html, lambda target: html_escapes.escape(with_parameters(target, utm)))
    if view:
        with translation.override(language):
            html = with_view_link(html, _("View in browser"))
    return with_preheader(html, preheader)


def _templates(
    subject: str, html: str, text: str, preheader: str, language: str
) -> dict[str, Template]:
    return {
        "subject": _template(_("Subject"), subject, language, html=False),
        "preheader": _template(_("Preheader"), preheader, language, html=True),
        "html": _template(_("HTML"), html, language, html=True),
        "text": _template(_("Plain text"), text, language, html=False),
    }


def _template(part: str, source: str, language: str, *, html: bool) -> Template:
    template = compile_template(source, html=html, language=language)
    if isinstance(template, TemplateFault):
        raise InvalidInput(f"{part}, {_words(template)}")
    return template


def _with_unsubscribe_line(
    html: str, text: str, language: str, *, address: bool
) -> tuple[str, str]:
    """A letter without an unsubscribe link gets one at its end, in its author's language, and the
    workspace's postal address before it."""
    where = "{{ postal_address }}" if address else ""
    with translation.override(language):
        word = _("Unsubscribe")
    before = f"{where}\n" if where else ""
    text = f"{text.rstrip()}\n\n--\n{before}{word}: {{{{ unsubscribe_url }}}}\n"
    if html:
        label = html_escapes.escape(word)
        before = f"<p>{where}</p>" if where else ""
        html = _before_end(html, f'{before}<p><a href="{{{{ unsubscribe_url }}}}">{label}</a></p>')
    return html, text
