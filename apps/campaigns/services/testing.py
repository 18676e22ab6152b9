"""Looking at a letter before anybody gets it."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.campaigns import letters
from apps.campaigns.letters import Preview
from apps.campaigns.models import Campaign, TestSend
from apps.mailer.models import Contact
from core import queues
from core.errors import InvalidInput
from mailkit.addresses import Fault, parse_address


def preview(*, campaign: Campaign, contact: Contact | None = None) -> Preview:
    """Raises InvalidInput with the line of a mistake in the template."""
    return letters.preview(campaign, contact)


def send_test(*, campaign: Campaign, to: str, by: User | None) -> TestSend:
    """Queue the letter for one address. Raises InvalidInput."""
    from apps.campaigns.tasks import send_single_email

    address = parse_address(to)
    if isinstance(address, Fault):
        raise InvalidInput(_("“%(email)s” is not an email address.") % {"email": to[:100]})
    if not campaign.from_email:
        raise InvalidInput(_("Say who sends it: the sender address is empty."))
    letters.preview(campaign, None)
    test = TestSend.objects.create(campaign=campaign, to=address.email, created_by=by)
    transaction.on_commit(lambda: queues.ring(send_single_email, test_send_id=test.pk))
    return test
