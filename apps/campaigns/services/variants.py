"""The variants of a draft and how they are tested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.campaigns import letters, variants
from apps.campaigns.models import Campaign, Variant, WinnerBy
from apps.campaigns.services.campaigns import set_letter, stored_address
from core.errors import Conflict, InvalidInput

USUAL_SHARE = 20
# In minutes.
SOONEST, LATEST = 1, 30 * 24 * 60


def add_variant(*, campaign: Campaign) -> Variant:
    """One more variant, so far as the campaign is; the first one comes with the campaign's own
    letter as variant 1. Raises Conflict for a campaign that is no draft or has four."""
    with _draft(campaign) as current:
        number = current.variants.count()
        if number == Variant.MOST:
            raise Conflict(_("There can be four variants at most."))
        if not number:
            Variant.objects.create(campaign=current, number=1)
            current.test_share = USUAL_SHARE
            number = 1
        return Variant.objects.create(campaign=current, number=number + 1)


def update_variant(*, campaign: Campaign, number: int, **own: str) -> Variant:
    """`own`: what differs (variants.ENVELOPE and CONTENT); empty is as in the campaign.

    Raises InvalidInput, and Conflict for the first variant, which is the campaign's own letter.
    """
    with _draft(campaign) as current:
        variant = _changeable(current, number)
        if unknown := own.keys() - {*variants.ENVELOPE, *variants.CONTENT}:
            raise TypeError(f"nothing that a variant can have of its own: {unknown}")
        set_letter(variant, own)
        variant.from_email = stored_address(variant.from_email)
        try:
            variant.clean_fields()
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages)) from error
        variant.save()
        return variant


def copy_letter(*, campaign: Campaign, number: int) -> None:
    """Give a variant a letter of its own: to begin with, the campaign's. Raises Conflict."""
    with _draft(campaign) as current:
        variant = _changeable(current, number)
        for name in variants.CONTENT:
            setattr(variant, name, getattr(current, name))
        variant.save(update_fields=variants.CONTENT)


def drop_letter(*, campaign: Campaign, number: int) -> None:
    """The campaign's letter again, also where that changes later. Raises Conflict."""
    with _draft(campaign) as current:
        variant = _changeable(current, number)
        for name in variants.CONTENT:
            setattr(variant, name, "")
        variant.save(update_fields=variants.CONTENT)


def remove_variant(*, campaign: Campaign, number: int) -> None:
    """The later ones move up; with the last but one the test ends. Raises Conflict."""
    with _draft(campaign) as current:
        _changeable(current, number).delete()
        # One by one and upwards: at no moment have two of them the same number.
        for later in current.variants.filter(number__gt=number).order_by("number"):
            current.variants.filter(pk=later.pk).update(number=F("number") - 1)
        if current.variants.count() == 1:
            current.variants.all().delete()
            current.test_share = None


def update_test(*, campaign: Campaign, share: int, winner_by: str, winner_after: int) -> None:
    """`share` in percent, 100 for a split without a winner; `winner_after` in minutes.

    Raises InvalidInput, and Conflict where there are no variants.
    """
    if not 1 <= share <= 100:
        raise InvalidInput(_("The test share is between 1 and 100 percent."))
    if winner_by not in WinnerBy:
        raise InvalidInput(_("Choose how the winner is found."))
    if not SOONEST <= winner_after <= LATEST:
        raise InvalidInput(_("Choose a time of up to 30 days."))
    with _draft(campaign) as current:
        if current.test_share is None:
            raise Conflict(_("There is nothing to test yet: add a variant first."))
        current.test_share, current.winner_by = share, winner_by
        current.winner_after = winner_after


def problems(campaign: Campaign) -> list[str]:
    """Why the test of variants cannot begin, each in a sentence that says what to do."""
    found = []
    domain = campaign.from_email.rpartition("@")[2]
    for variant in variants.of(campaign):
        reason = ""
        sender_domain = variant.from_email.rpartition("@")[2]
        own = variants.as_campaign(campaign, variant)
        if variant.number > 1 and not variants.differs(campaign, variant):
            reason = _("It does not differ from A: change something in it, or remove it.")
        elif not (own.html.strip() or own.text.strip()):
            reason = _("Write the letter: both its HTML and its text are empty.")
        elif sender_domain and sender_domain != domain:
            reason = _(
                "Its sender address must be of the domain %(domain)s, like the campaign's: "
                "signatures and limits go by the domain."
            ) % {"domain": domain}
        else:
            try:
                letters.preview(campaign, None, variant.number)
            except InvalidInput as error:
                reason = error.message
        if reason:
            found.append(
                _("Variant %(name)s: %(reason)s") % {"name": variant.name, "reason": reason}
            )
    if campaign.test_share is not None and campaign.test_share < 100:
        counted = {WinnerBy.OPENS: campaign.track_opens, WinnerBy.CLICKS: campaign.track_clicks}
        if not counted.get(WinnerBy(campaign.winner_by), True):
            found.append(
                _(
                    "The winner is chosen by what is not counted: switch counting on, or choose it "
                    "by hand."
                )
            )
    return found


@contextmanager
def _draft(campaign: Campaign) -> Iterator[Campaign]:
    """The campaign's row, held and saved as another version of the draft. Raises Conflict."""
    with transaction.atomic():
        current = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if not current.is_draft:
            raise Conflict(_("This campaign was launched: its content cannot change any more."))
        if current.updated_at != campaign.updated_at:
            raise Conflict(
                _("This campaign was changed in another window: reload the page to see it.")
            )
        yield current
        current.updated_at = timezone.now()
        current.pause_reason = ""  # why it could not be launched: it is another draft now
        changed = ("test_share", "winner_by", "winner_after", "pause_reason", "updated_at")
        current.save(update_fields=changed)
    campaign.refresh_from_db()


def _changeable(campaign: Campaign, number: int) -> Variant:
    variant = campaign.variants.filter(number=number).first()
    if variant is None:
        raise Conflict(_("This variant does not exist any more."))
    if number == 1:
        raise Conflict(_("Variant A is the campaign's own letter: change it in the editor."))
    return variant
