"""From a campaign's content to the letter of one recipient."""

from __future__ import annotations

import html as html_escapes
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from apps.campaigns import tokens
from apps.campaigns.models import Campaign
from apps.mailer.models import Contact
from core.errors import InvalidInput
from core.secrets import keyed_hash
from mailkit.addresses import format_mailbox
from mailkit.mime import Letter, compose, html_to_text, one_line
from mailkit.personalize import RenderFault, Template, TemplateFault, compile_template

BUILT_IN_FIELDS = ("email", "first_name", "last_name", "unsubscribe_url")


class LetterFault(Exception):
    """The letter of one recipient cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class CompiledCampaign:
    """A campaign's templates and headers, the same for every recipient."""

    campaign_id: int
    from_mailbox: str
    from_email: str
    reply_to: str
    subject: Template
    html: Template | None
    text: Template

    def letter(self, contact: Contact, *, date: datetime) -> bytes:
        """The message for one contact, the same bytes on every attempt but for its date.

        Raises LetterFault.
        """
        url = unsubscribe_url(self.campaign_id, contact.pk)
        headers = (
            ("List-Unsubscribe", f"<{url}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        )
        message_id = message_id_of(self.campaign_id, contact.pk, self.from_email)
        return self._compose(contact.email, merge_values(contact, url), message_id, date, headers)

    def test_letter(self, to: str, values: Mapping[str, object], test_id: int) -> bytes:
        """The message of a test send: no one-click header, for there is nobody to unsubscribe."""
        domain = self.from_email.rpartition("@")[2]
        message_id = f"<test.{test_id}.{keyed_hash('test', str(test_id))[:12]}@{domain}>"
        return self._compose(to, values, message_id, timezone.now(), ())

    def _compose(
        self,
        to: str,
        values: Mapping[str, object],
        message_id: str,
        date: datetime,
        headers: tuple[tuple[str, str], ...],
    ) -> bytes:
        if self.reply_to:
            headers = (("Reply-To", self.reply_to), *headers)
        letter = Letter(
            from_mailbox=self.from_mailbox,
            to=to,
            subject=one_line(_render(self.subject, values)),
            text=_render(self.text, values),
            html=_render(self.html, values) if self.html else "",
            message_id=message_id,
            date=date,
            headers=headers,
        )
        try:
            return compose(letter)
        except ValueError as error:
            raise LetterFault(str(error)) from error


@dataclass(frozen=True, slots=True)
class Preview:
    subject: str
    html: str
    text: str


def compiled(campaign: Campaign) -> CompiledCampaign:
    """Compile a campaign's content, once per process and version. Raises InvalidInput."""
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
    )


def preview(campaign: Campaign, contact: Contact | None) -> Preview:
    """What a contact (or an invented one) would read. Raises InvalidInput."""
    letter = compiled(campaign)
    values = sample_values(contact)
    try:
        return Preview(
            one_line(_render(letter.subject, values)),
            _render(letter.html, values) if letter.html else "",
            _render(letter.text, values),
        )
    except LetterFault as error:
        raise InvalidInput(str(error)) from error


def merge_values(contact: Contact, url: str) -> dict[str, object]:
    return {
        **contact.fields,
        "email": contact.email,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "unsubscribe_url": url,
    }


def sample_values(contact: Contact | None) -> dict[str, object]:
    """Values for previews and test sends, whose unsubscribe link leads to nobody's page."""
    url = f"{settings.BASE_URL}/u/test/"
    if contact:
        return merge_values(contact, url)
    sample = Contact(email="anna@example.com", first_name=_("Anna"), last_name=_("Smith"))
    return merge_values(sample, url)


def unsubscribe_url(campaign_id: int, contact_id: int) -> str:
    return f"{settings.BASE_URL}/u/{tokens.sign(campaign_id, contact_id)}/"


def message_id_of(campaign_id: int, contact_id: int, from_email: str) -> str:
    """The Message-ID of a delivery: it follows from the row, so a repetition can be recognised."""
    signature = keyed_hash("message-id", f"{campaign_id}.{contact_id}")[:12]
    return f"<{campaign_id}.{contact_id}.{signature}@{from_email.rpartition('@')[2]}>"


def _render(template: Template, values: Mapping[str, object]) -> str:
    rendered = template.render(values)
    if isinstance(rendered, RenderFault):
        raise LetterFault(f"line {rendered.line}: {rendered.detail}")
    return rendered


@lru_cache(maxsize=32)
def _compiled(
    campaign_id: int,
    subject: str,
    html: str,
    text: str,
    from_name: str,
    from_email: str,
    reply_to: str,
    language: str,
) -> CompiledCampaign:
    try:
        from_mailbox = format_mailbox(from_name, from_email)
        reply_mailbox = format_mailbox("", reply_to) if reply_to else ""
    except ValueError as error:
        raise InvalidInput(_("The sender's name or address cannot be used.")) from error
    plain = text or html_to_text(html)
    templates = {
        "subject": _template(_("Subject"), subject, html=False),
        "html": _template(_("HTML"), html, html=True),
        "text": _template(_("Plain text"), plain, html=False),
    }
    if not any("unsubscribe_url" in templates[part].fields for part in ("html", "text")):
        html, plain = _with_unsubscribe_line(html, plain, language)
        templates["html"] = _template(_("HTML"), html, html=True)
        templates["text"] = _template(_("Plain text"), plain, html=False)
    return CompiledCampaign(
        campaign_id=campaign_id,
        from_mailbox=from_mailbox,
        from_email=from_email,
        reply_to=reply_mailbox,
        subject=templates["subject"],
        html=templates["html"] if html else None,
        text=templates["text"],
    )


def _template(part: str, source: str, *, html: bool) -> Template:
    template = compile_template(source, html=html)
    if isinstance(template, TemplateFault):
        raise InvalidInput(
            _("%(part)s, line %(line)d: %(detail)s")
            % {"part": part, "line": template.line, "detail": template.detail}
        )
    return template


def _with_unsubscribe_line(html: str, text: str, language: str) -> tuple[str, str]:
    """A letter without an unsubscribe link gets one at its end, in its author's language."""
    with translation.override(language):
        word = _("Unsubscribe")
    text = f"{text.rstrip()}\n\n--\n{word}: {{{{ unsubscribe_url }}}}\n"
    if html:
        label = html_escapes.escape(word)
        line = f'<p><a href="{{{{ unsubscribe_url }}}}">{label}</a></p>'
        head, end, tail = html.rpartition("</body>")
        html = f"{head}{line}{end}{tail}" if end else html + line
    return html, text
