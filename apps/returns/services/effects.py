"""What follows from a report: for the letter, the contact and the campaign.

| Report | Letter | Contact |
|---|---|---|
| no such mailbox | failed | no more mail |
| full, unreachable, other | failed | no more mail after five in a row over 15 days |
| block, policy, authentication, content | failed | nothing |
| complaint | nothing | suppressed at once, in all campaigns |
| delayed, automatic reply, challenge | nothing | nothing |
"""

from __future__ import annotations

from dataclasses import dataclass

from apps.campaigns.models import Campaign
from apps.campaigns.services import soft_bounces
from apps.campaigns.services.ledger import endings, reports
from apps.mailer.models import Contact
from apps.mailer.services import contacts
from apps.returns.models import InboundMessage, Report
from apps.tracking.models import Event
from apps.tracking.services import events, recipients
from apps.tracking.services.recipients import Recipient
from mailkit import dsn

Effect = Report.Effect


class TooEarly(Exception):
    """The letter is still being handed over: its report is read again a little later."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivery, named by a token or by a provider that proved who it is.

    campaign_id None: only the contact is known.
    """

    campaign_id: int | None
    contact_id: int


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says of one letter. `key` tells a repetition within a workspace."""

    letter: Letter
    report: dsn.Report
    key: str
    unsubscribes: bool = False


def apply(said: Said, message: InboundMessage) -> Campaign | None:
    """Note the report and do what follows from it, in the caller's transaction.

    A second time it does nothing. Returns the campaign whose letter failed or brought a complaint.
    Raises TooEarly.
    """
    letter = said.letter
    campaign = (
        Campaign.objects.select_related("workspace").filter(pk=letter.campaign_id).first()
        if letter.campaign_id
        else None
    )
    contact = Contact.objects.select_related("workspace").filter(pk=letter.contact_id).first()
    workspace_id = campaign.workspace_id if campaign else contact.workspace_id if contact else None
    if workspace_id is None or message.workspace_id not in (None, workspace_id):
        return None
    if letter.campaign_id and campaign is None:
        return None
    if contact and contact.workspace_id != workspace_id:
        contact = None
    if campaign and reports.is_being_handed_over(campaign.pk, letter.contact_id):
        raise TooEarly
    row = _note(said, message, workspace_id)
    if row is None:
        return None
    if said.unsubscribes:
        if contact:
            _unsubscribe(row, campaign, contact)
        return None
    if said.report.kind == "complaint":
        return _complaint(row, campaign, contact)
    if said.report.kind == "bounce":
        return _bounce(row, said.report, campaign, contact)
    return None


def _note(said: Said, message: InboundMessage, workspace_id: int) -> Report | None:
    """The report's row; None where it was noted before."""
    report = said.report
    key = said.key
    if report.kind == "complaint" and said.letter.campaign_id:
        key = f"complaint:{said.letter.campaign_id}:{said.letter.contact_id}"  # once a letter
    row, created = Report.objects.get_or_create(
        workspace_id=workspace_id,
        key=key[:80],
        defaults={
            "campaign_id": said.letter.campaign_id,
            "contact_id": said.letter.contact_id,
            "message": message,
            "source": message.webhook.provider if message.webhook else message.source,
            "kind": Report.Kind.UNSUBSCRIBE if said.unsubscribes else report.kind,
            "fault": report.fault if report.kind in ("bounce", "delayed") else "",
            "code": report.code,
            "status": report.status[:11],
            "recipient": report.recipient.replace("\0", "")[:320],
            "text": report.text.replace("\0", "")[:2000],
        },
    )
    return row if created else None


def _bounce(
    row: Report, report: dsn.Report, campaign: Campaign | None, contact: Contact | None
) -> Campaign | None:
    changed = False
    if campaign and row.contact_id:
        changed = reports.note_bounce(
            campaign.pk, row.contact_id, fault=report.fault, code=report.code, text=report.text
        )
        if changed:
            _effect(row, Effect.FAILED)
            events.record(
                Event.Kind.BOUNCE,
                campaign_id=campaign.pk,
                contact_id=row.contact_id,
                detail=report.fault,
            )
    if contact and (changed or campaign is None) and _ends_mail(report, contact):
        _effect(row, Effect.SUPPRESSED)
    return campaign if changed else None


def _ends_mail(report: dsn.Report, contact: Contact) -> bool:
    """Whether the contact gets no more mail now.

    What a forwarding leads to says nothing certain of the mailbox that we wrote to.
    """
    same = not report.recipient or report.recipient.lower() == contact.email.lower()
    if report.hard and same:
        return bool(contacts.mark_bounced(contact.workspace, [contact.pk]))
    if report.hard or report.fault in soft_bounces.FAULTS:
        return bool(soft_bounces.review(contact.workspace, [contact.pk]))
    return False


def _unsubscribe(row: Report, campaign: Campaign | None, contact: Contact) -> None:
    if campaign:
        recipients.unsubscribe(recipient=Recipient(campaign, contact))
    else:
        contacts.unsubscribe(contact=contact, source=f"report {row.pk}")
        endings.suppress_waiting(contact.workspace_id, contact.email)
    _effect(row, Effect.SUPPRESSED)


def _complaint(row: Report, campaign: Campaign | None, contact: Contact | None) -> Campaign | None:
    counted = False
    if campaign and row.contact_id:
        counted = reports.note_complaint(campaign.pk, row.contact_id)
        if counted:
            events.record(Event.Kind.COMPLAINT, campaign_id=campaign.pk, contact_id=row.contact_id)
    if contact:
        contacts.mark_complained(contact=contact, source=f"report {row.pk}")
        endings.suppress_waiting(contact.workspace_id, contact.email)
        _effect(row, Effect.SUPPRESSED)
    return campaign if counted else None


def _effect(row: Report, effect: Report.Effect) -> None:
    Report.objects.filter(pk=row.pk).update(effect=effect)
