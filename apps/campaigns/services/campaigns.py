"""A campaign's content, while it is a draft."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.campaigns import variants
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import attachments
from apps.content.models import Editor
from apps.content.services.letters import html_of, stored_design
from apps.mailer.models import Verdict
from core.errors import Conflict, InvalidInput
from mailkit.addresses import Fault, parse_address
from mailkit.rfc2047 import CONTROL

TARGETS = ("lists", "segments", "excluded_lists", "excluded_segments")
FLAGS = ("track_opens", "track_clicks", "view_online")
TEST = ("test_share", "winner_by", "winner_after")
CONTENT = (
    *("name", "subject", "preheader", "from_name", "from_email", "reply_to"),
    *("editor", "design", "html", "text"),
)
State = Campaign.State
LARGEST_PART = 1_000_000
_ONE_LINE = ("name", "subject", "from_name", "from_email", "reply_to", "preheader")
# Parameters that links may carry, and how long a value may be.
UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
LONGEST_UTM = 150


def create_campaign(*, workspace: Workspace, by: User | None, **content: Any) -> Campaign:
    """`content`: the CONTENT fields, FLAGS, TARGETS, `include_verdicts`. Raises InvalidInput."""
    campaign = Campaign(workspace=workspace, created_by=by)
    return _write(campaign, content)


def update_campaign(*, campaign: Campaign, **content: Any) -> Campaign:
    """Change a draft. Raises Conflict if it was launched or changed elsewhere, InvalidInput."""
    with transaction.atomic():
        current = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if not current.is_draft:
            raise Conflict(_("This campaign was launched: its content cannot change any more."))
        if current.updated_at != campaign.updated_at:
            raise Conflict(
                _("This campaign was changed in another window: reload the page to see it.")
            )
        return _write(campaign, content)


def duplicate_campaign(*, campaign: Campaign, by: User | None) -> Campaign:
    """A new draft with the same content and targets, and the same test of variants."""
    return _copy(
        campaign,
        by,
        _("%(name)s (copy)") % {"name": campaign.name[:130]},
        campaign.not_opened,
    )


def resend_campaign(*, campaign: Campaign, by: User | None) -> Campaign:
    """A new draft for those who were sent this campaign and have not opened it.

    Of a campaign with variants it is the letter that won. Raises Conflict while it is being sent,
    and where opens were not counted.
    """
    if campaign.state not in {State.FINISHED, State.CANCELLED}:
        raise Conflict(_("Wait until the campaign is over: until then nobody is late to open it."))
    if not campaign.track_opens:
        raise Conflict(_("Opens of this campaign were not counted: nobody knows who read it."))
    name = _("%(name)s (not opened)") % {"name": campaign.name[:120]}
    winner = campaign.variants.filter(number=campaign.winner or 0).first()
    # Read at last with the winner's letter; the variants have had their test.
    source = variants.as_campaign(campaign, winner) if winner else copy(campaign)
    source.test_share = None
    return _copy(source, by, name, campaign)


def _copy(campaign: Campaign, by: User | None, name: str, not_opened: Campaign | None) -> Campaign:
    content = {field: getattr(campaign, field) for field in (*CONTENT, *FLAGS)} | {"name": name}
    new = Campaign(workspace=campaign.workspace, created_by=by, not_opened=not_opened)
    content |= {name: getattr(campaign, name).all() for name in TARGETS}
    content["include_verdicts"] = campaign.include_verdicts
    content["utm"] = campaign.utm
    new.left_out_reasons = campaign.left_out_reasons
    for name in TEST:
        setattr(new, name, getattr(campaign, name))
    with transaction.atomic():
        _write(new, content)
        Variant.objects.bulk_create(
            Variant(campaign=new, number=one.number, **variants.own_of(one))
            for one in variants.of(campaign)
        )
        attachments.copy_files(source=campaign, to=new)
    return new


def delete_campaign(*, campaign: Campaign) -> None:
    """Delete a draft. Raises Conflict for a launched campaign: its ledger is kept."""
    with transaction.atomic():
        # Held until it is gone: a launch in between would leave a ledger without a campaign.
        current = Campaign.objects.select_for_update().filter(pk=campaign.pk).first()
        if current is None or not current.is_draft:
            raise Conflict(_("Only a draft can be deleted."))
        current.delete()


def _write(campaign: Campaign, content: dict[str, Any]) -> Campaign:
    targets = {name: list(content.pop(name)) for name in TARGETS if content.get(name) is not None}
    verdicts = content.pop("include_verdicts", None)
    for name in FLAGS:
        if name in content:
            setattr(campaign, name, bool(content.pop(name)))
    if (utm := content.pop("utm", None)) is not None:
        campaign.utm = _checked_utm(utm)
    if unknown := content.keys() - {*CONTENT}:
        raise TypeError(f"not a campaign's content: {unknown}")
    set_letter(campaign, content)
    if verdicts is not None:
        if not set(verdicts) <= set(Verdict.values):
            raise InvalidInput(_("Choose which verdicts to include."))
        campaign.include_verdicts = list(verdicts)
    for chosen in targets.values():
        if any(one.workspace_id != campaign.workspace_id for one in chosen):
            raise InvalidInput(_("This list or segment does not exist."))
    campaign.name = campaign.name or campaign.subject[:150] or _("Untitled campaign")
    campaign.updated_at = timezone.now()
    campaign.pause_reason = ""  # why it could not be launched: it is another draft now
    try:
        campaign.clean_fields(
            exclude=[field.name for field in Campaign._meta.fields if field.name not in CONTENT]
        )
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages)) from error
    for name in ("from_email", "reply_to"):
        setattr(campaign, name, stored_address(getattr(campaign, name)))
    try:
        with transaction.atomic():
            campaign.save()
            for name, chosen in targets.items():
                getattr(campaign, name).set(chosen)
    except IntegrityError as error:
        raise Conflict(_("A list or segment was deleted meanwhile: choose again.")) from error
    return campaign


def set_letter(letter: Campaign | Variant, content: Mapping[str, Any]) -> None:
    """Set texts of a campaign or a variant, and make its HTML where it is made from a design.

    Not saved. Raises InvalidInput.
    """
    for name, value in content.items():
        setattr(letter, name, clean(name, value or ""))
    if letter.editor == Editor.HTML:
        letter.design = ""
    elif letter.editor and "design" in content:
        letter.design = stored_design(editor=letter.editor, design=letter.design)
        letter.html = html_of(editor=letter.editor, design=letter.design)


def _checked_utm(utm: dict[str, str]) -> dict[str, str]:
    if any(name not in UTM or CONTROL.search(value) for name, value in utm.items()):
        raise InvalidInput(_("UTM parameters take one line of text each."))
    if any(len(value) > LONGEST_UTM for value in utm.values()):
        raise InvalidInput(_("A UTM parameter is too long: at most 150 characters."))
    return {name: value.strip() for name, value in utm.items() if value.strip()}


def stored_address(email: str) -> str:
    """The form in which headers, envelopes and Message-IDs take an address: A-labels."""
    if not email:
        return ""
    address = parse_address(email)
    if isinstance(address, Fault):
        raise InvalidInput(_("“%(email)s” is not an email address.") % {"email": email[:100]})
    return address.email


def clean(name: str, value: str) -> str:
    """Headers take one line without control characters; bodies are bounded."""
    if name in _ONE_LINE:
        if CONTROL.search(value.strip()):
            raise InvalidInput(_("A subject, name or address cannot hold line breaks."))
        return value.strip()
    if len(value) > LARGEST_PART:
        raise InvalidInput(_("The letter is too large: at most 1 MB of HTML or text."))
    return value.replace("\0", "")
